package testissuer

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// StartLogin starts an issuer where people log in with a browser, by the
// authorization code flow with PKCE (RFC 7636): people are passwords by e-mail
// address. It takes any client that calls itself Audience, and sends answers
// wherever that wants. config is nil for plaintext.
func StartLogin(tb testing.TB, people map[string]string, config *tls.Config) *Issuer {
	tb.Helper()
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	tb.Cleanup(server.Close)
	i := newIssuer(tb, mux, server.URL, map[string]any{
		"authorization_endpoint": server.URL + "/auth", "token_endpoint": server.URL + "/token",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
	})
	l := &login{issuer: i, tb: tb, people: people, codes: map[string]grant{}}
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, "") })
	mux.HandleFunc("POST /auth", l.enter)
	mux.HandleFunc("POST /token", l.token)
	return i
}

// login is the part of an issuer that people see.
type login struct {
	issuer *Issuer
	tb     testing.TB
	people map[string]string

	mu    sync.Mutex
	codes map[string]grant // guarded by mu
}

// grant is what a code stands for.
type grant struct{ email, challenge string }

// page has the elements that the pages of sigstack's issuer have.
func page(w http.ResponseWriter, status int, failure string) {
	if failure != "" {
		failure = `<p id="login-error">` + html.EscapeString(failure) + `</p>`
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`<!doctype html><title>Log in</title>` + failure + `<form method="post">
<input id="login" name="login"><input id="password" name="password" type="password">
<button id="submit-login">Log in</button></form>`))
}

// enter judges the form, and sends whoever gave the right password back.
func (l *login) enter(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	email := r.PostFormValue("login")
	if password, known := l.people[email]; !known || r.PostFormValue("password") != password {
		page(w, http.StatusUnauthorized, "no such name and password")
		return
	}
	if q.Get("client_id") != Audience || q.Get("code_challenge_method") != "S256" {
		page(w, http.StatusBadRequest, "not a client of ours")
		return
	}
	code := rand.Text()
	l.mu.Lock()
	l.codes[code] = grant{email, q.Get("code_challenge")}
	l.mu.Unlock()
	answer := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusSeeOther) //nolint:gosec // G710: any client is good here
}

// token trades a code, once, for a token.
func (l *login) token(w http.ResponseWriter, r *http.Request) {
	code := r.PostFormValue("code")
	l.mu.Lock()
	g, known := l.codes[code]
	delete(l.codes, code)
	l.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	w.Header().Set("Content-Type", "application/json")
	if !known || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	claims := l.issuer.Claims(g.email)
	claims["name"] = g.email
	if err := json.NewEncoder(w).Encode(map[string]any{
		"access_token": rand.Text(), "token_type": "bearer", "expires_in": int(Lifetime.Seconds()),
		"id_token": l.issuer.Mint(l.tb, claims),
	}); err != nil {
		l.tb.Errorf("answer with a token: %v", err)
	}
}
