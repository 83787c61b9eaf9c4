package login

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// A login that comes to nothing ends the client with an error, and nothing is
// signed.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	b := e2etest.StartBrowser(t)
	for _, c := range clients {
		t.Run(c.name+", by the issuer", func(t *testing.T) {
			b, g := b.In(t), c.atTerminal(t, s)
			// The issuer knows no implicit flow, and sends the browser back to say so.
			b.Open(strings.Replace(g.opened.wait(t), "response_type=code", "response_type=token", 1))
			g.wantFailed(t, c.refused)
			// The cosigns congratulate, whatever they are told.
			if c.name == sigstack.name && !b.Has(clientsError) {
				t.Errorf("the browser says:\n%s", b.Text())
			}
		})
		t.Run(c.name+", by the person", func(t *testing.T) {
			g := c.atTerminal(t, s)
			g.opened.wait(t)
			g.Interrupt()
			g.wantFailed(t, "")
		})
	}
	t.Run("unknown code", func(t *testing.T) {
		b := b.In(t)
		want(t, b, enterCode(t, b, s.Issuer()+"/device", "BCDF-GHJK"), http.StatusBadRequest, loginError)
	})
	for name, path := range map[string]string{
		"unknown login":          "/auth/local/login?state=nosuchrequest",
		"unknown provider login": "/callback?state=nosuchrequest&code=x",
		"unknown device login":   "/device/callback?state=BCDF-GHJK&code=x",
		"unknown client":         "/auth?" + url.Values{"client_id": {"nobody"}, "response_type": {"code"}, "scope": {"openid"}}.Encode(),
	} {
		t.Run(name, func(t *testing.T) {
			b := b.In(t)
			want(t, b, b.Open(s.Issuer()+path), http.StatusBadRequest, errorPage)
		})
	}
}

// A code or a login page that nobody used in time is worth nothing, and clients
// that wait are told.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := startClocked(t)
	b, late := e2etest.StartBrowser(t), e2etest.StartBrowser(t)
	waiting := sigstack.atTerminal(t, s.Stack)
	want(t, late, late.Open(waiting.opened.wait(t)), http.StatusOK, loginField)
	var all []signing
	for _, c := range clients {
		g := c.inScript(t, s.Stack)
		g.deviceCode(t)
		all = append(all, g)
	}
	s.advance(31 * time.Minute)
	for _, g := range all {
		page, code := g.deviceCode(t)
		want(t, b, enterCode(t, b, page, code), http.StatusBadRequest, loginError)
		g.wantFailed(t, "expired_token")
	}
	want(t, late, fillIn(late, e2etest.DemoUser, demoPassword(t, s.Stack)), http.StatusBadRequest, errorPage)
	late.WantText("expired")
	waiting.wantUnsigned(t)
}
