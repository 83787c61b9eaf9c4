package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// serveVariable makes this test binary serve the directory of that name, an hour ahead,
// until it is killed.
const serveVariable = "STACK_TEST_SERVE"

func hourAhead() time.Time { return time.Now().Add(time.Hour) }

// serveFromEnvironment is what the test binary does in place of tests.
func serveFromEnvironment(dir string) {
	opts := options(dir, config.ProfileUp)
	opts.Now = hourAhead
	s, err := stack.Open(context.Background(), opts)
	if err != nil {
		panic(err)
	}
	if err := s.Run(context.Background(), func() {}); err != nil {
		panic(err)
	}
}

// killedReload serves a directory in a process of its own, changes config.yaml, lets
// that be reloaded, and kills the process when a file has a text; without one, as soon
// as the reload was asked for. It reports whether the reload was answered before.
func killedReload(t *testing.T, dir string, change func(*config.Config), file, text string) (answered bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, said.Bytes())
		}
		ended <- err
	}()
	awaitHolds(t, ended, func() bool { return admin.Dial(dir).Get(t.Context(), stack.AdminCTLogs, nil) == nil })
	edit(t, dir, change)
	reloading := make(chan error, 1)
	go func() {
		reloading <- admin.Dial(dir).Post(context.WithoutCancel(t.Context()), stack.AdminReload, nil, nil)
	}()
	if file != "" {
		awaitHolds(t, ended, func() bool {
			data, err := os.ReadFile(filepath.Join(dir, file))
			return err == nil && strings.Contains(string(data), text)
		})
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Log("ended before it could be killed")
	}
	return <-reloading == nil
}

// awaitHolds polls until a condition holds, and fails the test if the process ends.
func awaitHolds(t *testing.T, ended <-chan error, holds func() bool) {
	t.Helper()
	poll, late := time.NewTicker(50*time.Microsecond), time.After(time.Minute)
	defer poll.Stop()
	for !holds() {
		select {
		case err := <-ended:
			t.Fatalf("the process ended by itself: %v", err)
		case <-late:
			t.Fatal("nothing happened within a minute")
		case <-poll.C:
		}
	}
}

// TestSwitchesSurviveKill kills a process that goes over to another chain or CT log, or
// freezes one, by a reload: before it has noted that, when it has, and when it has said
// so. Whatever starts then signs by config.yaml, and refuses nothing that it took.
func TestSwitchesSurviveKill(t *testing.T) {
	made := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var log stack.CTLogStatus
	served(t, options(made, config.ProfileUp), func() {
		prepareTSAChain(t, made, time.Now())
		log = prepareCT(t, made, stack.CTLogOrder{}).Log
		if err := publishCTLogs(t.Context(), made); err != nil {
			t.Fatal(err)
		}
	})
	nextTSA := func(c *config.Config) { c.TSA.Key, c.TSA.Chain = "tsa-2", "keys/tsa-2.chain.pem" }
	nextCT := func(c *config.Config) {
		c.CTLog.First = log.Prefix
		c.CTLog.Shards = append(c.CTLog.Shards, config.CTShard{Key: log.Key, TreeID: log.TreeID, Prefix: log.Prefix})
	}
	freeze := func(c *config.Config) { nextCT(c); c.CTLog.State = config.CTFrozen }
	for _, c := range []struct {
		name       string
		change     func(*config.Config)
		file, text string
		tsa, ct    string // afterwards
	}{
		{"tsa, asked for", nextTSA, "", "", "tsa retired, tsa-2 active", "ctlog active 1, ct2 prepared 0"},
		{"tsa, noted", nextTSA, "tsa-chains.json", `"retired"`, "tsa retired, tsa-2 active", "ctlog active 1, ct2 prepared 0"},
		{"tsa, recorded", nextTSA, "audit/audit-00000000000000000001.jsonl", `"action":"admin.reload"`, "tsa retired, tsa-2 active", "ctlog active 1, ct2 prepared 0"},
		{"ct, asked for", nextCT, "", "", "tsa active, tsa-2 prepared", "ctlog active 2, ct2 active 1"},
		{"ct, noted", nextCT, "ctlogs.json", `"used"`, "tsa active, tsa-2 prepared", "ctlog active 2, ct2 active 1"},
		{"freeze, asked for", freeze, "", "", "tsa active, tsa-2 prepared", "ctlog frozen 0, ct2 active 1"},
		{"freeze, noted", freeze, "ctlogs.json", `"used"`, "tsa active, tsa-2 prepared", "ctlog frozen 0, ct2 active 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyOf(t, made)
			t.Logf("the reload was answered before the kill: %v", killedReload(t, dir, c.change, c.file, c.text))
			opts := options(dir, config.ProfileUp)
			opts.Now = hourAhead
			for _, when := range []string{"after the kill", "after one more start"} {
				r := start(t, opts)
				if got := tsaChainStates(t, dir); got != c.tsa {
					t.Errorf("%s: chains %s, want %s", when, got, c.tsa)
				}
				wantCT(t, dir, when, c.ct)
				wantStamp(t, r)
				end(t, r)
			}
		})
	}
}

// wantStamp demands that the timestamp authority signs.
func wantStamp(t *testing.T, r running) {
	t.Helper()
	const ask = `{"artifactHash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","hashAlgorithm":"sha256"}`
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/timestamp", strings.NewReader(ask))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		t.Errorf("timestamp: %d %s", w.Code, w.Body)
	}
}
