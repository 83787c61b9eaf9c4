package stack_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/stack"
)

// dirVariable makes this test binary init a stack in the directory of that name.
const dirVariable = "STACK_TEST_INIT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		if err := stack.Init(context.Background(), testInit(dir)); err != nil {
			panic(err)
		}
		return
	}
	if dir := os.Getenv(splitVariable); dir != "" {
		splitFromEnvironment(dir)
		return
	}
	if dir := os.Getenv(ctVariable); dir != "" {
		ctFromEnvironment(dir)
		return
	}
	if dir := os.Getenv(shardVariable); dir != "" {
		shardFromEnvironment(dir)
		return
	}
	if dir := os.Getenv(serveVariable); dir != "" {
		serveFromEnvironment(dir)
		return
	}
	os.Exit(kmstest.Main(m))
}

func testInit(dir string) stack.InitConfig {
	return stack.InitConfig{
		Dir: dir, Profile: config.ProfileUp, URL: "http://stack.test:8080", Listen: "127.0.0.1:0",
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

// TestInitSurvivesKill kills init as soon as it has made each of the things on
// its way. The next init makes a whole stack, or finds one that is whole.
func TestInitSurvivesKill(t *testing.T) {
	for _, made := range []string{
		"lock", "init-unfinished", "run", "demo-user", "keys/ca.key", "offline/tuf-targets.key", "keys/tsa.chain.pem",
		"db/log", "db/oidc", "tuf/1.root.json", "client/root.json", "client/README.txt", "config.yaml",
	} {
		t.Run(strings.ReplaceAll(made, "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new", "data")
			killInit(t, dir, made)
			done, err := stack.Layout{Dir: dir}.Initialized()
			if err != nil {
				t.Fatal(err)
			}
			err = stack.Init(t.Context(), testInit(dir))
			if done && !errors.Is(err, stack.ErrInitialized) || !done && err != nil {
				t.Fatalf("init after the kill, whole before: %v: %v", done, err)
			}
			// Opening holds the published trust root against keys and chains.
			s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			wantNames(t, dir)
		})
	}
}

// killInit runs init in a process of its own and kills it when made appears.
func killInit(t *testing.T, dir, made string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	killWhenMade(t, cmd, filepath.Join(dir, made))
}

// killWhenMade runs a process and kills it when a file appears.
func killWhenMade(t *testing.T, cmd *exec.Cmd, made string) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	poll := time.NewTicker(50 * time.Microsecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			t.Logf("ended before it could be killed: %v", err)
			return
		case <-poll.C:
		}
		if _, err := os.Lstat(made); err == nil {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Log("ended before it could be killed")
			}
			return
		}
	}
}

// wantNames demands that nothing lies in a stack's directory but a stack.
func wantNames(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	const want = "audit checkpoints client config.yaml db demo-user keys lock offline run tuf"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("directory holds %q, want %q", got, want)
	}
}

// TestInitGoesOnAfterEachLeftover makes by hand what a kill rarely hits.
func TestInitGoesOnAfterEachLeftover(t *testing.T) {
	for _, left := range [][]string{
		{".init-unfinished.tmp-123"},
		{"init-unfinished", ".init-unfinished.tmp-1", ".demo-user.tmp-2", ".config.yaml.tmp-3"},
		{"lost+found"},
	} {
		dir := t.TempDir()
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := stack.Init(t.Context(), testInit(dir)); err != nil {
			t.Errorf("after %v: %v", left, err)
		}
	}
}

// TestOpenRemovesTheMarker: a stack in use must never pass for an unfinished one,
// which init would clear away.
func TestOpenRemovesTheMarker(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	if err := os.WriteFile(filepath.Join(dir, "init-unfinished"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := stack.Init(t.Context(), testInit(dir)); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("init over a stack that lost its configuration: got %v, want a refusal", err)
	}
}
