package faults

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

const entriesPath = "/api/v1/log/entries"

// writers post at once.
const writers = 20

// load is a set of writers that run until the server is gone or they are told to
// end.
type load struct {
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup
	client *http.Client
	url    string
	ledger *tlogtest.Ledger

	acked   atomic.Int64
	refused atomic.Int64 // answers of 503 with Retry-After

	mu   sync.Mutex // guards the rest
	old  []proposal // to be posted again, by anybody
	errs []error    // answers that are neither 201 nor 503
}

// proposal is an entry, and the searches that find it once it is logged.
type proposal struct {
	body     []byte
	question tlogtest.Object
}

// newLoad starts the writers. Refusals end a writer unless patient, who goes on.
func newLoad(t *testing.T, url string, ledger *tlogtest.Ledger, patient bool) *load {
	t.Helper()
	transport := e2etest.Transport()
	transport.MaxIdleConnsPerHost = writers
	l := &load{url: url, ledger: ledger, client: &http.Client{Transport: transport}}
	l.ctx, l.stop = context.WithCancel(t.Context())
	for i := range writers {
		signer := tlogtest.NewSigner(t)
		l.wg.Go(func() { l.write(t, signer, i, patient) })
	}
	return l
}

// end stops the writers and returns the answers they should not have got.
func (l *load) end() error {
	l.stop()
	return l.wait()
}

// wait returns when every writer has noticed that the server is gone.
func (l *load) wait() error {
	l.wg.Wait()
	l.stop()
	l.client.CloseIdleConnections()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

func (l *load) write(t *testing.T, signer tlogtest.Signer, kind int, patient bool) {
	for n := kind; l.ctx.Err() == nil; n++ {
		p := l.next(t, signer, n)
		status, header, answer, err := e2etest.Exchange(l.ctx, l.client, http.MethodPost, l.url+entriesPath, p.body)
		switch {
		case err != nil:
			return // killed: nothing was acknowledged
		case status == http.StatusCreated:
			l.ledger.Note(answer, p.question)
			l.acked.Add(1)
		case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
			if l.refused.Add(1); !patient {
				return
			}
			time.Sleep(10 * time.Millisecond) // clients would wait for longer
		default:
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("status %d: %s", status, answer))
			l.mu.Unlock()
			return
		}
	}
}

// next is an entry of some kind or, once in six times, one that was posted before,
// perhaps by another writer at this very moment.
func (l *load) next(t *testing.T, signer tlogtest.Signer, n int) proposal {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n%6 == 5 && len(l.old) > 0 {
		return l.old[mathrand.IntN(len(l.old))]
	}
	p := propose(t, signer, n)
	if l.old = append(l.old, p); len(l.old) > 50 {
		l.old = l.old[1:]
	}
	return p
}

// propose makes an entry of the n-th kind, found by the digest of what it signs.
func propose(t *testing.T, s tlogtest.Signer, n int) proposal {
	content := fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, rand.Text())
	digest := sha256.Sum256(content)
	envelope := func() tlogtest.Object { return tlogtest.Envelope(t, "application/vnd.in-toto+json", content, s) }
	var body tlogtest.Object
	switch n % 4 {
	case 0:
		body = tlogtest.HashedRekord(t, s, crypto.SHA256, content)
	case 1:
		body = tlogtest.DSSE(t, envelope(), s)
	case 2:
		body = tlogtest.InTotoV001(t, envelope(), s)
	default:
		body = tlogtest.InTotoV002(t, envelope(), s)
	}
	return proposal{tlogtest.JSON(t, body), tlogtest.Object{"hash": hex.EncodeToString(digest[:])}}
}

// asking is a tlogtest.Ask of a server.
func asking(t *testing.T, url string) tlogtest.Ask {
	t.Helper()
	transport := e2etest.Transport()
	transport.MaxIdleConnsPerHost = writers
	client := &http.Client{Transport: transport}
	t.Cleanup(client.CloseIdleConnections)
	return func(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
		status, _, answer, err := e2etest.Exchange(ctx, client, method, url+path, body)
		return status, answer, err
	}
}
