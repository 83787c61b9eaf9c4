package login

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// Somebody whom only the outside provider knows.
const (
	partner         = "carol@partner.example"
	partnerPassword = "carol's own password"
)

// startProvider is an outside OpenID provider with its own people, and the
// settings of a connector to it. Over TLS it has a private authority, as many a
// company's has, which the connector is told of.
func startProvider(t *testing.T) (*testissuer.Issuer, map[string]any) {
	t.Helper()
	e2etest.KeepSecret(partnerPassword)
	settings := map[string]any{"clientID": testissuer.Audience}
	var secure *tls.Config
	if e2etest.OverTLS() {
		certificate, authority := e2etest.ServerCertificate(t)
		secure = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
		settings["rootCAs"] = []string{authority}
	}
	provider := testissuer.StartLogin(t, map[string]string{partner: partnerPassword}, secure)
	settings["issuer"] = provider.URL
	return provider, settings
}

// People of an outside provider sign in their own names, and verifiers need to
// know the stack's issuer alone.
func TestProvider(t *testing.T) {
	t.Parallel()
	provider, settings := startProvider(t)
	s := configure(t, func(_ *e2etest.Stack, c *config.Config) {
		c.OIDC.Connectors = []config.Connector{{
			Type: "oidc", ID: "partner", Name: "Partner login", Config: settings,
		}}
	})
	b := e2etest.StartBrowser(t)
	t.Run("code", func(t *testing.T) {
		b, g := b.In(t), cosign3.inScript(t, s)
		page, code := g.deviceCode(t)
		atProvider(t, b, provider, enterCode(t, b, page, code))
		want(t, b, fillIn(b, partner, partnerPassword), http.StatusOK, deviceDone)
		g.wantSigned(t, s, partner)
	})
	for _, c := range []client{cosign3, sigstack} {
		t.Run("browser of "+c.name, func(t *testing.T) {
			b, g := b.In(t), c.atTerminal(t, s)
			atProvider(t, b, provider, b.Open(g.opened.wait(t)))
			fillIn(b, partner, partnerPassword)
			b.WantText(c.loggedIn)
			g.wantSigned(t, s, partner)
		})
	}
	t.Run("refused there", func(t *testing.T) {
		b, g := b.In(t), cosign3.atTerminal(t, s)
		page := g.opened.wait(t)
		atProvider(t, b, provider, b.Open(page))
		want(t, b, fillIn(b, partner, "wrong"), http.StatusUnauthorized, loginError)
		g.wantUnsigned(t)
	})
	// Clients need not wait for a login that has failed.
	for _, tt := range []struct {
		name   string
		client client
		answer url.Values
		says   string
	}{
		{"may not log in", sigstack, url.Values{"error": {"access_denied"}, "error_description": {"not today"}}, "access_denied, not today"},
		{"may not log in, by cosign", cosign3, url.Values{"error": {"access_denied"}}, cosign3.refused},
		{"wrong code", sigstack, url.Values{"code": {"nosuchcode"}}, "server_error, the login at the identity provider failed"},
		{"no code", sigstack, url.Values{}, "server_error, the login at the identity provider failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, g := b.In(t), tt.client.atTerminal(t, s)
			tt.answer.Set("state", stateAtProvider(t, g.opened.wait(t)))
			b.Open(s.Issuer() + "/callback?" + tt.answer.Encode())
			g.wantFailed(t, tt.says)
			if tt.client.name == sigstack.name && !b.Has(clientsError) {
				t.Errorf("the browser says:\n%s", b.Text())
			}
		})
	}
}

// stateAtProvider starts another login on page and returns what the provider's
// answer to it has to name.
func stateAtProvider(t *testing.T, page string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(page, "/auth?", "/auth/partner?", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := e2etest.HTTP.Transport.RoundTrip(req) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	to, err := resp.Location()
	if err != nil || to.Query().Get("state") == "" {
		t.Fatalf("status %d, sent to %v: %v", resp.StatusCode, to, err)
	}
	return to.Query().Get("state")
}

// atProvider picks the provider's login, and expects to land there.
func atProvider(t *testing.T, b *e2etest.Browser, provider *testissuer.Issuer, status int) {
	t.Helper()
	want(t, b, status, http.StatusOK, choose("partner"))
	want(t, b, b.Click(choose("partner")), http.StatusOK, loginField)
	if !strings.HasPrefix(b.URL(), provider.URL) {
		t.Errorf("sent to %s, want the provider %s", b.URL(), provider.URL)
	}
}
