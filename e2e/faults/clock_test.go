package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
	"sigstack/internal/stack"
	"sigstack/services/tlog/tlogtest"
)

// tolerated is how far behind its newest entry the clock may be (DESIGN: an entry
// stamped further ahead could miss the ten minutes of its certificate).
const tolerated = 5 * time.Second

// steppingClock is the clock of a stack, which is so much off.
type steppingClock struct{ off atomic.Int64 }

func (c *steppingClock) now() time.Time      { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *steppingClock) set(d time.Duration) { c.off.Store(int64(d)) }

// site is a stack in this process that can be started again.
type site struct {
	clock   steppingClock
	dir     string
	address string
	url     string
	ledger  *tlogtest.Ledger
	signer  tlogtest.Signer
	last    int64 // integrated time of the newest entry, in seconds
}

// start runs the stack until stop is called.
func (s *site) start(t *testing.T) (stop func()) {
	t.Helper()
	opened, err := stack.Open(t.Context(), stack.Options{
		Dir: s.dir, Profile: config.ProfileUp, Listen: s.address, Now: s.clock.now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- opened.Run(ctx, func() {}) }()
	waitUntil(t, "the stack answers", func() bool {
		status, _, _, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodGet, s.url+"/healthz", nil)
		return err == nil && status == http.StatusOK
	})
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stack ended: %v", err)
		}
	}
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: filepath.Join(t.TempDir(), "data"), ledger: tlogtest.NewLedger("localhost"), signer: tlogtest.NewSigner(t)}
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = free.Addr().String()
	s.url = fmt.Sprintf("%s://localhost:%d", e2etest.Scheme(), free.Addr().(*net.TCPAddr).Port)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s.clock.set(-48 * time.Hour) // keys from the future would not start at all
	if err := stack.Init(t.Context(), stack.InitConfig{
		Dir: s.dir, Profile: config.ProfileUp, URL: s.url, Listen: s.address, Now: s.clock.now, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	e2etest.Adopt(t, s.dir)
	return s
}

// accepts logs an entry, whose time must not be before that of another, nor behind
// the stack's clock, nor ahead of it by more than is tolerated.
func (s *site) accepts(t *testing.T, when string) {
	t.Helper()
	p := propose(t, s.signer, 0)
	before := s.clock.now()
	status, _, answer, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodPost, s.url+entriesPath, p.body)
	after := s.clock.now()
	if err != nil || status != http.StatusCreated {
		t.Errorf("%s: %d %s %v, want 201", when, status, answer, err)
		return
	}
	s.ledger.Note(answer, p.question)
	var entry map[string]struct {
		IntegratedTime int64 `json:"integratedTime"`
	}
	if err := json.Unmarshal(answer, &entry); err != nil {
		t.Fatal(err)
	}
	for _, e := range entry {
		if e.IntegratedTime < s.last {
			t.Errorf("%s: integrated at %d, the entry before at %d", when, e.IntegratedTime, s.last)
		}
		if e.IntegratedTime < before.Unix() || e.IntegratedTime > after.Add(tolerated).Unix() {
			t.Errorf("%s: integrated at %d, the clock was %d to %d", when, e.IntegratedTime, before.Unix(), after.Unix())
		}
		s.last = e.IntegratedTime
	}
}

// refuses posts an entry that must be refused because of the clock, for the moment.
func (s *site) refuses(t *testing.T, when string) {
	t.Helper()
	status, header, answer, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodPost, s.url+entriesPath, propose(t, s.signer, 0).body)
	if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !bytes.Contains(answer, []byte("clock is")) {
		t.Errorf("%s: %d %s %v, want 503 that names the clock", when, status, answer, err)
	}
}

func (s *site) check(t *testing.T, when string) {
	t.Helper()
	if _, err := s.ledger.Check(t.Context(), asking(t, s.url), nil); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// TestClockStepsBack steps the clock of a running stack back. Within five seconds
// entries go on, a nanosecond apart; beyond, they are refused until the clock is
// right again, also by a process that is started meanwhile. Reads go on.
func TestClockStepsBack(t *testing.T) {
	s := newSite(t)
	s.clock.set(0)
	stop := s.start(t)
	s.accepts(t, "before")
	for _, tt := range []struct {
		back    time.Duration
		refused bool
	}{{time.Second, false}, {time.Minute, true}, {24 * time.Hour, true}} {
		when := fmt.Sprintf("%v back", tt.back)
		s.accepts(t, "right before "+when)
		s.clock.set(-tt.back)
		try := s.accepts
		if tt.refused {
			try = s.refuses
		}
		for range 3 {
			try(t, when)
		}
		s.check(t, when)
		stop()
		stop = s.start(t)
		try(t, when+", started again")
		s.check(t, when+", started again")
		s.clock.set(0)
		s.accepts(t, when+", and right again")
	}
	stop()
	stop = s.start(t)
	s.accepts(t, "started again with the right clock")
	s.check(t, "at the end")
	stop()
	entries, heads := s.ledger.Size()
	t.Logf("%d entries, %d checkpoints", entries, heads)
}
