package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// bar shows how far a long run is: redrawn on a terminal, a line now and then
// elsewhere, nothing in JSON format. It is safe for concurrent use.
type bar struct {
	a        *app
	what     string // is done to unit: "signing", "files"
	unit     string
	terminal bool

	mu    sync.Mutex // guards the rest
	start time.Time
	last  time.Time // of the latest drawing
	drawn bool
	done  int // files, at the latest call of set
	total int
}

// Least time between two drawings.
const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 5 * time.Second
	barWidth    = 30
)

func (a *app) newBar(what string) *bar {
	f, ok := a.err.(*os.File)
	now := a.now()
	return &bar{a: a, what: what, unit: "files", terminal: ok && term.IsTerminal(int(f.Fd())), start: now, last: now}
}

func (b *bar) set(done, total int, bytes int64, path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.total = done, total
	every := lineEvery
	if b.terminal {
		every = redrawEvery
	}
	now := b.a.now()
	if done < total && now.Sub(b.last) < every || total == 0 {
		return
	}
	b.last = now
	rate := float64(done) / max(now.Sub(b.start).Seconds(), 1e-3)
	left := time.Duration(float64(total-done) / max(rate, 1e-9) * float64(time.Second))
	line := fmt.Sprintf("%s %d/%d %s, %s, %.1f/s, %s left", b.what, done, total, b.unit, size(bytes), rate, left.Round(time.Second))
	if !b.terminal {
		b.a.notef("%s\n", line)
		return
	}
	full := barWidth * done / total
	b.a.notef("\r\x1b[K[%s%s] %s  %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), line, shown(base(path)))
	b.drawn = true
}

// end leaves the last drawing on a line of its own.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		b.a.notef("\n")
	}
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// size renders a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n), "KMGTP"
	i := -1
	for value >= unit && i < len(units)-1 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
