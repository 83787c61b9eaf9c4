package login

import (
	"net/http"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestBrowser(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := e2etest.StartBrowser(t)
			g := c.atTerminal(t, s)
			want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, loginField)
			status := fillIn(b, e2etest.DemoUser, demoPassword(t, s))
			t.Log(status, b.URL(), b.Text())
			g.wantSigned(t, s, e2etest.DemoUser)
		})
	}
}

func TestDevice(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := e2etest.StartBrowser(t)
			g := c.inScript(t, s)
			page, code := g.deviceCode(t)
			enterCode(t, b, page, code)
			status := fillIn(b, e2etest.DemoUser, demoPassword(t, s))
			t.Log(status, b.URL(), b.Text())
			g.wantSigned(t, s, e2etest.DemoUser)
		})
	}
}
