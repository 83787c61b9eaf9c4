package stack_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

// newListener binds a free loopback port; the stack closes it.
func newListener(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// initDir makes a stack and returns its directory.
func initDir(t *testing.T, cfg stack.InitConfig) string {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "data")
	cfg.Now, cfg.Log = time.Now, slog.New(slog.DiscardHandler)
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.URL == "" {
		cfg.URL = "http://stack.test:8080"
	}
	if err := stack.Init(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return cfg.Dir
}

func options(dir, profile string) stack.Options {
	return stack.Options{Dir: dir, Profile: profile, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// runUntilReady runs a stack until its start checks pass, then stops it.
func runUntilReady(t *testing.T, opts stack.Options) {
	t.Helper()
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready := false
	if err := s.Run(ctx, func() { ready = true; cancel() }); err != nil {
		t.Fatal(err)
	}
	if !ready {
		t.Fatal("stack did not get ready within a minute")
	}
}

func TestUpGetsReadyAgainAndAgain(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	for range 2 {
		runUntilReady(t, options(dir, config.ProfileUp))
	}
}

func TestServeGetsReady(t *testing.T) {
	pass := []byte("a passphrase")
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileServe, Passphrase: pass})
	opts := options(dir, config.ProfileServe)
	opts.Passphrase = pass
	// The offline directory is not needed to serve.
	if err := os.RemoveAll(filepath.Join(dir, "offline")); err != nil {
		t.Fatal(err)
	}
	runUntilReady(t, opts)
}

func TestInitNeverOverwrites(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	again := stack.InitConfig{Dir: dir, Profile: config.ProfileUp, URL: "http://other.test", Listen: "127.0.0.1:1", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if err := stack.Init(t.Context(), again); !errors.Is(err, stack.ErrInitialized) {
		t.Errorf("second init: got %v, want ErrInitialized", err)
	}
	runUntilReady(t, options(dir, config.ProfileUp))

	again.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(again.Dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stack.Init(t.Context(), again); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("init in an occupied directory: got %v, want a refusal naming what is there", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	served := initDir(t, stack.InitConfig{Profile: config.ProfileServe, Passphrase: []byte("right")})
	tests := []struct {
		name   string
		opts   stack.Options
		change func(*stack.Options)
		want   string
	}{
		{"test directory for serve", options(dir, config.ProfileServe), nil, "made by `up`"},
		{"served directory for up", options(served, config.ProfileUp), nil, "made by `init`"},
		{"other URL", options(dir, config.ProfileUp), func(o *stack.Options) { o.URL = "http://elsewhere.test" }, "fixed at init"},
		{"no stack", options(t.TempDir(), config.ProfileUp), nil, "holds no stack"},
		{"wrong passphrase", options(served, config.ProfileServe), func(o *stack.Options) { o.Passphrase = []byte("wrong") }, "wrong passphrase"},
		{"public plaintext listener", options(served, config.ProfileServe), func(o *stack.Options) {
			o.Passphrase, o.Listen = []byte("right"), "0.0.0.0:0"
		}, "refusing to listen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(&tt.opts)
			}
			_, err := stack.Open(t.Context(), tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestOpenRefusesASecondHolder(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	opts := options(dir, config.ProfileUp)
	opts.Listener = newListener(t)
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := stack.Open(t.Context(), options(dir, config.ProfileUp)); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second open: got %v, want ErrLocked", err)
	}
}

func TestOpenRefusesATakenAddress(t *testing.T) {
	opts := options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp)
	l := newListener(t)
	opts.Listen = l.Addr().String()
	if _, err := stack.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	runUntilReady(t, opts) // the lock was given back
}

func TestOpenRefusesSwappedKeys(t *testing.T) {
	dir, other := initDir(t, stack.InitConfig{Profile: config.ProfileUp}), initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	foreign, err := os.ReadFile(filepath.Join(other, "keys", "rekor.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys", "rekor.key"), foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err == nil || !strings.Contains(err.Error(), "does not match the live services") {
		t.Errorf("got %v, want the published trust root to be held against the keys", err)
	}
}
