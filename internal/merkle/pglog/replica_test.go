package pglog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
)

// A replica is a process of its own: only that can be killed, or stand still.

const replicaVariable = "PGLOG_TEST_REPLICA" // a replica, in JSON

// replica is one process that stands for election and takes leaves while it leads.
type replica struct {
	URL, Schema string
	Tree        int64
	Socket      string

	cmd   *exec.Cmd
	cable *cable
}

// beReplica is the process. It returns its exit code.
func beReplica(text string) int {
	var r replica
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the test, however that ends
		stop()
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := json.Unmarshal([]byte(text), &r)
	if err == nil {
		err = r.serve(ctx, log)
	}
	if err != nil {
		log.Error("replica", slog.Any("error", err))
		return 1
	}
	return 0
}

func (r *replica) serve(ctx context.Context, log *slog.Logger) error {
	s, err := pglog.Open(ctx, pglog.Options{URL: r.URL, Schema: r.Schema, Now: time.Now})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // it returns none
	listener, err := net.Listen("unix", r.Socket)
	if err != nil {
		return err
	}
	var leading atomic.Pointer[merkle.Tree]
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		value, err := io.ReadAll(q.Body)
		tree := leading.Load()
		if err != nil || tree == nil {
			http.Error(w, "not leading", http.StatusServiceUnavailable)
			return
		}
		added, err := tree.Add(q.Context(), merkle.Leaf{Value: value})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(added) // who asked may be gone
	})}
	go server.Serve(listener) //nolint:errcheck // it ends with the process
	return s.Lead(ctx, r.Tree, log, func(ctx context.Context) error {
		tree, err := merkle.Open(ctx, merkle.Config{Storage: s, TreeID: r.Tree, Now: time.Now})
		if err != nil {
			log.WarnContext(ctx, "opening the tree", slog.Any("error", err))
			return nil // and again
		}
		leading.Store(tree)
		defer leading.Store(nil)
		return tree.Run(ctx)
	})
}

func (r *replica) start(t testing.TB) {
	t.Helper()
	_ = os.Remove(r.Socket) // that of a process that was killed
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(exe)
	r.cmd.Env = append(os.Environ(), replicaVariable+"="+string(text))
	if _, err := r.cmd.StdinPipe(); err != nil { // stays open as long as this process
		t.Fatal(err)
	}
	r.cmd.Stderr = &lines{t: t, who: filepath.Base(r.Socket)}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) kill(t testing.TB) {
	t.Helper()
	r.signal(t, syscall.SIGKILL)
	_ = r.cmd.Wait() // killed, as it was asked
}

// client asks this replica.
func (r *replica) client() *http.Client {
	return &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.Socket)
		},
	}}
}

// add asks a replica to log a leaf.
func add(client *http.Client, value []byte) (a merkle.Added, err error) {
	response, err := client.Post("http://replica/", "text/plain", bytes.NewReader(value))
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	if response.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%d: %s", response.StatusCode, body)
	}
	return a, json.Unmarshal(body, &a)
}

// lines hands what a process says to the test's log.
type lines struct {
	t   testing.TB
	who string
}

func (l *lines) Write(b []byte) (int, error) {
	if os.Getenv("PGLOG_TEST_VERBOSE") != "" {
		l.t.Logf("%s: %s", l.who, bytes.TrimSpace(b))
	}
	return len(b), nil
}
