package stack_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// TestEndOfTrustStopsTheService: a log whose key is trusted no more takes no entry,
// also when the stack starts again; it is read, and all else is served as ever.
func TestEndOfTrustStopsTheService(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	if _, err := compromiseOffline(t.Context(), dir, true); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		method, path string
		stopped      bool
	}{
		{http.MethodPost, "/api/v1/log/entries", true},
		{http.MethodPost, "/api/v1/log/entries/retrieve", false},
		{http.MethodGet, "/api/v1/log", false},
		{http.MethodPost, "/api/v1/timestamp", false},
		{http.MethodPost, "/api/v2/signingCert", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		stopped := w.Code == http.StatusServiceUnavailable && strings.Contains(w.Body.String(), "the transparency log is stopped: the trust in its key ended at ")
		if stopped != c.stopped {
			t.Errorf("%s %s: %d %s; want that it is stopped: %v", c.method, c.path, w.Code, w.Body, c.stopped)
		}
	}
}
