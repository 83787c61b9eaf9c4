package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"sigstack/internal/fault"
)

// Bounds of one process.
const (
	maxAnswer  = 64 << 10        // of its stdout, in bytes; a public key has some 200
	maxRemarks = 4 << 10         // of its stderr, or of an error message, in bytes; the rest is dropped
	waitDelay  = 5 * time.Second // for pipes that children of its hold open
)

// run runs the program with args. As the protocol says, its exit status means
// nothing when it answered, and its answer is read when it has ended.
func (k *Key) run(ctx context.Context, args *common.PluginArgs) (*common.PluginResp, error) {
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("encode arguments of %s: %w", k.program, err)
	}
	var answer, remarks bounded
	answer.left, remarks.left = maxAnswer, 4*maxRemarks // cut when secrets are out: half of one is one
	environment := os.Environ()
	cmd := exec.CommandContext(ctx, k.program, common.ProtocolVersion, string(encoded)) //nolint:gosec // the operator chose the program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &answer, &remarks
	cmd.Env = withoutOurs(environment)
	cmd.WaitDelay = waitDelay
	runErr := cmd.Run()
	resp, err := k.read(ctx, answer, runErr)
	k.report(ctx, printable(redact(string(remarks.kept), environment)), err)
	return resp, err
}

// read makes one of what a process wrote and how it ended.
func (k *Key) read(ctx context.Context, answer bounded, runErr error) (*common.PluginResp, error) {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, k.misbehaved("it did not answer in time")
	case runErr != nil && !(errors.As(runErr, &exit) && exit.Exited()):
		return nil, fault.Wrap(fault.Unavailable, runErr, "program "+filepath.Base(k.program)+" could not be run")
	case answer.over:
		return nil, k.misbehaved(fmt.Sprintf("its answer has more than %d bytes", maxAnswer))
	}
	resp, err := decode(answer.kept)
	if err != nil {
		return nil, k.misbehaved(fmt.Sprintf("%v (%v)", err, ended(runErr)))
	}
	if strings.HasPrefix(resp.ErrorMessage, absent) {
		return nil, fault.Newf(fault.NotFound, "program %s: %s", filepath.Base(k.program), printable(redact(resp.ErrorMessage, os.Environ())))
	}
	if resp.ErrorMessage != "" {
		return nil, k.misbehaved(printable(redact(resp.ErrorMessage, os.Environ())))
	}
	return resp, nil
}

func ended(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// decode reads an answer: one JSON object. Fields that are not known are passed
// over, since the protocol may grow.
func decode(data []byte) (*common.PluginResp, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var resp *common.PluginResp
	if err := dec.Decode(&resp); err != nil {
		return nil, fmt.Errorf("its answer is not JSON: %w", err)
	}
	if resp == nil {
		return nil, errors.New("its answer is null")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("its answer is more than one JSON value")
	}
	return resp, nil
}

// report logs what the process wrote for people.
func (k *Key) report(ctx context.Context, remarks string, failed error) {
	if k.log == nil || remarks == "" {
		return
	}
	level := slog.LevelDebug
	if failed != nil {
		level = slog.LevelWarn
	}
	k.log.Log(ctx, level, "key service's program reports", slog.String("program", filepath.Base(k.program)), slog.String("stderr", remarks))
}

// withoutOurs drops from an environment what is this program's alone: the
// passphrase and tokens.
func withoutOurs(environment []string) (out []string) {
	for _, entry := range environment {
		if !strings.HasPrefix(entry, "SIGSTACK_") && !strings.HasPrefix(entry, "SIGSTORE_ID_TOKEN=") && !strings.HasPrefix(entry, "COSIGN_PASSWORD=") {
			out = append(out, entry)
		}
	}
	return out
}

// secretNames are parts of names of variables that hold secrets.
var secretNames = []string{"TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "CREDENTIAL", "KEY", "PIN"}

// shortestSecret is the length below which a value is not looked for: it would
// match too much.
const shortestSecret = 6

// redact blots out of text the secrets that the program was given.
func redact(text string, environment []string) string {
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if len(value) < shortestSecret || !strings.Contains(text, value) {
			continue
		}
		for _, part := range secretNames {
			if strings.Contains(strings.ToUpper(name), part) {
				text = strings.ReplaceAll(text, value, "[redacted]")
				break
			}
		}
	}
	return text
}

// printable makes text fit for a line of a log.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if len(text) > maxRemarks {
		text = strings.ToValidUTF8(text[:maxRemarks], "")
	}
	return strings.TrimSpace(text)
}

// bounded keeps the first left bytes that are written to it and takes the rest
// without keeping it, so that the writer is not stopped halfway.
type bounded struct {
	kept []byte
	left int
	over bool
}

// Write never fails.
func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), b.left)
	b.left -= keep
	b.over = b.over || keep < len(p)
	b.kept = append(b.kept, p[:keep]...)
	return len(p), nil
}
