package login

import (
	"net/http"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// Who guesses passwords is stopped, and told when to come back; the person who
// waits at a terminal meanwhile signs after that.
func TestTooManyLogins(t *testing.T) {
	t.Parallel()
	s := startClocked(t)
	b := e2etest.StartBrowser(t)
	password := demoPassword(t, s.Stack)
	g := sigstack.atTerminal(t, s.Stack)
	page := g.opened.wait(t)
	want(t, b, b.Open(page), http.StatusOK, loginField)
	for range 5 {
		want(t, b, fillIn(b, e2etest.DemoUser, "wrong"), http.StatusUnauthorized, loginError)
	}
	want(t, b, fillIn(b, e2etest.DemoUser, password), http.StatusTooManyRequests, "#limited")
	b.WantText("Too many attempts", "seconds")
	g.wantUnsigned(t)

	s.advance(30 * time.Second)
	want(t, b, b.Open(page), http.StatusOK, loginField)
	fillIn(b, e2etest.DemoUser, password)
	b.WantText(sigstack.loggedIn)
	g.wantSigned(t, s.Stack, e2etest.DemoUser)
}
