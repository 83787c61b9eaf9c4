package rekorv1_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog"
	"sigstack/services/tlog/tlogtest"
)

// TestOverload sends more entries than the queue takes of a log that is stuck:
// what is queued is answered 504 in time, all else 503 at once with a time to try
// again, and all of it goes well once the log moves again.
func TestOverload(t *testing.T) {
	const queue, writers = 3, 40
	tree := stuckTree(t, queue)
	mux := newMux(t, impatient(t, tree))
	r := &rig{mux: mux}
	signer := certified(t)
	bodies := make([][]byte, writers)
	for i := range bodies {
		bodies[i] = tlogtest.JSON(t, blob(t, signer, strconv.Itoa(i)))
	}
	answers := make([]answer, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { answers[i] = r.serve("POST", "/api/v1/log/entries", bodies[i]) })
	}
	wg.Wait()
	statuses := map[int]int{}
	for _, a := range answers {
		statuses[a.status]++
		if a.status != http.StatusServiceUnavailable {
			continue
		}
		if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("Retry-After is %q, want some seconds", a.header.Get("Retry-After"))
		}
		r.wantError(t, a, http.StatusServiceUnavailable, http.StatusServiceUnavailable, "queue is full")
	}
	if statuses[http.StatusGatewayTimeout] != queue || statuses[http.StatusServiceUnavailable] != writers-queue {
		t.Errorf("answers by status: %v, want %d of 504 and %d of 503", statuses, queue, writers-queue)
	}
	runTree(t, tree)
	for i, body := range bodies {
		a := r.serve("POST", "/api/v1/log/entries", body)
		for a.status == http.StatusServiceUnavailable && i == 0 { // until what nobody waits for is off the queue
			a = r.serve("POST", "/api/v1/log/entries", body)
		}
		if a.status != http.StatusCreated {
			t.Errorf("entry %d, again: %d %s", i, a.status, a.body)
		}
	}
	if got := tree.Head().Size; got != writers {
		t.Errorf("the log has %d entries, want %d", got, writers)
	}
}

// stuckTree takes entries that nothing commits.
func stuckTree(t *testing.T, queue int) *merkle.Tree {
	t.Helper()
	return treeIn(t, openStore(t, "db", pebblelog.Options{FS: vfs.NewMem(), Now: time.Now}), 0, queue)
}

// impatient waits for an entry as long as it takes everybody to ask.
func impatient(t *testing.T, tree *merkle.Tree) *tlog.Service {
	t.Helper()
	svc, err := tlog.New(tlog.Config{
		Shard: newShard(t, tree), URL: "https://log.example", Host: "log.example", Now: time.Now, AddTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}
