package rekorv1_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/rekorv1"
)

// proposal is one of a kind that slow checks, of about size bytes.
func proposal(size int) string {
	return `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"x":"` + strings.Repeat("x", size) + `"}}`
}

// TestLargeEntriesTakeTurns: a few are checked at once, and small ones pass.
func TestLargeEntriesTakeTurns(t *testing.T) {
	entered, goOn := make(chan int), make(chan struct{})
	r := start(t, func(c *rekorv1.Config) {
		c.Parser.Types = entry.Types{{Kind: "hashedrekord", Version: "0.0.1"}: func(spec json.RawMessage, _ entry.Algorithms) (entry.Content, error) {
			entered <- len(spec)
			if len(spec) > 1<<20 {
				<-goOn
			}
			return entry.Content{}, fault.New(fault.Invalid, "checked")
		}}
	})
	post := func(ctx context.Context, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body)))
		return w
	}
	const path, retrieve = "/api/v1/log/entries", "/api/v1/log/entries/retrieve"
	large, search := proposal(5<<20), `{"entries":[`+proposal(5<<20)+`]}`
	var posting sync.WaitGroup
	checked := func(path, body string) {
		posting.Go(func() {
			if w := post(t.Context(), path, body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "checked") {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		})
	}
	checked(path, large)
	checked(path, large)
	checked(retrieve, search)
	for range 3 {
		<-entered
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for path, body := range map[string]string{path: large, retrieve: search} {
		if w := post(gone, path, body); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: a fourth at once: %d %s, want 429", path, w.Code, w.Body)
		}
	}
	checked(path, proposal(100<<10))
	if n := <-entered; n > 200<<10 {
		t.Errorf("a fourth of %d bytes is checked at once", n)
	}
	checked(path, large) // waits for its turn
	close(goOn)
	<-entered
	posting.Wait()
}

// TestWhoMaySearchNames: e-mail addresses and subjects are found by those who may
// ask for them, everything else by everybody.
func TestWhoMaySearchNames(t *testing.T) {
	r := start(t, func(c *rekorv1.Config) {
		c.MaySearchNames = func(w http.ResponseWriter, r *http.Request) error {
			if r.Header.Get("Authorization") != "" {
				return nil
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			return fault.New(fault.NoCredentials, "say who you are")
		}
	})
	hash := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		body        string
		none, known int
	}{
		{`{"email":"alice@example.com"}`, 401, 200},
		{`{"subject":"https://example.com/ci"}`, 401, 200},
		{`{"subject":"alice@example.com","hash":"` + hash + `","operator":"and"}`, 401, 200},
		{`{"email":"alice@example.com","hash":"` + hash + `","operator":"or"}`, 401, 200},
		{`{"hash":"` + hash + `"}`, 200, 200},
		{`{"email":"","subject":"","hash":"` + hash + `"}`, 200, 200},
		{`{"email":"not an address"}`, 422, 422},
	} {
		for token, want := range map[string]int{"": tt.none, "Bearer x": tt.known} {
			req := httptest.NewRequest(http.MethodPost, "/api/v1/index/retrieve", strings.NewReader(tt.body))
			req.Header.Set("Authorization", token)
			w := httptest.NewRecorder()
			r.mux.ServeHTTP(w, req)
			if w.Code != want || (want == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%s with %q: %d %s, want %d", tt.body, token, w.Code, w.Body, want)
			}
		}
	}
}
