package main

import (
	"math"
	"os"
	"runtime/debug"
)

// What a release's command may let its memory grow to before it collects garbage as often
// as it must, in bytes, and by how many hundredths up to there.
const (
	seldomMemory = 120 << 20
	seldomGrowth = 400
)

// collectSeldom has the garbage collector run less often: such a command ends within
// seconds, and what it keeps is a small part of what it makes. GOGC and GOMEMLIMIT of
// whoever runs it hold instead.
func collectSeldom() {
	if os.Getenv("GOGC") == "" && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetGCPercent(seldomGrowth)
		debug.SetMemoryLimit(seldomMemory)
	}
}
