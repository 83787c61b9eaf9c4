package login

import (
	"net/http"
	"testing"

	"sigstack/e2e/e2etest"
)

// Every client signs with a login in the browser that it opens, and with a code
// that is entered on another device.
func TestLogIn(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	password := demoPassword(t, s)
	for _, c := range clients {
		t.Run(c.name+" opens a browser", func(t *testing.T) {
			t.Parallel()
			b, g := e2etest.StartBrowser(t), c.atTerminal(t, s)
			want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, loginField)
			if status := fillIn(b, e2etest.DemoUser, password); status != http.StatusOK {
				t.Errorf("page after the login: status %d", status)
			}
			b.WantText(c.loggedIn)
			g.wantSigned(t, s, e2etest.DemoUser)
		})
		t.Run(c.name+" shows a code", func(t *testing.T) {
			t.Parallel()
			b, g := e2etest.StartBrowser(t), c.inScript(t, s)
			page, code := g.deviceCode(t)
			enterCode(t, b, page, code)
			want(t, b, fillIn(b, e2etest.DemoUser, password), http.StatusOK, deviceDone)
			g.wantSigned(t, s, e2etest.DemoUser)
		})
	}
}

// The link that holds the code fills it in, and leaves it to the person to send
// it off.
func TestCodeByLink(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	b, g := e2etest.StartBrowser(t), cosign3.inScript(t, s)
	page, code := g.deviceCode(t)
	want(t, b, b.Open(page+"?user_code="+code), http.StatusOK, codeField)
	if got := b.Value(codeField); got != code {
		t.Errorf("code filled in: %q, want %q", got, code)
	}
	want(t, b, b.Click(submit), http.StatusOK, loginField)
	want(t, b, fillIn(b, e2etest.DemoUser, demoPassword(t, s)), http.StatusOK, deviceDone)
	g.wantSigned(t, s, e2etest.DemoUser)
}

// A login leaves nothing behind in the browser: the next one asks again, and
// works.
func TestSecondLogin(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	b := e2etest.StartBrowser(t)
	for range 2 {
		g := cosign3.atTerminal(t, s)
		want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, loginField)
		if b.Has(rememberMe) {
			t.Error("the page offers to remember people")
		}
		fillIn(b, e2etest.DemoUser, demoPassword(t, s))
		b.WantText(cosign3.loggedIn)
		g.wantSigned(t, s, e2etest.DemoUser)
	}
}
