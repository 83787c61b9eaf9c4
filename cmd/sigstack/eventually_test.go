package main

import (
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// eventually PROGRAM ARG... runs a program until it succeeds, for what is refused
// before its time.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: eventually program arg...")
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if ts.Exec(args[0], args[1:]...) == nil {
			return
		}
	}
	ts.Fatalf("%v did not succeed within a minute", args)
}
