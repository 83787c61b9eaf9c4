//go:build !testclock

package main

import "time"

// clock is the one of everything in the program. A build with the tag testclock has
// another, which tests can move; this one cannot be moved by anything.
func clock() (now func() time.Time, checkEvery time.Duration) { return time.Now, 0 }
