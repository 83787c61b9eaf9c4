package pglog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

// A replica is a process of its own: only that can be killed, or stand still.

const replicaVariable = "PGLOG_TEST_REPLICA" // a replica, in JSON

// replica is one process that stands for election, leads or follows, and answers
// writers and readers alike.
type replica struct {
	URL, Schema string
	Tree        int64
	Socket      string
	Others      []string // sockets of the others, in no order

	cmd     *exec.Cmd
	cable   *pgtest.Cable
	leading atomic.Bool // in the process: it leads, as far as it knows
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
	tree, err := merkle.Open(ctx, merkle.Config{
		Storage: s, TreeID: r.Tree, Now: time.Now, Log: log, Election: election{s, r, log}, Forward: r.forward,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", r.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: r.handler(tree)}
	go server.Serve(listener) //nolint:errcheck // it ends with the process
	return tree.Run(ctx)
}

// election is the lock of the tree.
type election struct {
	s   *pglog.Store
	r   *replica
	log *slog.Logger
}

func (e election) Lead(ctx context.Context, f func(context.Context) error) error {
	return e.s.Lead(ctx, e.r.Tree, e.log, func(ctx context.Context) error {
		e.r.leading.Store(true)
		defer e.r.leading.Store(false)
		return f(ctx)
	})
}

// arrived marks a leaf that another replica has sent.
type arrived struct{}

// forward asks the others, of whom at most one leads.
func (r *replica) forward(ctx context.Context, leaf merkle.Leaf) (a merkle.Added, err error) {
	err = fault.New(fault.Unavailable, "nobody leads")
	if ctx.Value(arrived{}) != nil {
		return a, err
	}
	for _, socket := range r.Others {
		body, status, err := ask(ctx, clientOf(socket, 0), http.MethodPost, "/forward", merkle.EncodeLeaf(leaf))
		if err == nil && status == http.StatusOK {
			return merkle.DecodeAdded(body)
		}
	}
	return a, err
}

func (r *replica) handler(tree *merkle.Tree) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, body []byte, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(body) // who asked may be gone
	}
	mux.HandleFunc("POST /", func(w http.ResponseWriter, q *http.Request) {
		value, err := io.ReadAll(q.Body)
		var a merkle.Added
		if err == nil {
			a, err = tree.Add(q.Context(), merkle.Leaf{Value: value})
		}
		answer(w, merkle.EncodeAdded(a), err)
	})
	mux.HandleFunc("POST /forward", func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var l merkle.Leaf
		if err == nil {
			l, err = merkle.DecodeLeaf(body)
		}
		var a merkle.Added
		if err == nil && !r.leading.Load() {
			err = errors.New("somebody else leads")
		}
		if err == nil {
			a, err = tree.Add(context.WithValue(q.Context(), arrived{}, true), l)
		}
		answer(w, merkle.EncodeAdded(a), err)
	})
	mux.HandleFunc("GET /head", func(w http.ResponseWriter, q *http.Request) {
		head, err := tree.Newest(q.Context())
		body, _ := json.Marshal(head) // of numbers
		answer(w, body, err)
	})
	mux.HandleFunc("GET /entry/{index}", func(w http.ResponseWriter, q *http.Request) {
		index, err := strconv.ParseUint(q.PathValue("index"), 10, 64)
		var e merkle.Entry
		if err == nil {
			e, err = tree.Entry(q.Context(), index)
		}
		if fault.KindOf(err) == fault.NotFound && err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		answer(w, e.Leaf.Value, err)
	})
	mux.HandleFunc("GET /leading", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, strconv.AppendBool(nil, r.leading.Load()), nil)
	})
	return mux
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
	r.cmd = r.cable.Command(exe)
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

// clientOf asks a replica.
func clientOf(socket string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: timeout == 0,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func ask(ctx context.Context, client *http.Client, method, path string, body []byte) ([]byte, int, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://replica"+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	response, err := client.Do(q)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return answer, response.StatusCode, err
}

// add asks a replica to log a leaf.
func add(client *http.Client, value []byte) (a merkle.Added, err error) {
	body, status, err := ask(context.Background(), client, http.MethodPost, "/", value)
	if err != nil {
		return a, err
	}
	if status != http.StatusOK {
		return a, fmt.Errorf("%d: %s", status, body)
	}
	return merkle.DecodeAdded(body)
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
