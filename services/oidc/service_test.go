package oidc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/audit"
	"sigstack/internal/httpd"
	"sigstack/services/oidc"
)

const (
	userEmail    = "Demo@sigstack.local"
	userPassword = "correct horse"
)

// The hash is of cost 10; computing it once keeps the tests short.
var userHash = sync.OnceValues(func() ([]byte, error) { return oidc.HashPassword(userPassword) })

// issuer is a served oidc.Service: its URL is that of the listener.
type issuer struct {
	*oidc.Service
	url    string
	client *http.Client // follows no redirects
	dir    string
	edit   func(*oidc.Config)

	mu      sync.Mutex
	clock   time.Time    // guarded by mu
	handler http.Handler // guarded by mu
}

func (i *issuer) now() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.clock
}

func (i *issuer) advance(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clock = i.clock.Add(d)
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	handler := i.handler
	i.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// start serves an issuer with one user; edit may change its configuration.
func start(t *testing.T, edit func(*oidc.Config)) *issuer {
	t.Helper()
	i := &issuer{dir: t.TempDir(), edit: edit, clock: time.Now().Truncate(time.Second)}
	srv := httptest.NewServer(i)
	i.url = srv.URL + "/dex"
	i.client = srv.Client()
	i.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	i.open(t)
	t.Cleanup(func() {
		srv.Close()
		if err := i.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return i
}

// open starts and mounts the service on i's directory.
func (i *issuer) open(t *testing.T) {
	t.Helper()
	cfg := config(t, i.dir)
	cfg.Issuer, cfg.Now = i.url, i.now
	if i.edit != nil {
		i.edit(&cfg)
	}
	s, err := oidc.New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	mux := httpd.NewMux(httpd.MuxConfig{Log: discard(), Metrics: prometheus.NewRegistry(), Now: i.now})
	s.Mount(mux)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Service, i.handler = s, mux
}

func (i *issuer) restart(t *testing.T) {
	t.Helper()
	if err := i.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	i.open(t)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func config(t testing.TB, dir string) oidc.Config {
	t.Helper()
	hash, err := userHash()
	if err != nil {
		t.Fatal(err)
	}
	return oidc.Config{
		Issuer: "http://localhost:8080/dex", Dir: dir, Secret: bytes.Repeat([]byte{7}, 32), PasswordGrant: true, Now: time.Now, Log: discard(),
		Audit: func(context.Context, audit.Event) error { return nil }, AuditReady: func(context.Context) error { return nil },
		Users: []oidc.User{{Email: userEmail, Username: "demo", UserID: "demo-1", PasswordHash: hash}},
	}
}

// post sends a form and returns the status and the JSON answer.
func (i *issuer) post(t *testing.T, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := i.client.PostForm(i.url+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("POST %s: status %d, answer is not JSON: %v", path, resp.StatusCode, err)
	}
	return resp.StatusCode, answer
}

func (i *issuer) get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := i.client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readAll(t, resp)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func passwordForm(password string) url.Values {
	return url.Values{
		"grant_type": {"password"}, "client_id": {oidc.ClientID}, "scope": {"openid email profile"},
		"username": {strings.ToLower(userEmail)}, "password": {password},
	}
}

func (i *issuer) passwordToken(t *testing.T) string {
	t.Helper()
	status, answer := i.post(t, "/token", passwordForm(userPassword))
	token, _ := answer["id_token"].(string)
	if status != http.StatusOK || token == "" {
		t.Fatalf("password grant: status %d, answer %v", status, answer)
	}
	return token
}

// verify checks a token by discovery and JWKS, as any relying party would.
func (i *issuer) verify(t *testing.T, raw string) *gooidc.IDToken {
	t.Helper()
	ctx := gooidc.ClientContext(t.Context(), i.client)
	provider, err := gooidc.NewProvider(ctx, i.url)
	if err != nil {
		t.Fatalf("discovery: %v", err)
	}
	token, err := provider.VerifierContext(ctx, &gooidc.Config{ClientID: oidc.ClientID, Now: i.now}).Verify(ctx, raw)
	if err != nil {
		t.Fatalf("verify token: %v", err)
	}
	return token
}

type claims struct {
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
	Nonce         string `json:"nonce"`
}

func (i *issuer) verifyClaims(t *testing.T, raw string) claims {
	t.Helper()
	var c claims
	if err := i.verify(t, raw).Claims(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDiscovery(t *testing.T) {
	tests := []struct {
		name   string
		edit   func(*oidc.Config)
		grants []string
	}{
		{"with the password grant", nil, []string{
			"authorization_code", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
		}},
		{"with an exchange", func(c *oidc.Config) {
			c.PasswordGrant = false
			c.Connectors = []oidc.Connector{{
				ID: "ci", Type: "oidc", Name: "CI", Config: json.RawMessage(`{"issuer":"http://127.0.0.1:1","clientID":"c"}`),
				Exchange: &oidc.Exchange{Audiences: []string{"c"}},
			}}
		}, []string{
			"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange",
		}},
		{"without", func(c *oidc.Config) { c.PasswordGrant = false }, []string{
			"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := start(t, tt.edit)
			status, body := i.get(t, i.url+"/.well-known/openid-configuration")
			var doc struct {
				Issuer    string   `json:"issuer"`
				Token     string   `json:"token_endpoint"`
				Auth      string   `json:"authorization_endpoint"`
				Device    string   `json:"device_authorization_endpoint"`
				Grants    []string `json:"grant_types_supported"`
				Responses []string `json:"response_types_supported"`
				PKCE      []string `json:"code_challenge_methods_supported"`
				Algs      []string `json:"id_token_signing_alg_values_supported"`
				Methods   []string `json:"token_endpoint_auth_methods_supported"`
			}
			if err := json.Unmarshal([]byte(body), &doc); err != nil || status != http.StatusOK {
				t.Fatalf("status %d, %v", status, err)
			}
			if doc.Issuer != i.url {
				t.Errorf("issuer = %q, want %q", doc.Issuer, i.url)
			}
			for got, want := range map[string]string{
				doc.Token: i.url + "/token", doc.Auth: i.url + "/auth", doc.Device: i.url + "/device/code",
			} {
				if got != want {
					t.Errorf("endpoint = %q, want %q", got, want)
				}
			}
			for name, lists := range map[string][2][]string{
				"grant types":    {doc.Grants, tt.grants},
				"response types": {doc.Responses, {"code"}},
				"PKCE methods":   {doc.PKCE, {"S256"}},
				"algorithms":     {doc.Algs, {"RS256"}},
				"client methods": {doc.Methods, {"none", "client_secret_basic", "client_secret_post"}},
			} {
				if !slices.Equal(lists[0], lists[1]) {
					t.Errorf("%s = %q, want %q", name, lists[0], lists[1])
				}
			}
		})
	}
}

func TestPasswordGrant(t *testing.T) {
	i := start(t, nil)
	raw := i.passwordToken(t)
	token := i.verify(t, raw)
	if token.Issuer != i.url || !slices.Equal(token.Audience, []string{"sigstore"}) {
		t.Errorf("issuer %q, audience %q; want %q, sigstore", token.Issuer, token.Audience, i.url)
	}
	if got := token.Expiry.Sub(i.now()); got != 10*time.Minute || !token.IssuedAt.Equal(i.now()) {
		t.Errorf("issued at %v for %v; want %v, 10m", token.IssuedAt, got, i.now())
	}
	want := claims{Email: userEmail, EmailVerified: true, Name: "demo"}
	if got := i.verifyClaims(t, raw); got != want {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
}

func TestPasswordGrantRefused(t *testing.T) {
	edit := func(key, value string) url.Values {
		form := passwordForm(userPassword)
		form.Set(key, value)
		return form
	}
	tests := []struct {
		name   string
		form   url.Values
		status int
		code   string
	}{
		{"wrong password", edit("password", "wrong"), http.StatusUnauthorized, "access_denied"},
		{"no password", edit("password", ""), http.StatusUnauthorized, "access_denied"},
		{"unknown user", edit("username", "nobody@sigstack.local"), http.StatusUnauthorized, "access_denied"},
		{"unknown client", edit("client_id", "other"), http.StatusUnauthorized, "invalid_client"},
		{"client secret", edit("client_secret", "x"), http.StatusUnauthorized, "invalid_client"},
		{"no openid scope", edit("scope", "email"), http.StatusBadRequest, "invalid_request"},
		{"unknown scope", edit("scope", "openid admin"), http.StatusBadRequest, "invalid_request"},
		{"audience of another client", edit("scope", "openid audience:server:client_id:other"), http.StatusBadRequest, "invalid_request"},
		{"unknown grant", edit("grant_type", "magic"), http.StatusBadRequest, "unsupported_grant_type"},
		{"client credentials", edit("grant_type", "client_credentials"), http.StatusBadRequest, "unsupported_grant_type"},
		{"token exchange", edit("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), http.StatusBadRequest, "unsupported_grant_type"},
		{"not UTF-8", edit("username", "\xff"), http.StatusBadRequest, "invalid_request"},
		{"oversize", edit("password", strings.Repeat("x", 256<<10)), http.StatusRequestEntityTooLarge, "invalid_request"},
	}
	i := start(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := i.post(t, "/token", tt.form)
			if status != tt.status || answer["error"] != tt.code {
				t.Errorf("status %d, %v; want %d, %s", status, answer, tt.status, tt.code)
			}
		})
	}
	t.Run("the grant is off", func(t *testing.T) {
		off := start(t, func(c *oidc.Config) { c.PasswordGrant = false })
		status, answer := off.post(t, "/token", passwordForm(userPassword))
		if status != http.StatusBadRequest || answer["error"] != "unsupported_grant_type" {
			t.Errorf("status %d, %v; want 400, unsupported_grant_type", status, answer)
		}
	})
}

func TestBadRequests(t *testing.T) {
	i := start(t, nil)
	multipart := func(value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\n" + value + "\r\n--b--\r\n"
	}
	tests := []struct {
		name, method, path, contentType, body string
		status                                int
	}{
		{"query too long", "GET", "/auth?state=" + strings.Repeat("x", 16<<10), "", "", http.StatusRequestURITooLong},
		{"query is not UTF-8", "GET", "/auth?client_id=sigstore&state=%ff", "", "", http.StatusBadRequest},
		{"query is malformed", "GET", "/auth?state=%zz", "", "", http.StatusBadRequest},
		{"path is not UTF-8", "GET", "/auth/%ff", "", "", http.StatusBadRequest},
		{"form is malformed", "POST", "/token", "application/x-www-form-urlencoded", "a=%zz", http.StatusBadRequest},
		{"multipart is not UTF-8", "POST", "/token", "multipart/form-data; boundary=b", multipart("\xff"), http.StatusBadRequest},
		{"multipart without boundary", "POST", "/token", "multipart/form-data", multipart("x"), http.StatusBadRequest},
		{"multipart too large", "POST", "/token", "multipart/form-data; boundary=b", multipart(strings.Repeat("x", 300<<10)), http.StatusRequestEntityTooLarge},
		{"other media type", "POST", "/token", "application/json", `{"grant_type":"password"}`, http.StatusBadRequest},
		{"wrong method", "PUT", "/token", "", "", http.StatusMethodNotAllowed},
		{"no such path", "GET", "/nothing", "", "", http.StatusNotFound},
		{"unknown client", "GET", "/auth?client_id=x&response_type=code", "", "", http.StatusBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, i.url+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.contentType)
			resp, err := i.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}
