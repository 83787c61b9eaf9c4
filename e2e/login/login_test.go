package login

import (
	"net/http"
	"testing"

	"sigstack/e2e/e2etest"
)

// Every client signs with a login in the browser that it opens. A wrong password
// is told, and the right one still taken. The browser remembers nobody: each
// login asks again.
func TestBrowser(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	b := e2etest.StartBrowser(t)
	password := demoPassword(t, s)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			b, g := b.In(t), c.atTerminal(t, s)
			want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, loginField)
			if b.Has(rememberMe) {
				t.Error("the page offers to remember people")
			}
			for _, try := range [][2]string{{e2etest.DemoUser, "wrong"}, {"nobody@sigstack.local", password}} {
				want(t, b, fillIn(b, try[0], try[1]), http.StatusUnauthorized, loginError)
				if got := b.Value(loginField); got != try[0] {
					t.Errorf("the page names the user %q, want %q", got, try[0])
				}
			}
			g.wantUnsigned(t)
			if status := fillIn(b, e2etest.DemoUser, password); status != http.StatusOK {
				t.Errorf("page after the login: status %d", status)
			}
			b.WantText(c.loggedIn)
			g.wantSigned(t, s, e2etest.DemoUser)
		})
	}
}

// Every client signs with a code that is entered elsewhere, by hand or by the
// link that fills it in but leaves it to the person to send it off.
func TestDevice(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	b := e2etest.StartBrowser(t)
	var all []signing // at once: each asks for its token every five seconds
	for _, c := range clients {
		all = append(all, c.inScript(t, s))
	}
	for i, g := range all {
		page, code := g.deviceCode(t)
		if i == 0 {
			want(t, b, b.Open(page+"?user_code="+code), http.StatusOK, codeField)
			if got := b.Value(codeField); got != code {
				t.Errorf("code filled in: %q, want %q", got, code)
			}
			want(t, b, b.Click(submit), http.StatusOK, loginField)
		} else {
			want(t, b, enterCode(t, b, page, code), http.StatusOK, loginField)
		}
		want(t, b, fillIn(b, e2etest.DemoUser, demoPassword(t, s)), http.StatusOK, deviceDone)
	}
	for _, g := range all {
		g.wantSigned(t, s, e2etest.DemoUser)
	}
}
