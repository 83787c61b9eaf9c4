// Package usage measures the CPU time of processes, from /proc as Linux has it
// (proc(5)), and tells what machine this is. Children of a process are not
// counted, unless WatchFamily is asked to.
package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc/PID/stat: a hundredth of a second on every Linux that
// Go supports (sysconf(_SC_CLK_TCK), USER_HZ).
const tick = 10 * time.Millisecond

// Process is one that is watched.
type Process struct {
	PID     int
	Command string

	proc   string // where /proc is
	family bool   // its children count too
	start  uint64 // when it started, which tells it from a later one of the same ID
	before time.Duration
}

// Watch begins to watch the process with the given ID.
func Watch(pid int) (*Process, error) { return watch("/proc", pid, false) }

// WatchFamily is Watch with the process's children, also those that come later and
// those that have ended and were waited for: a server that forks for each connection.
// What ends while it is looked at may be counted twice or not at all.
func WatchFamily(pid int) (*Process, error) { return watch("/proc", pid, true) }

func watch(proc string, pid int, family bool) (*Process, error) {
	p := &Process{PID: pid, proc: proc, family: family}
	s, err := p.read()
	if err != nil {
		return nil, err
	}
	p.Command, p.start, p.before = s.command, s.start, s.cpu
	return p, nil
}

// Mark forgets what was used so far.
func (p *Process) Mark() error {
	s, err := p.read()
	p.before = s.cpu
	return err
}

// Used is the CPU time, user and system, since Watch or Mark, in steps of 10 ms.
func (p *Process) Used() (time.Duration, error) {
	s, err := p.read()
	if err != nil {
		return 0, err
	}
	if s.start != p.start {
		return 0, fmt.Errorf("measure process %d: it has ended, another one has its number", p.PID)
	}
	return s.cpu - p.before, nil
}

func (p *Process) read() (stat, error) {
	s, err := readStat(filepath.Join(p.proc, strconv.Itoa(p.PID), "stat"))
	if err == nil && p.family {
		var children time.Duration
		children, err = p.children()
		s.cpu += s.ended + children
	}
	if err != nil {
		return stat{}, fmt.Errorf("measure process %d: %w", p.PID, err)
	}
	return s, nil
}

// children is what the processes used that this one started and that run.
func (p *Process) children() (cpu time.Duration, err error) {
	files, err := filepath.Glob(filepath.Join(p.proc, "[0-9]*", "stat"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		s, err := readStat(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended in the meantime
		}
		if err != nil {
			return 0, err
		}
		if s.parent == p.PID {
			cpu += s.cpu + s.ended
		}
	}
	return cpu, nil
}

func readStat(file string) (stat, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// stat is what is read of /proc/PID/stat.
type stat struct {
	command string
	parent  int
	cpu     time.Duration // user and system, without children
	ended   time.Duration // that of children that ended and were waited for
	start   uint64        // ticks since boot
}

// parseStat reads the one line of the file. The command stands in parentheses and
// may hold any of them itself, so the last one ends it.
func parseStat(data []byte) (stat, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return stat{}, errors.New("its stat has no command")
	}
	fields := strings.Fields(string(data[end+1:])) // from field 3, the state, on
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("its stat has %d fields behind the command, want 20 at least", len(fields))
	}
	var numbers [6]uint64 // ppid, utime, stime, cutime, cstime, starttime
	for i, field := range []int{4, 14, 15, 16, 17, 22} {
		n, err := strconv.ParseUint(fields[field-3], 10, 53)
		if err != nil {
			return stat{}, fmt.Errorf("field %d of its stat: %w", field, err)
		}
		numbers[i] = n
	}
	return stat{
		command: string(data[open+1 : end]), parent: int(numbers[0]), start: numbers[5],
		cpu: time.Duration(numbers[1]+numbers[2]) * tick, ended: time.Duration(numbers[3]+numbers[4]) * tick,
	}, nil
}

// Self is the CPU time that this process has used so far, exactly.
func Self() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("measure this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// Machine is where a measurement was made.
type Machine struct {
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	CPU         string `json:"cpu,omitempty"` // model, where /proc tells it
	Cores       int    `json:"cores"`
	GOMAXPROCS  int    `json:"gomaxprocs"`
	Go          string `json:"go"`
	LoadAverage string `json:"load_average,omitempty"` // over 1, 5 and 15 minutes, before the run
}

// ThisMachine describes the machine, and how busy it is.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	// Neither is there but on Linux, and neither is needed.
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(string(data))
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 3 {
			m.LoadAverage = strings.Join(fields[:3], " ")
		}
	}
	return m
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
