package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// Exit codes (interface: Commands).
const (
	exitDone        = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitWaiting     = 4
	exitInterrupted = 130
)

// app is what every command shares: streams, clock and output format.
type app struct {
	in       io.Reader
	out, err io.Writer
	format   string // text or json
	now      func() time.Time
	// checkEvery is how often what waits for a time looks at now; 0: as it likes.
	checkEvery time.Duration
}

func exitCode(err error, interrupted bool) int {
	var unreachable *signing.UnreachableError
	var registry *oci.UnreachableError
	var waiting *waitingError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		return exitUsage
	case interrupted && errors.Is(err, context.Canceled):
		return exitInterrupted // as shells say it of a program that SIGINT ended
	case errors.As(err, &unreachable) || errors.As(err, &registry):
		return exitUnreachable
	case errors.As(err, &waiting):
		return exitWaiting
	default:
		return exitRefused
	}
}

// printError writes the error where people and scripts look for it: stderr, as
// one JSON object if JSON was asked for.
func (a *app) printError(err error, code int) {
	if a.format == "json" {
		a.encode(a.err, struct {
			Error string `json:"error"`
			Code  int    `json:"exit_code"`
		}{err.Error(), code})
		return
	}
	if errors.Is(err, context.Canceled) {
		a.printTo(a.err, "sigstack: interrupted (%v)\n", err)
		return
	}
	for line := range strings.SplitSeq("sigstack: "+err.Error(), "\n") {
		a.printTo(a.err, "%s\n", signing.Printable(line, maxErrorLine)) // it may quote strangers
	}
}

// maxErrorLine is the most bytes of a line of an error.
const maxErrorLine = 8 << 10

// result prints v as JSON, or calls text, by the chosen format.
func (a *app) result(v any, text func()) {
	if a.format == "json" {
		a.encode(a.out, v)
		return
	}
	text()
}

func (a *app) encode(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic("sigstack: result cannot be encoded: " + err.Error())
	}
}

// printf writes to stdout.
func (a *app) printf(format string, args ...any) { a.printTo(a.out, format, args...) }

// notef writes progress and remarks to stderr, so that stdout stays data; in
// JSON format it is silent.
func (a *app) notef(format string, args ...any) {
	if a.format == "text" {
		a.printTo(a.err, format, args...)
	}
}

// printTo ignores a failed write: there is nowhere left to report it.
func (a *app) printTo(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}
