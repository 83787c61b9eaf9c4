package postgres

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

const (
	entriesPath = "/api/v1/log/entries"
	writers     = 16
)

// load is a set of writers that post entries until they are told to end. A server that
// is gone or refuses for the moment is asked again.
type load struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	client *http.Client
	ledger *tlogtest.Ledger

	acked, refused, broken atomic.Int64

	mu   sync.Mutex
	last time.Time // guarded by mu: of the newest acknowledgement
	errs []error   // guarded by mu: answers that are neither 201 nor 503
}

func newLoad(t *testing.T, url string, ledger *tlogtest.Ledger) *load {
	t.Helper()
	transport := e2etest.Transport()
	transport.MaxIdleConnsPerHost = writers
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, client: &http.Client{Transport: transport, Timeout: time.Minute}, ledger: ledger}
	for range writers {
		signer := tlogtest.NewSigner(t)
		l.wg.Go(func() { l.write(ctx, t, url, signer) })
	}
	return l
}

// end stops the writers and returns the answers that they should not have got.
func (l *load) end() error {
	l.stop()
	l.wg.Wait()
	l.client.CloseIdleConnections()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

func (l *load) write(ctx context.Context, t *testing.T, url string, signer tlogtest.Signer) {
	for ctx.Err() == nil {
		content := []byte(rand.Text())
		body := tlogtest.JSON(t, tlogtest.HashedRekord(t, signer, crypto.SHA256, content))
		digest := sha256.Sum256(content)
		status, header, answer, err := e2etest.Exchange(ctx, l.client, http.MethodPost, url+entriesPath, body)
		switch {
		case err != nil && ctx.Err() != nil: // it was told to end
		case err != nil:
			l.broken.Add(1) // nothing was acknowledged
			pause(ctx)
		case status == http.StatusCreated:
			l.ledger.Note(answer, tlogtest.Object{"hash": hex.EncodeToString(digest[:])})
			l.acked.Add(1)
			l.mu.Lock()
			l.last = time.Now()
			l.mu.Unlock()
		case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
			l.refused.Add(1)
			pause(ctx)
		default:
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("status %d: %s", status, answer))
			l.mu.Unlock()
			return
		}
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// more waits until so many entries more are acknowledged.
func (l *load) more(t *testing.T, entries int64) {
	t.Helper()
	want := l.acked.Load() + entries
	wantSoon(t, fmt.Sprintf("%d more entries", entries), func() bool { return l.acked.Load() >= want })
}

func wantSoon(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(e2etest.ReadyWithin); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", e2etest.ReadyWithin, what)
		}
	}
}

// wantAll holds a stack to every answer that it gave.
func wantAll(t *testing.T, url string, ledger *tlogtest.Ledger) {
	t.Helper()
	transport := e2etest.Transport()
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	ask := func(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
		status, _, answer, err := e2etest.Exchange(ctx, client, method, url+path, body)
		return status, answer, err
	}
	found, err := ledger.Check(t.Context(), ask, nil)
	if err != nil {
		t.Fatalf("lost: %v, forked: %v: %v", errors.Is(err, tlogtest.ErrLost), errors.Is(err, tlogtest.ErrFork), err)
	}
	entries, heads := ledger.Size()
	t.Logf("%d acknowledged entries and %d checkpoints; asked for %d entries and %d consistency proofs", entries, heads, found.Entries, found.Proofs)
}

// statusOf asks for a path of a stack; 0: it does not answer.
func statusOf(t *testing.T, s *e2etest.Stack, path string) int {
	t.Helper()
	status, _, _, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return 0
	}
	return status
}
