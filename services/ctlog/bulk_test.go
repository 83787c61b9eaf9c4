package ctlog_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"sigstack/internal/merkle"
	"sigstack/services/ctlog"
)

// slowTree answers questions for entries when told to.
type slowTree struct {
	ctlog.Tree
	asked chan uint64 // how many entries
	goOn  chan struct{}
}

func (s *slowTree) Entries(ctx context.Context, first, count uint64) ([]merkle.Entry, error) {
	s.asked <- count
	<-s.goOn
	return s.Tree.Entries(ctx, first, count)
}

// stuck is a client that takes nothing of an answer until it is told to.
type stuck struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (s stuck) Write(p []byte) (int, error) {
	<-s.until
	return s.ResponseRecorder.Write(p)
}

// TestBulkAnswers: few answers of many entries are made at once, and clients that
// take theirs slowly keep nobody waiting.
func TestBulkAnswers(t *testing.T) {
	const atOnce = 8
	slow := &slowTree{asked: make(chan uint64), goOn: make(chan struct{})}
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, func(tree *merkle.Tree) ctlog.Tree {
		slow.Tree = tree
		return slow
	})
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, w http.ResponseWriter) {
		r.mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, prefix+"get-entries?start=0&end=9999", nil))
	}
	var slowly sync.WaitGroup
	until := make(chan struct{})
	for range atOnce {
		slowly.Go(func() { ask(t.Context(), stuck{httptest.NewRecorder(), until}) })
	}
	for range atOnce {
		if n := <-slow.asked; n > 256 {
			t.Errorf("%d entries are answered at once, want at most 256", n)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	late := httptest.NewRecorder()
	ask(gone, late)
	if late.Code != http.StatusTooManyRequests || late.Header().Get("Retry-After") == "" {
		t.Errorf("one more: %d %s, Retry-After %q, want 429", late.Code, late.Body, late.Header().Get("Retry-After"))
	}
	close(slow.goOn) // all are made, and none is taken
	var next sync.WaitGroup
	answer := httptest.NewRecorder()
	next.Go(func() { ask(t.Context(), answer) })
	<-slow.asked
	next.Wait()
	if answer.Code != http.StatusOK {
		t.Errorf("with %d slow clients: %d %s", atOnce, answer.Code, answer.Body)
	}
	close(until)
	slowly.Wait()
}
