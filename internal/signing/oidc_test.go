package signing_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

func TestPasswordToken(t *testing.T) {
	s := signingtest.New(t, now)
	token, err := signing.OIDC{Issuer: s.Issuer()}.Password(t.Context(), signingtest.Email, signingtest.Password)
	if err != nil || token != s.Token(signingtest.Email) {
		t.Fatalf("got %q, %v, want the user's token", token, err)
	}
	_, err = signing.OIDC{Issuer: s.Issuer()}.Password(t.Context(), signingtest.Email, "wrong")
	var refused *signing.ServiceError
	if !errors.As(err, &refused) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v, want a *ServiceError without the password", err)
	}
}

func TestDiscoveryIsChecked(t *testing.T) {
	tests := []struct{ name, document string }{
		{"other issuer", `{"issuer":"https://evil.example","token_endpoint":"https://issuer.example/dex/token"}`},
		{"issuer with slash", `{"issuer":"https://issuer.example/dex/","token_endpoint":"https://issuer.example/dex/token"}`},
		{"plaintext token endpoint", `{"issuer":"https://issuer.example/dex","token_endpoint":"http://issuer.example/dex/token"}`},
		{"no token endpoint", `{"issuer":"https://issuer.example/dex"}`},
		{"other scheme", `{"issuer":"https://issuer.example/dex","token_endpoint":"ftp://issuer.example/token"}`},
		{"no JSON", `<html>`},
	}
	for _, tt := range tests {
		calls := 0
		o := signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			calls++
			return respond(200, tt.document), nil
		})}}
		if token, err := o.Password(t.Context(), "u", "p"); err == nil || calls != 1 {
			t.Errorf("%s: got %q, %v after %d calls, want an error before the password is sent", tt.name, token, err, calls)
		}
	}
}

// browse follows the login page to our own listener, as a browser would.
func browse(t *testing.T, page string) (body string) {
	t.Helper()
	res, err := http.Get(page)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestBrowserLogin(t *testing.T) {
	s := signingtest.New(t, now)
	page := make(chan string, 1)
	token, err := signing.OIDC{Issuer: s.Issuer()}.Browser(t.Context(), func(loginURL string) error {
		go func() { page <- browse(t, loginURL) }()
		return nil
	})
	if err != nil || strings.Count(token, ".") != 2 {
		t.Fatalf("got %q, %v, want a token", token, err)
	}
	if got := <-page; !strings.Contains(got, `id="logged-in"`) || !strings.Contains(got, strings.TrimPrefix(s.URL, "http://")) {
		t.Errorf("got page %q, want it to say that the login at %s worked", got, s.URL)
	}
}

func TestBrowserLoginRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	back := func(loginURL string, answer url.Values) string {
		u, err := url.Parse(loginURL)
		if err != nil {
			t.Error(err)
			return ""
		}
		q := u.Query()
		if answer.Get("state") == "" {
			answer.Set("state", q.Get("state"))
		}
		return q.Get("redirect_uri") + "?" + answer.Encode()
	}
	page := make(chan string, 1)
	const hostile = `"><script>alert(1)</script>`
	t.Run("issuer says no", func(t *testing.T) {
		_, err := signing.OIDC{Issuer: s.Issuer()}.Browser(t.Context(), func(loginURL string) error {
			go func() {
				page <- browse(t, back(loginURL, url.Values{"error": {"access_denied"}, "error_description": {hostile}}))
			}()
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "access_denied") {
			t.Errorf("got %v, want access_denied", err)
		}
		if got := <-page; !strings.Contains(got, `id="login-failed"`) || !strings.Contains(got, "access_denied") || strings.Contains(got, "<script") {
			t.Errorf("got page %q, want the reason, as text", got)
		}
	})
	t.Run("invented code", func(t *testing.T) {
		_, err := signing.OIDC{Issuer: s.Issuer()}.Browser(t.Context(), func(loginURL string) error {
			go func() { page <- browse(t, back(loginURL, url.Values{"code": {"made-up"}})) }()
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "invalid_grant") {
			t.Errorf("got %v, want invalid_grant", err)
		}
		if got := <-page; !strings.Contains(got, `id="login-failed"`) || !strings.Contains(got, "invalid_grant") {
			t.Errorf("got page %q, want no success before there is a token", got)
		}
	})
	t.Run("other state is ignored", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := signing.OIDC{Issuer: s.Issuer()}.Browser(ctx, func(loginURL string) error {
			go func() {
				defer cancel()
				if got := browse(t, back(loginURL, url.Values{"state": {"forged"}, "code": {"code-1"}})); !strings.Contains(got, "not the login") {
					t.Errorf("got page %q, want the redirect turned away", got)
				}
			}()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want to have waited until canceled", err)
		}
	})
	t.Run("no browser", func(t *testing.T) {
		_, err := signing.OIDC{Issuer: s.Issuer()}.Browser(t.Context(), func(string) error { return errors.New("no display") })
		if err == nil || !strings.Contains(err.Error(), "no display") {
			t.Errorf("got %v, want the reason", err)
		}
	})
}

// TestLoginPage: nothing runs in it and nothing comes from outside, which its
// policy says too; the style in it is the one that the policy allows.
func TestLoginPage(t *testing.T) {
	s := signingtest.New(t, now)
	type answer struct {
		header http.Header
		body   string
	}
	pages := make(chan answer, 1)
	_, err := signing.OIDC{Issuer: s.Issuer()}.Browser(t.Context(), func(loginURL string) error {
		go func() {
			res, err := http.Get(loginURL)
			if err != nil {
				t.Error(err)
				pages <- answer{}
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			pages <- answer{res.Header, string(body)}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := <-pages
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(got.body)
	if style == nil {
		t.Fatalf("no style in %s", got.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if policy := got.header.Get("Content-Security-Policy"); policy != want {
		t.Errorf("policy %q, want %q", policy, want)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v: want no-store, no-referrer", got.header)
	}
	outside := regexp.MustCompile(`(src|href)=|<script|ZgotmplZ`)
	if found := outside.FindString(got.body); found != "" {
		t.Errorf("the page holds %q:\n%s", found, got.body)
	}
}

// TestDeviceLogin polls as RFC 8628 §3.5 asks: at the issuer's interval, and five
// seconds slower when told so.
func TestDeviceLogin(t *testing.T) {
	document := fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q,"device_authorization_endpoint":%q}`, issuer, issuer+"/token", issuer+"/device")
	tests := []struct {
		name   string
		polls  []string // bodies; empty of the last means a token
		want   time.Duration
		wantOK bool
	}{
		{"at once", []string{""}, 2 * time.Second, true},
		{"pending", []string{"authorization_pending", "authorization_pending", ""}, 6 * time.Second, true},
		{"slow down", []string{"slow_down", ""}, 9 * time.Second, true},
		{"expired", []string{"authorization_pending", "expired_token"}, 4 * time.Second, false},
		{"denied", []string{"access_denied"}, 2 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				polls := tt.polls
				o := signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					switch r.URL.Path {
					case "/dex/device":
						return respond(200, `{"device_code":"d","user_code":"ABCD","verification_uri":"https://issuer.example/device","interval":2}`), nil
					case "/dex/token":
						poll := polls[0]
						polls = polls[1:]
						if poll != "" {
							return respond(400, fmt.Sprintf(`{"error":%q}`, poll)), nil
						}
						return respond(200, `{"id_token":"a.b.c"}`), nil
					}
					return respond(200, document), nil
				})}}
				start := time.Now()
				token, err := o.Device(t.Context(), func(p signing.DevicePrompt) error {
					if p.Code != "ABCD" || p.URL != "https://issuer.example/device" {
						return fmt.Errorf("got prompt %+v", p)
					}
					return nil
				})
				if (err == nil) != tt.wantOK || (token == "a.b.c") != tt.wantOK || time.Since(start) != tt.want {
					t.Errorf("got %q, %v after %s, want %v after %s", token, err, time.Since(start), tt.wantOK, tt.want)
				}
			})
		})
	}
}

// TestExchange: the form is RFC 8693's, and an answer that is no ID token is none.
func TestExchange(t *testing.T) {
	const idToken = "urn:ietf:params:oauth:token-type:id_token"
	document := fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, issuer, issuer+"/token")
	tests := []struct {
		name   string
		status int
		answer string
		want   string // part of the error; empty: a token
	}{
		{"traded", 200, fmt.Sprintf(`{"access_token":"a.b.c","issued_token_type":%q,"token_type":"bearer"}`, idToken), ""},
		{"an access token", 200, `{"access_token":"a.b.c","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, "gave no ID token"},
		{"no type", 200, `{"access_token":"a.b.c"}`, "gave no ID token"},
		{"nothing", 200, fmt.Sprintf(`{"issued_token_type":%q}`, idToken), "gave no ID token"},
		{"refused", 400, `{"error":"invalid_request","error_description":"subject_token is for another audience"}`, "another audience"},
		{"no JSON", 200, `<html>`, "not JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/dex/token" {
					return respond(200, document), nil
				}
				if err := r.ParseForm(); err != nil {
					return nil, err
				}
				want := url.Values{
					"client_id": {"sigstore"}, "connector_id": {"ci"}, "scope": {"openid email"},
					"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
					"subject_token": {"s.u.b"}, "subject_token_type": {idToken}, "requested_token_type": {idToken},
				}
				if r.PostForm.Encode() != want.Encode() {
					t.Errorf("form %v, want %v", r.PostForm, want)
				}
				return respond(tt.status, tt.answer), nil
			})}}
			token, err := o.Exchange(t.Context(), "ci", "s.u.b")
			if tt.want == "" && (token != "a.b.c" || err != nil) {
				t.Errorf("got %q, %v, want the token", token, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s.u.b")) {
				t.Errorf("got %q, %v, want an error with %q and without the token", token, err, tt.want)
			}
		})
	}
}

func TestReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for content, want := range map[string]string{"a.b.c\n": "a.b.c", "  a.b.c": "a.b.c", "": "", "\n": "", strings.Repeat("x", 65<<10): ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fromFile, err := signing.ReadToken(path, nil)
		if fromFile != want || (err == nil) != (want != "") {
			t.Errorf("file of %d bytes: got %.10q, %v, want %q", len(content), fromFile, err, want)
		}
		fromStdin, err := signing.ReadToken("-", strings.NewReader(content))
		if fromStdin != want || (err == nil) != (want != "") {
			t.Errorf("stdin of %d bytes: got %.10q, %v, want %q", len(content), fromStdin, err, want)
		}
	}
	if _, err := signing.ReadToken(path+"-not-there", nil); err == nil {
		t.Error("got no error for a missing file")
	}
}
