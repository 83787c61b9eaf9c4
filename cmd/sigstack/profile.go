//go:build profile

package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// profile records where this process spends its time, into a file of its own in the
// directory that SIGSTACK_PROFILE names, until stop is called. tools/pgo builds with it.
func profile() (stop func()) {
	f, err := os.CreateTemp(os.Getenv("SIGSTACK_PROFILE"), "*.pprof")
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sigstack: profile:", err)
		os.Exit(1)
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "sigstack: profile:", err)
		}
	}
}
