package ctlog_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
)

func TestMain(m *testing.M) { os.Exit(kmstest.Main(m)) }

// TestKeyAway: to ctfe a key that cannot sign now is an error of its own; clients
// are told to come back.
func TestKeyAway(t *testing.T) {
	d, ca, service := newDisk(t), newAuthority(t), kmstest.New(t)
	store := keys.Open(t.TempDir(), nil, keys.WithDevices(keys.Devices{PluginDir: service.Plugins}))
	var err error
	if d.key, err = store.CreateAt("ctlog", "fake://ctlog", keys.ECDSAP256, start); err != nil {
		t.Fatal(err)
	}
	r := d.open(t, ca, nil)
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil {
		t.Fatalf("before: %v", err)
	}
	add := func() *httptest.ResponseRecorder {
		body := strings.NewReader(string(submission(t, ca.leaf(t, false, nil), ca.inter.Raw)))
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ctlog/ct/v1/add-pre-chain", body))
		return rec
	}
	service.Stop(t)
	if rec := add(); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("while it is away: got %d, Retry-After %q; want 503 and 1", rec.Code, rec.Header().Get("Retry-After"))
	}
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("within the process: got %v of kind %d, want fault.Unavailable", err, fault.KindOf(err))
	}
	service.Start(t)
	if rec := add(); rec.Code != http.StatusOK {
		t.Errorf("when it is back: got %d: %s", rec.Code, rec.Body)
	}
}
