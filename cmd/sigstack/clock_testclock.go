//go:build testclock

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// testClock is the variable that names a file with how far the clock is ahead, a Go
// duration, which may change at any time. Its writer replaces the file atomically.
const testClock = "SIGSTACK_TEST_CLOCK"

// clock is the system's, and ahead of it by what the file of testClock says whenever
// it is asked; without the variable it is the system's. What waits for a time looks at
// it often, so that tests need not wait.
func clock() (now func() time.Time, checkEvery time.Duration) {
	path := os.Getenv(testClock)
	if path == "" {
		return time.Now, 0
	}
	return func() time.Time { return time.Now().Add(ahead(path)) }, 20 * time.Millisecond
}

// ahead ends the process over a file that is not as it should be: a test that goes on
// with another time than it set proves nothing.
func ahead(path string) time.Duration {
	data, err := os.ReadFile(path)
	if err != nil {
		panic(fmt.Errorf("%s: %w", testClock, err))
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(data)))
	if err != nil {
		panic(fmt.Errorf("%s: %s: %w", testClock, path, err))
	}
	return d
}
