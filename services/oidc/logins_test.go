package oidc_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/services/oidc"
	"sigstack/services/oidc/attempts"
)

// from returns a client whose requests come from another address of this machine.
func from(t *testing.T, ip string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// browserFrom is newBrowser at another address.
func browserFrom(t *testing.T, i *issuer, ip string) *browser {
	t.Helper()
	b := newBrowser(t, i)
	b.client.Transport = from(t, ip).Transport
	return b
}

// formLogin opens the login page anew and enters a password there.
func (b *browser) formLogin(email, password string) int {
	b.t.Helper()
	b.open(b.issuer.url + "/auth?" + newLogin("http://localhost:1/auth/callback").values.Encode())
	return b.submit(map[string]string{"login": email, "password": password})
}

// TestWrongPasswords: what one address may fail at one account, and what that means
// for others.
func TestWrongPasswords(t *testing.T) {
	i := start(t, nil)
	guesser := browserFrom(t, i, "127.0.0.2")
	for n := range 5 {
		// However the account is written, it is the same one.
		email := []string{userEmail, strings.ToLower(userEmail), " " + strings.ToUpper(userEmail) + " "}[n%3]
		if status := guesser.formLogin(email, "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("wrong password %d: status %d, want 401", n+1, status)
		}
	}
	for _, password := range []string{"wrong", userPassword} {
		if status := guesser.formLogin(userEmail, password); status != http.StatusTooManyRequests || !strings.Contains(guesser.page, `id="limited"`) {
			t.Fatalf("over the limit, password %q: status %d\n%s", password, status, guesser.page)
		}
	}
	if !strings.Contains(guesser.page, `<strong id="limited-wait">30 seconds</strong>`) || !strings.Contains(guesser.page, "static/style.css") {
		t.Errorf("page does not say how long, or has no style:\n%s", guesser.page)
	}
	if status := guesser.formLogin("other@corp.example", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("another account from there: status %d, want 401", status)
	}
	for range 8 { // success costs nothing
		if status := browserFrom(t, i, "127.0.0.3").formLogin(userEmail, userPassword); status != http.StatusSeeOther {
			t.Fatalf("right password from elsewhere: status %d, want 303", status)
		}
	}
	i.advance(30 * time.Second)
	if status := guesser.formLogin(userEmail, userPassword); status != http.StatusSeeOther {
		t.Errorf("after the window: status %d, want 303", status)
	}
}

// TestOtherPasswordConnectors: the limit is not that of local accounts alone.
func TestOtherPasswordConnectors(t *testing.T) {
	i := start(t, func(c *oidc.Config) {
		c.Users, c.PasswordGrant, c.Logins = nil, false, attempts.Rate{PerSecond: 1, Burst: 2}
		c.Connectors = []oidc.Connector{{ID: "directory", Type: "mockPassword", Name: "Directory", Config: json.RawMessage(`{"username": "ann", "password": "right"}`)}}
	})
	b := newBrowser(t, i)
	var got []int
	for _, password := range []string{"wrong", "right", "wrong", "right"} {
		got = append(got, b.formLogin("ann", password))
	}
	want := []int{http.StatusUnauthorized, http.StatusSeeOther, http.StatusUnauthorized, http.StatusTooManyRequests}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSpelledLogins: no spelling of the path leads around the limit, and a login that
// looks at no password costs nothing and proves nothing.
func TestSpelledLogins(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Logins = attempts.Rate{PerSecond: 1. / 30, Burst: 1} })
	b := newBrowser(t, i)
	b.open(i.url + "/auth?" + newLogin("http://localhost:1/auth/callback").values.Encode())
	state := b.at.Query().Get("state")
	try := func(path, password string) int {
		resp, err := i.client.PostForm(i.url+path, url.Values{"login": {userEmail}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for range 5 {
		if status := try("/auth/local/login?state=nosuchstate", "wrong"); status != http.StatusBadRequest {
			t.Fatalf("without a login under way: status %d, want 400", status)
		}
	}
	if status := try("/auth/local/login?state="+state, "wrong"); status != http.StatusUnauthorized {
		t.Fatalf("first wrong password: status %d, want 401", status)
	}
	for _, path := range []string{"/auth/local/login", "/auth/loc%61l/login", "/auth/%6cocal/login", "/auth/local/login/", "/auth//local/login", "/auth/loc%2561l/login"} {
		if status := try(path+"?state="+state, userPassword); status < 400 {
			t.Errorf("%s: status %d, a login over the limit", path, status)
		}
	}
}

func TestPasswordGrantLimited(t *testing.T) {
	i := start(t, nil)
	statuses := func(password string) map[int]int {
		got := map[int]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				resp, err := i.client.PostForm(i.url+"/token", passwordForm(password))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				mu.Lock()
				defer mu.Unlock()
				got[resp.StatusCode]++
			})
		}
		wg.Wait()
		return got
	}
	if got := statuses(userPassword); got[http.StatusOK] != 24 {
		t.Errorf("24 right passwords at once: %v, want 200 for each", got)
	}
	if got := statuses("wrong"); got[http.StatusUnauthorized] != 5 || got[http.StatusTooManyRequests] != 19 {
		t.Errorf("24 wrong passwords at once: %v, want 401 for 5 and 429 for 19", got)
	}
	resp, err := i.client.PostForm(i.url+"/token", passwordForm(userPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]string
	if err := json.Unmarshal([]byte(readAll(t, resp)), &answer); err != nil {
		t.Fatal(err)
	}
	after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if resp.StatusCode != http.StatusTooManyRequests || answer["error"] != "temporarily_unavailable" || err != nil || after < 1 || after > 30 {
		t.Errorf("status %d, Retry-After %q, %v; want 429 within 30 seconds and the error", resp.StatusCode, resp.Header.Get("Retry-After"), answer)
	}
}

// TestManyAddresses: an account cannot be guessed at from everywhere, nor can those
// who try keep its owner out.
func TestManyAddresses(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Logins = attempts.Rate{PerSecond: 1. / 30, Burst: 1} })
	grant := func(ip, password string) int {
		resp, err := from(t, ip).PostForm(i.url+"/token", passwordForm(password))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if status := grant("127.0.0.9", userPassword); status != http.StatusOK {
		t.Fatalf("owner: status %d, want 200", status)
	}
	for n := range 20 {
		if status := grant(fmt.Sprintf("127.0.1.%d", n+1), "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("address %d: status %d, want 401", n+1, status)
		}
	}
	if status := grant("127.0.1.99", userPassword); status != http.StatusTooManyRequests {
		t.Errorf("one address more: status %d, want 429", status)
	}
	if status := grant("127.0.0.9", userPassword); status != http.StatusOK {
		t.Errorf("owner, where they logged in before: status %d, want 200", status)
	}
	if status := grant("127.0.0.9", "wrong"); status != http.StatusUnauthorized {
		t.Fatalf("wrong password there: status %d, want 401", status)
	}
	if status := grant("127.0.0.9", userPassword); status != http.StatusTooManyRequests {
		t.Errorf("over the limit there: status %d, want 429: it holds for owners too", status)
	}
	i.advance(31 * 24 * time.Hour)
	for n := range 20 {
		grant(fmt.Sprintf("127.0.2.%d", n+1), "wrong")
	}
	if status := grant("127.0.0.9", userPassword); status != http.StatusTooManyRequests {
		t.Errorf("a month later: status %d, want 429: the address is no longer known", status)
	}
}

// TestSpraying: nor may one address try one password on every account.
func TestSpraying(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Logins = attempts.Rate{PerSecond: 1. / 30, Burst: 1} })
	for n := range 11 {
		form := passwordForm("Winter2026")
		form.Set("username", fmt.Sprintf("user%d@corp.example", n))
		want := http.StatusUnauthorized
		if n == 10 {
			want = http.StatusTooManyRequests
		}
		if status, answer := i.post(t, "/token", form); status != want {
			t.Fatalf("account %d: status %d, %v; want %d", n+1, status, answer, want)
		}
	}
}

// TestUnknownAccount: neither time nor words tell who has an account.
func TestUnknownAccount(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Logins = attempts.Rate{PerSecond: 1000, Burst: 1000} })
	try := func(email string) (took time.Duration, answer map[string]any) {
		form := passwordForm("wrong")
		form.Set("username", email)
		start := time.Now()
		_, answer = i.post(t, "/token", form)
		return time.Since(start), answer
	}
	// In turns, and until the fastest of each are close: other work can only add to what
	// an answer takes, so that they come near what it costs.
	known, unknown := time.Hour, time.Hour
	var knownAnswer, unknownAnswer map[string]any
	for round := 0; round < 5 || round < 40 && (unknown < known/2 || known < unknown/2); round++ {
		var took time.Duration
		took, knownAnswer = try(userEmail)
		known = min(known, took)
		took, unknownAnswer = try("nobody@corp.example")
		unknown = min(unknown, took)
	}
	if unknown < known/2 || known < unknown/2 {
		t.Errorf("known account %v, unknown %v at best: want about the same", known, unknown)
	}
	if fmt.Sprint(knownAnswer) != fmt.Sprint(unknownAnswer) {
		t.Errorf("known account %v, unknown %v: want the same", knownAnswer, unknownAnswer)
	}
	page := func(email string) string {
		b := newBrowser(t, i)
		b.formLogin(email, "wrong")
		return strings.ReplaceAll(b.page, b.at.Query().Get("state"), "")
	}
	if a, b := page("demo@sigstack.local"), page("nada@sigstack.local"); a != strings.ReplaceAll(b, "nada@", "demo@") {
		t.Errorf("pages differ:\n%s\n%s", a, b)
	}
}

// TestGuessedCodes: the codes of devices, and what the token endpoint takes.
func TestGuessedCodes(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Logins = attempts.Rate{PerSecond: 1. / 30, Burst: 1} })
	status, device := i.post(t, "/device/code", url.Values{"client_id": {oidc.ClientID}, "scope": {"openid email"}})
	if status != http.StatusOK {
		t.Fatalf("device code: status %d, %v", status, device)
	}
	for range 15 { // waiting is no guess, whatever the pace
		_, answer := i.post(t, "/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {oidc.ClientID}, "device_code": {device["device_code"].(string)},
		})
		if answer["error"] != "authorization_pending" && answer["error"] != "slow_down" {
			t.Fatalf("poll: %v", answer)
		}
	}
	b := newBrowser(t, i)
	for n := range 5 {
		b.open(i.url + "/device")
		if status := b.submit(map[string]string{"user_code": fmt.Sprintf("AAAA-%04d", n)}); status != http.StatusBadRequest {
			t.Fatalf("guess %d: status %d, want 400", n+1, status)
		}
	}
	for n := range 5 {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"guess"}, "client_id": {oidc.ClientID}}
		if n%2 == 0 {
			form = newLogin("http://localhost:1/auth/callback").exchange("guess")
		}
		if status, answer := i.post(t, "/token", form); status != http.StatusBadRequest {
			t.Fatalf("token guess %d: status %d, %v; want 400", n+1, status, answer)
		}
	}
	b.open(i.url + "/device")
	if status := b.submit(map[string]string{"user_code": device["user_code"].(string)}); status != http.StatusTooManyRequests || !strings.Contains(b.page, `id="limited"`) {
		t.Errorf("code over the limit: status %d\n%s", status, b.page)
	}
	if status, answer := i.post(t, "/token", passwordForm(userPassword)); status != http.StatusOK {
		t.Errorf("password meanwhile: status %d, %v; want 200", status, answer)
	}
	elsewhere := browserFrom(t, i, "127.0.0.2")
	elsewhere.open(i.url + "/device")
	if status := elsewhere.submit(map[string]string{"user_code": device["user_code"].(string)}); status != http.StatusOK {
		t.Errorf("code from elsewhere: status %d\n%s", status, elsewhere.page)
	}
}

// TestFailureAtProvider: the client is told at once.
func TestFailureAtProvider(t *testing.T) {
	i := start(t, func(c *oidc.Config) {
		c.Users, c.PasswordGrant = nil, false
		c.Connectors = []oidc.Connector{{ID: "gh", Type: "github", Name: "GitHub", Config: json.RawMessage(`{"clientID": "c", "clientSecret": "s"}`)}}
	})
	tests := []struct{ name, answer, wantError, wantDescription string }{
		{"refused", "error=access_denied&error_description=no+%22way%22%0a", "access_denied", "no way"},
		{"without a code", "x=y", "server_error", "the login at the identity provider failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrowser(t, i)
			b.open(i.url + "/auth?" + newLogin("http://localhost:1/auth/callback").values.Encode())
			id := b.left.Query().Get("state")
			b.open(i.url + "/callback?state=" + id + "&" + tt.answer)
			q := b.left.Query()
			if b.left.Host != "localhost:1" || b.left.Path != "/auth/callback" || q.Get("state") != "state-1" {
				t.Fatalf("sent to %s, want the client", b.left)
			}
			if q.Get("error") != tt.wantError || !strings.HasPrefix(q.Get("error_description"), tt.wantDescription) {
				t.Errorf("sent to %s, want %s: %s", b.left, tt.wantError, tt.wantDescription)
			}
			b.left = nil
			if status := b.open(i.url + "/callback?state=" + id + "&" + tt.answer); status != http.StatusBadRequest || b.left != nil {
				t.Errorf("once more: status %d, sent to %v; want 400: that login is over", status, b.left)
			}
		})
	}
	t.Run("by hand", func(t *testing.T) {
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + newLogin("urn:ietf:wg:oauth:2.0:oob").values.Encode())
		id := b.left.Query().Get("state")
		b.left = nil
		if status := b.open(i.url + "/callback?state=" + id + "&error=access_denied"); status != http.StatusInternalServerError || b.left != nil {
			t.Errorf("status %d, sent to %v; want a page", status, b.left)
		}
	})
}
