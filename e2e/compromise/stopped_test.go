package compromise

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// wantStopped demands that the service whose key is trusted no more answers 503 and
// says why, that readiness does, and that another one goes on.
func wantStopped(t *testing.T, s *e2etest.Stack, kind string) {
	t.Helper()
	const certificate, stamp, reason = "/api/v2/signingCert", "/api/v1/timestamp", "the trust in its key ended at "
	stopped, other := certificate, stamp
	if kind == "tsa" {
		stopped, other = stamp, certificate
	}
	for path, want := range map[string]bool{stopped: true, other: false} {
		code, answer := e2etest.Send(t, http.MethodPost, s.URL+path, "application/json", []byte("{}"))
		if got := code == http.StatusServiceUnavailable && bytes.Contains(answer, []byte(reason)); got != want {
			t.Errorf("%s after the trust in the %s key ended: %d %s; want 503 with the reason: %v", path, kind, code, answer, want)
		}
	}
	var code int
	var answer []byte
	for end := time.Now().Add(e2etest.ReadyWithin); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if code, answer = e2etest.Get(t, s.URL+"/readyz"); code == http.StatusServiceUnavailable && bytes.Contains(answer, []byte(reason)) {
			return
		}
	}
	t.Errorf("/readyz: %d %s; want 503 with the reason", code, answer)
}
