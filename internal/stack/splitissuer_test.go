package stack_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestIssuerAwayWhenTheCAStarts: a good token is good again as soon as its issuer is
// back; meanwhile clients are told to try again, and nobody restarts anything.
func TestIssuerAwayWhenTheCAStarts(t *testing.T) {
	whole, dirs := splitDir(t)
	front := startProcess(t, dirs["front"])
	ca, oidc := startProcess(t, dirs["ca"]), startProcess(t, dirs["oidc"])
	startProcess(t, dirs["logs"])
	front.await(t)
	r := running{Stack: front.stack}
	token := demoToken(t, whole, r)
	if w := certificate(t, r, token); w.Code != http.StatusOK {
		t.Fatalf("before: %d %s", w.Code, w.Body)
	}

	oidc.end(t)
	if w := certificate(t, r, token); w.Code != http.StatusOK {
		t.Errorf("a CA that knows the issuer's keys: %d %s, want a certificate", w.Code, w.Body)
	}
	ca.end(t)
	startProcess(t, dirs["ca"])
	deadline := time.Now().Add(time.Minute)
	w := certificate(t, r, token)
	for !strings.Contains(w.Body.String(), "could not be reached") && time.Now().Before(deadline) {
		if w.Code != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(50 * time.Millisecond) // until the front has found the CA
		w = certificate(t, r, token)
	}
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "could not be reached") {
		t.Errorf("a CA that does not: %d %v %s, want 503, when to try again, and that the issuer could not be reached", w.Code, w.Header(), w.Body)
	}

	startProcess(t, dirs["oidc"])
	for w = certificate(t, r, token); w.Code == http.StatusServiceUnavailable && time.Now().Before(deadline); w = certificate(t, r, token) {
		time.Sleep(50 * time.Millisecond)
	}
	if w.Code != http.StatusOK {
		t.Errorf("when the issuer is back: %d %s, want a certificate", w.Code, w.Body)
	}
}
