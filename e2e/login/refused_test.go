package login

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// A wrong password is told, and the right one is still taken.
func TestWrongPassword(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, g := e2etest.StartBrowser(t), c.atTerminal(t, s)
			b.Open(g.opened.wait(t))
			for _, try := range [][2]string{
				{e2etest.DemoUser, "wrong"},
				{"nobody@sigstack.local", demoPassword(t, s)},
			} {
				want(t, b, fillIn(b, try[0], try[1]), http.StatusUnauthorized, loginError)
				if got := b.Value(loginField); got != try[0] {
					t.Errorf("the page names the user %q, want %q", got, try[0])
				}
			}
			g.wantUnsigned(t)
			fillIn(b, e2etest.DemoUser, demoPassword(t, s))
			b.WantText(c.loggedIn)
			g.wantSigned(t, s, e2etest.DemoUser)
		})
	}
}

// A person who gives up gets the terminal back, and nothing is signed.
func TestGivenUp(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := c.atTerminal(t, s)
			g.opened.wait(t)
			g.Interrupt()
			if code := g.End(); code == 0 {
				t.Errorf("exit %d, want a failure", code)
			}
			g.wantUnsigned(t)
		})
	}
}

// An answer without a code, which is what an issuer sends that refuses, ends the
// client with an error.
func TestLoginRefused(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, g := e2etest.StartBrowser(t), c.atTerminal(t, s)
			// The issuer knows no implicit flow, and tells the client so.
			b.Open(strings.Replace(g.opened.wait(t), "response_type=code", "response_type=token", 1))
			if code := g.End(); code == 0 {
				t.Errorf("exit %d, want a failure", code)
			}
			g.Hear(c.refused)
			g.wantUnsigned(t)
		})
	}
}

// Pages that have no login to go on with say so.
func TestUnknownRequests(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	b := e2etest.StartBrowser(t)
	t.Run("code", func(t *testing.T) {
		want(t, b, b.Open(s.Issuer()+"/device"), http.StatusOK, codeField)
		b.Type(codeField, "BCDF-GHJK")
		want(t, b, b.Click(submit), http.StatusBadRequest, loginError)
	})
	for name, path := range map[string]string{
		"login":    "/auth/local/login?state=nosuchrequest",
		"callback": "/callback?state=nosuchrequest&code=x",
		"device":   "/device/callback?state=BCDF-GHJK&code=x",
		"client":   "/auth?" + url.Values{"client_id": {"nobody"}, "response_type": {"code"}, "scope": {"openid"}}.Encode(),
	} {
		t.Run(name, func(t *testing.T) {
			want(t, b, b.Open(s.Issuer()+path), http.StatusBadRequest, errorPage)
		})
	}
}

// A code or a login page that nobody used in time is worth nothing, and clients
// that wait are told.
func TestExpired(t *testing.T) {
	s := startClocked(t)
	for _, c := range clients {
		t.Run("code of "+c.name, func(t *testing.T) {
			b, g := e2etest.StartBrowser(t), c.inScript(t, s.Stack)
			page, code := g.deviceCode(t)
			s.advance(11 * time.Minute)
			if code := g.End(); code == 0 {
				t.Errorf("exit %d, want a failure", code)
			}
			g.Hear("expired_token")
			g.wantUnsigned(t)
			want(t, b, b.Open(page), http.StatusOK, codeField)
			b.Type(codeField, code)
			want(t, b, b.Click(submit), http.StatusBadRequest, loginError)
		})
	}
	t.Run("login page", func(t *testing.T) {
		b, g := e2etest.StartBrowser(t), sigstack.atTerminal(t, s.Stack)
		want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, loginField)
		s.advance(31 * time.Minute)
		status := fillIn(b, e2etest.DemoUser, demoPassword(t, s.Stack))
		t.Log(status, b.Text())
		g.wantUnsigned(t)
	})
}
