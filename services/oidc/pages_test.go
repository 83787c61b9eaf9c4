package oidc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/limit"
	"sigstack/services/oidc"
)

const hostile = `"><script>alert(1)</script><b onclick='x'>`

// shown walks the issuer as people and strangers do, and returns each page by the
// name of its template.
func shown(t *testing.T, i *issuer) map[string]string {
	t.Helper()
	pages := map[string]string{}
	show := func(name string, b *browser) { pages[name] = b.page }
	at := func(name, url string) *browser {
		b := newBrowser(t, i)
		b.open(url)
		show(name, b)
		return b
	}
	at("home", i.url)
	at("home with slash", i.url+"/")
	at("device", i.url+"/device")
	at("device of a link", i.url+"/device?user_code="+url.QueryEscape(hostile))
	at("error", i.url+"/auth/local?client_id=sigstore&response_type=code&redirect_uri=http://evil.example/"+url.QueryEscape(hostile))
	b := at("device, unknown", i.url+"/device")
	b.submit(map[string]string{"user_code": hostile})
	show("device, unknown", b)

	l := newLogin(loopback)
	b = at("login", i.url+"/auth?"+l.values.Encode())
	if !strings.Contains(b.page, `id="connectors"`) {
		t.Fatalf("no choice of logins:\n%s", b.page)
	}
	b.open(i.url + "/auth/local?" + l.values.Encode())
	show("password", b)
	b.submit(map[string]string{"login": hostile, "password": "wrong"})
	show("password, wrong", b)

	l.values.Set("approval_prompt", "force")
	b.open(i.url + "/auth/local?" + l.values.Encode())
	b.logIn()
	show("approval", b)

	l = newLogin("urn:ietf:wg:oauth:2.0:oob")
	b.open(i.url + "/auth/local?" + l.values.Encode())
	b.logIn()
	show("oob", b)

	_, device := i.post(t, "/device/code", url.Values{"client_id": {oidc.ClientID}, "scope": {"openid email"}})
	b.open(device["verification_uri_complete"].(string))
	form := formTag.FindStringSubmatch(b.page)
	if form == nil || !strings.Contains(form[2], device["user_code"].(string)) {
		t.Fatalf("the code is not filled in:\n%s", b.page)
	}
	b.submit(map[string]string{"user_code": device["user_code"].(string)})
	b.open(b.at.ResolveReference(&url.URL{Path: strings.TrimSuffix(b.at.Path, "/auth") + "/auth/local", RawQuery: b.at.RawQuery}).String())
	b.logIn()
	show("device_success", b)
	return pages
}

func hostileNames(c *oidc.Config) {
	c.Test = true
	c.Users[0].Username = hostile
	c.Connectors = []oidc.Connector{{
		ID: "other", Type: "mockPassword", Name: hostile,
		Config: json.RawMessage(`{"username":"u","password":"p"}`),
	}}
}

var ids = map[string][]string{
	"home":             {"home"},
	"home with slash":  {"home"},
	"device":           {"device-form", "user_code", "submit-login"},
	"device of a link": {"device-form", "user_code", "submit-login"},
	"device, unknown":  {"device-form", "user_code", "submit-login", "login-error"},
	"error":            {"error", "error-message"},
	"login":            {"connectors", "connector-local", "connector-other"},
	"password":         {"login-form", "login", "password", "submit-login", "other-login"},
	"password, wrong":  {"login-form", "login", "password", "submit-login", "login-error"},
	"approval":         {"approval", "approve", "reject"},
	"oob":              {"oob-code"},
	"device_success":   {"device-success"},
}

// TestPages: each page is whole, says where one is, has the ids that tests rely
// on, loads nothing from outside, and shows what people wrote as text. Setting
// SIGSTACK_PAGES to a directory keeps them there, to be looked at.
func TestPages(t *testing.T) {
	i := start(t, hostileNames)
	pages := shown(t, i)
	outside := regexp.MustCompile(`(?i)(src|href|action)="[a-z]*:?//`)
	host := strings.TrimPrefix(strings.TrimSuffix(i.url, "/dex"), "http://")
	for name, want := range ids {
		t.Run(name, func(t *testing.T) {
			page := pages[name]
			for _, id := range append([]string{"instance", "test-only", "main"}, want...) {
				if strings.Count(page, `id="`+id+`"`) != 1 {
					t.Errorf("want one element of id %q", id)
				}
			}
			for _, part := range []string{`<html lang="en">`, "<title>", "</html>", host, `width=device-width`} {
				if !strings.Contains(page, part) {
					t.Errorf("lacks %q", part)
				}
			}
			for _, bad := range []string{"<script", "<b ", "style=", "ZgotmplZ", "<no value>"} {
				if strings.Contains(page, bad) {
					t.Errorf("holds %q", bad)
				}
			}
			if found := outside.FindString(page); found != "" {
				t.Errorf("leads outside: %s", found)
			}
			if t.Failed() {
				t.Log(page)
			}
			keep(t, name, page)
		})
	}
}

func keep(t *testing.T, name, page string) {
	t.Helper()
	dir := os.Getenv("SIGSTACK_PAGES")
	if dir == "" {
		return
	}
	file := filepath.Join(dir, strings.NewReplacer(" ", "-", ",", "").Replace(name)+".html")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Error(err)
	}
}

// TestTooManyRequestsIsAPage: who is refused unread for coming too often sees a page
// in a browser, and programs get the error body.
func TestTooManyRequestsIsAPage(t *testing.T) {
	i := start(t, nil)
	mux := httpd.NewMux(httpd.MuxConfig{
		Log: discard(), Metrics: prometheus.NewRegistry(), Now: i.now,
		Guard: httpd.Guard{Writes: limit.NewKeyed(1./90, 1, 10, i.now)},
	})
	i.Mount(mux)
	ask := func(accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/dex/auth?"+newLogin(loopback).values.Encode(), nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	if w := ask(browser); w.Code >= 400 {
		t.Fatalf("first request: %d %s", w.Code, w.Body)
	}
	w := ask(browser)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "90" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("browser: %d, %v, want 429, a page, 90 seconds", w.Code, w.Header())
	}
	if page := w.Body.String(); !strings.Contains(page, `<strong id="limited-wait">90 seconds</strong>`) || !strings.Contains(page, "static/style.css") || !strings.Contains(page, "from your address") {
		t.Errorf("browser: page %s", page)
	}
	if w.Header().Get("Content-Security-Policy") == "" {
		t.Error("the page has no content policy")
	}
	if w := ask("*/*"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "90" || !strings.HasPrefix(w.Body.String(), `{"code":429,`) {
		t.Errorf("program: %d %v %s, want 429 as JSON", w.Code, w.Header(), w.Body)
	}
}

// TestLabels: each field of each form has a label of its own.
func TestLabels(t *testing.T) {
	i := start(t, hostileNames)
	field := regexp.MustCompile(`<input[^>]*type="(?:text|password)"[^>]*>`)
	id := regexp.MustCompile(` id="([^"]+)"`)
	for name, page := range shown(t, i) {
		for _, input := range field.FindAllString(page, -1) {
			found := id.FindStringSubmatch(input)
			if found == nil || !strings.Contains(page, `<label for="`+found[1]+`">`) {
				t.Errorf("%s: %s has no label", name, input)
			}
		}
	}
}

func TestNoTestBannerOnReal(t *testing.T) {
	i := start(t, nil)
	if _, page := i.get(t, i.url+"/device"); strings.Contains(page, "test-only") {
		t.Errorf("a real issuer calls itself a test:\n%s", page)
	}
}

// Pages may not be framed nor run anything, and answers with tokens not be cached.
func TestHeaders(t *testing.T) {
	i := start(t, nil)
	_, style := i.get(t, i.url+"/device")
	sheet := regexp.MustCompile(`href="/dex(/static/style[^"]*)"`).FindStringSubmatch(style)
	if sheet == nil {
		t.Fatalf("no style sheet in\n%s", style)
	}
	const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	for path, want := range map[string]map[string]string{
		"": {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"},
		"/auth?" + newLogin(loopback).values.Encode(): {"Cache-Control": "no-store"},
		"/auth?client_id=unknown": {
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": policy + "; form-action 'self' http://localhost:* http://127.0.0.1:*",
		},
		"/device":                           {"X-Frame-Options": "DENY", "Content-Security-Policy": policy},
		"/keys":                             {"Cache-Control": "max-age=600, must-revalidate", "X-Content-Type-Options": "nosniff"},
		"/.well-known/openid-configuration": {"Cache-Control": "no-store"},
		sheet[1]:                            {"Content-Type": "text/css; charset=utf-8", "Cache-Control": "public, max-age=604800, immutable"},
		"/static/icon.svg":                  {"Content-Type": "image/svg+xml", "X-Content-Type-Options": "nosniff"},
	} {
		resp, err := i.client.Get(i.url + path)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		for key, value := range want {
			if got := resp.Header.Get(key); got != value {
				t.Errorf("%s: %s = %q, want %q", path, key, got, value)
			}
		}
	}
	for _, path := range []string{"/static/", "/static", "/theme/", "/static/robots.txt", "/templates/home.html"} {
		if status, body := i.get(t, i.url+path); status != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404: %s", path, status, body)
		}
	}
}

// TestSAMLForm: the one page with a script runs that script and no other, and works
// without it.
func TestSAMLForm(t *testing.T) {
	i := start(t, func(c *oidc.Config) {
		c.Connectors = []oidc.Connector{{ID: "sso", Type: "saml", Name: "SSO", Config: json.RawMessage(
			`{"ssoURL":"https://sso.example/","usernameAttr":"n","emailAttr":"e","insecureSkipSignatureValidation":true}`)}}
	})
	resp, err := i.client.Get(i.url + "/auth/sso?" + newLogin(loopback).values.Encode())
	if err != nil {
		t.Fatal(err)
	}
	page := readAll(t, resp)
	script := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(script) != 1 {
		t.Fatalf("want one script in\n%s", page)
	}
	sum := sha256.Sum256([]byte(script[0][1]))
	want := "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, want) {
		t.Errorf("policy %q, want it to end in %q", policy, want)
	}
	if !strings.Contains(page, `action="https://sso.example/"`) || !regexp.MustCompile(`(?s)<form.*<noscript><button.*</form>`).MatchString(page) {
		t.Errorf("want a form with a button for who runs no script:\n%s", page)
	}
}
