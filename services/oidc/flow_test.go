package oidc_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/services/oidc"
)

const loopback = "http://localhost:40123/auth/callback"

// browser walks pages as a person does: it follows redirects that stay with the
// issuer and submits the forms that it is shown.
type browser struct {
	t      *testing.T
	issuer *issuer
	client *http.Client

	page string // the last HTML page
	at   *url.URL
	left *url.URL // the last redirect away from the issuer
}

func newBrowser(t *testing.T, i *issuer) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, issuer: i, client: &http.Client{Transport: i.client.Transport, Jar: jar}}
	b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), i.url+"/") {
			return nil
		}
		b.left = r.URL
		return http.ErrUseLastResponse
	}
	return b
}

func (b *browser) open(url string) int {
	b.t.Helper()
	resp, err := b.client.Get(url)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	return b.took(resp)
}

var (
	formTag  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)"(.*?)</form>`)
	inputTag = regexp.MustCompile(`(?s)<input[^>]*name="([^"]*)"[^>]*>`)
)

// submit fills in the form on the page; every value must have a field there.
func (b *browser) submit(values map[string]string) int {
	b.t.Helper()
	form := formTag.FindStringSubmatch(b.page)
	if form == nil {
		b.t.Fatalf("no form on the page at %s:\n%s", b.at, b.page)
	}
	data := url.Values{}
	for _, input := range inputTag.FindAllStringSubmatch(form[2], -1) {
		if v, ok := values[input[1]]; ok {
			data.Set(input[1], v)
		}
	}
	if len(data) != len(values) {
		b.t.Fatalf("form %q does not ask for all of %v", form[2], values)
	}
	action, err := b.at.Parse(html.UnescapeString(form[1]))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.client.PostForm(action.String(), data)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	return b.took(resp)
}

func (b *browser) took(resp *http.Response) int {
	b.t.Helper()
	b.at, b.page = resp.Request.URL, readAll(b.t, resp)
	return resp.StatusCode
}

func (b *browser) logIn() int {
	b.t.Helper()
	return b.submit(map[string]string{"login": userEmail, "password": userPassword})
}

// login is one authorization request of a client.
type login struct {
	verifier string
	values   url.Values
}

func newLogin(redirect string) login {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	return login{verifier, url.Values{
		"client_id": {oidc.ClientID}, "response_type": {"code"}, "scope": {"openid email offline_access"},
		"redirect_uri": {redirect}, "state": {"state-1"}, "nonce": {"nonce-1"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}}
}

func (l login) exchange(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {oidc.ClientID}, "code": {code},
		"redirect_uri": l.values["redirect_uri"], "code_verifier": {l.verifier},
	}
}

// code logs in by the form and returns the authorization code.
func (i *issuer) code(t *testing.T, l login) string {
	t.Helper()
	b := newBrowser(t, i)
	if status := b.open(i.url + "/auth?" + l.values.Encode()); status != http.StatusOK {
		t.Fatalf("login page: status %d\n%s", status, b.page)
	}
	b.logIn()
	if b.left == nil || !strings.HasPrefix(b.left.String(), loopback+"?") {
		t.Fatalf("after the login: at %s, sent to %v; want %s\n%s", b.at, b.left, loopback, b.page)
	}
	if got := b.left.Query().Get("state"); got != "state-1" {
		t.Errorf("state = %q, want state-1", got)
	}
	return b.left.Query().Get("code")
}

func TestCodeFlow(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.PasswordGrant = false })
	l := newLogin(loopback)
	code := i.code(t, l)

	status, answer := i.post(t, "/token", l.exchange(code))
	raw, _ := answer["id_token"].(string)
	if status != http.StatusOK || raw == "" {
		t.Fatalf("exchange: status %d, %v", status, answer)
	}
	if got, want := i.verifyClaims(t, raw), (claims{Email: userEmail, EmailVerified: true, Nonce: "nonce-1"}); got != want {
		t.Errorf("claims = %+v, want %+v", got, want)
	}
	if status, answer := i.post(t, "/token", l.exchange(code)); status != http.StatusBadRequest {
		t.Errorf("the same code again: status %d, %v; want 400", status, answer)
	}
}

func TestCodeFlowRefused(t *testing.T) {
	i := start(t, nil)
	t.Run("wrong password shows the form again", func(t *testing.T) {
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
		b.submit(map[string]string{"login": userEmail, "password": "wrong"})
		if b.left != nil || !strings.Contains(b.page, "login-error") {
			t.Errorf("sent to %v, page:\n%s", b.left, b.page)
		}
	})
	t.Run("wrong verifier", func(t *testing.T) {
		l := newLogin(loopback)
		form := l.exchange(i.code(t, l))
		form.Set("code_verifier", rand.Text()+rand.Text())
		if status, answer := i.post(t, "/token", form); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
			t.Errorf("status %d, %v; want 400, invalid_grant", status, answer)
		}
	})
	t.Run("no verifier", func(t *testing.T) {
		l := newLogin(loopback)
		form := l.exchange(i.code(t, l))
		form.Del("code_verifier")
		if status, answer := i.post(t, "/token", form); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
			t.Errorf("status %d, %v; want 400, invalid_grant", status, answer)
		}
	})
	for _, redirect := range []string{
		"https://localhost/callback", "http://evil.example/", "http://localhost.evil.example/", "http://localhost@evil.example/",
		"//evil.example/device/callback", "http://evil.example/dex/device/callback", "",
	} {
		t.Run("redirect to "+redirect, func(t *testing.T) {
			b := newBrowser(t, i)
			if status := b.open(i.url + "/auth?" + newLogin(redirect).values.Encode()); status != http.StatusBadRequest || b.left != nil {
				t.Errorf("status %d, sent to %v; want 400 and nowhere", status, b.left)
			}
		})
	}
	t.Run("plain PKCE", func(t *testing.T) {
		l := newLogin(loopback)
		l.values.Set("code_challenge_method", "plain")
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + l.values.Encode())
		if b.left == nil || b.left.Query().Get("error") != "invalid_request" {
			t.Errorf("sent to %v, want the client with invalid_request", b.left)
		}
	})
	t.Run("implicit flow", func(t *testing.T) {
		l := newLogin(loopback)
		l.values.Set("response_type", "id_token")
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + l.values.Encode())
		if b.left == nil || b.left.Query().Get("error") != "unsupported_response_type" {
			t.Errorf("sent to %v, want the client with unsupported_response_type", b.left)
		}
	})
	t.Run("login page left open too long", func(t *testing.T) {
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
		i.advance(31 * time.Minute)
		if status := b.logIn(); status != http.StatusBadRequest || b.left != nil {
			t.Errorf("status %d, sent to %v; want 400 and nowhere", status, b.left)
		}
	})
}

// A client without a browser or listener of its own shows the code on a page.
func TestOutOfBand(t *testing.T) {
	i := start(t, nil)
	l := newLogin("urn:ietf:wg:oauth:2.0:oob")
	b := newBrowser(t, i)
	b.open(i.url + "/auth?" + l.values.Encode())
	b.logIn()
	shown := regexp.MustCompile(`value="([a-z0-9]{20,})"`).FindStringSubmatch(b.page)
	if shown == nil {
		t.Fatalf("no code on the page at %s:\n%s", b.at, b.page)
	}
	status, answer := i.post(t, "/token", l.exchange(shown[1]))
	raw, _ := answer["id_token"].(string)
	if status != http.StatusOK {
		t.Fatalf("exchange: status %d, %v", status, answer)
	}
	i.verify(t, raw)
}

func TestRefresh(t *testing.T) {
	i := start(t, nil)
	l := newLogin(loopback)
	_, answer := i.post(t, "/token", l.exchange(i.code(t, l)))
	first, _ := answer["refresh_token"].(string)
	if first == "" {
		t.Fatalf("no refresh token in %v", answer)
	}
	refresh := func(token string) (int, map[string]any) {
		return i.post(t, "/token", url.Values{
			"grant_type": {"refresh_token"}, "client_id": {oidc.ClientID}, "refresh_token": {token},
		})
	}
	i.advance(time.Hour)
	i.restart(t)
	status, answer := refresh(first)
	raw, _ := answer["id_token"].(string)
	if status != http.StatusOK || raw == "" {
		t.Fatalf("refresh: status %d, %v", status, answer)
	}
	i.verify(t, raw)
	second, _ := answer["refresh_token"].(string)
	if second == "" || second == first {
		t.Errorf("refresh token was not replaced: %q", second)
	}
	i.advance(time.Minute)
	if status, answer := refresh(first); status == http.StatusOK {
		t.Errorf("a refresh token was taken twice: %v", answer)
	}
	i.advance(25 * time.Hour)
	if status, answer := refresh(second); status == http.StatusOK {
		t.Errorf("a refresh token unused for a day was taken: %v", answer)
	}
}

func TestRefreshEndsWithUser(t *testing.T) {
	i := start(t, nil)
	l := newLogin(loopback)
	_, answer := i.post(t, "/token", l.exchange(i.code(t, l)))
	token, _ := answer["refresh_token"].(string)
	i.edit = func(c *oidc.Config) { c.Users[0].Email = "other@sigstack.local" }
	i.restart(t)
	i.advance(time.Minute)
	status, answer := i.post(t, "/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {oidc.ClientID}, "refresh_token": {token},
	})
	if status == http.StatusOK {
		t.Errorf("a removed user still refreshes: %v", answer)
	}
}

func TestDeviceFlow(t *testing.T) {
	i := start(t, nil)
	l := newLogin("")
	status, device := i.post(t, "/device/code", url.Values{
		"client_id": {oidc.ClientID}, "scope": {"openid email"},
		"code_challenge": l.values["code_challenge"], "code_challenge_method": {"S256"},
	})
	if status != http.StatusOK {
		t.Fatalf("device code: status %d, %v", status, device)
	}
	code, _ := device["device_code"].(string)
	poll := func(verifier string) (int, map[string]any) {
		i.advance(6 * time.Second) // over the interval, or the answer is slow_down
		return i.post(t, "/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {oidc.ClientID},
			"device_code": {code}, "code_verifier": {verifier},
		})
	}
	if _, answer := poll(l.verifier); answer["error"] != "authorization_pending" {
		t.Errorf("before the login: %v, want authorization_pending", answer)
	}

	b := newBrowser(t, i)
	page, _ := device["verification_uri"].(string)
	if status := b.open(page); status != http.StatusOK {
		t.Fatalf("code page: status %d\n%s", status, b.page)
	}
	user, _ := device["user_code"].(string)
	if status := b.submit(map[string]string{"user_code": strings.ToLower(user)}); status != http.StatusOK {
		t.Fatalf("after the user code: status %d at %s\n%s", status, b.at, b.page)
	}
	if status := b.logIn(); status != http.StatusOK || b.left != nil || !strings.HasSuffix(b.at.Path, "/device/callback") {
		t.Fatalf("after the login: status %d at %s, sent to %v\n%s", status, b.at, b.left, b.page)
	}

	if status, answer := poll("wrong"); status == http.StatusOK {
		t.Errorf("token without the verifier: %v", answer)
	}
	status, answer := poll(l.verifier)
	raw, _ := answer["id_token"].(string)
	if status != http.StatusOK || raw == "" {
		t.Fatalf("after the login: status %d, %v", status, answer)
	}
	if got := i.verifyClaims(t, raw); got.Email != userEmail || !got.EmailVerified {
		t.Errorf("claims = %+v, want %s, verified", got, userEmail)
	}
}

func TestDeviceCodeExpires(t *testing.T) {
	i := start(t, nil)
	_, device := i.post(t, "/device/code", url.Values{"client_id": {oidc.ClientID}})
	code, _ := device["device_code"].(string)
	i.advance(11 * time.Minute)
	_, answer := i.post(t, "/token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {oidc.ClientID}, "device_code": {code},
	})
	if answer["error"] != "expired_token" {
		t.Errorf("answer = %v, want expired_token", answer)
	}
}
