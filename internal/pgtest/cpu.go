package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clockTick is the unit of the times in /proc, which is the same on every Linux that
// Go runs on.
const clockTick = 10 * time.Millisecond

// CPU is what the database's server has used so far in all its processes, user and
// system, for benchmarks. It needs Linux.
func (d *Database) CPU(t testing.TB) time.Duration {
	t.Helper()
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	if d.server.cmd == nil {
		t.Fatal("PostgreSQL is not running")
	}
	main := d.server.cmd.Process.Pid
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var ticks int64
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended, and is counted where it was waited for
		}
		n, err := ticksOf(string(text), main)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// ticksOf reads /proc/PID/stat (proc(5)): the times of a process and of its children
// that have ended, if it is the main one or a child of it.
func ticksOf(stat string, main int) (ticks int64, err error) {
	pid, _, _ := strings.Cut(stat, " ")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("not a stat file: %q", stat)
	}
	if pid != strconv.Itoa(main) && fields[1] != strconv.Itoa(main) {
		return 0, nil
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("not a stat file: %w", err)
		}
		ticks += n
	}
	return ticks, nil
}
