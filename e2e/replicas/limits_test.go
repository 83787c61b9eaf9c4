package replicas_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// mostFailures of one account from one address, at once: limits.logins by default.
const mostFailures = 5

// login asks for a token with a password and returns the status.
func (r *replica) login(t *testing.T, user, password string) int {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "client_id": {"sigstore"}, "scope": {"openid email"}, "username": {user}, "password": {password}}
	status, answer := e2etest.Send(t, http.MethodPost, r.at+"/dex/token", "application/x-www-form-urlencoded", []byte(form.Encode()))
	if status != http.StatusOK && status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
		t.Errorf("login at %s: %d %s", r.name, status, answer)
	}
	return status
}

// TestReplicasLockAnAccountTogether: failed logins spread over both lock an account as
// on one.
func TestReplicasLockAnAccountTogether(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	a, b := startTwo(t, testissuer.Start(t).URL)
	both := []*replica{a, b}
	_, password, _ := strings.Cut(strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(a.Dir, "demo-user"))), "\n")
	t.Run("logins that succeed do not count", func(t *testing.T) {
		for i := range 2 * mostFailures {
			if got := both[i%2].login(t, e2etest.DemoUser, password); got != http.StatusOK {
				t.Errorf("login %d: got %d, want 200", i+1, got)
			}
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		for i := range mostFailures {
			if got := both[i%2].login(t, e2etest.DemoUser, "wrong"); got != http.StatusUnauthorized {
				t.Errorf("failure %d: got %d, want 401", i+1, got)
			}
		}
		for _, r := range both {
			if got := r.login(t, e2etest.DemoUser, password); got != http.StatusTooManyRequests {
				t.Errorf("right password at %s, after that: got %d, want 429", r.name, got)
			}
		}
	})
	t.Run("all at once", func(t *testing.T) {
		var looked atomic.Int64
		var wait sync.WaitGroup
		for i := range 40 {
			wait.Go(func() {
				if both[i%2].login(t, "somebody@else.example", "wrong") == http.StatusUnauthorized {
					looked.Add(1)
				}
			})
		}
		wait.Wait()
		if got := looked.Load(); got < 1 || got > mostFailures {
			t.Errorf("%d passwords were looked at, want 1 to %d", got, mostFailures)
		}
	})
}
