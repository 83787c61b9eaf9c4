package signingtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// The fake issuer's only user.
const (
	Email    = "demo@fake.example"
	Password = "correct horse"
)

// claims are what the fakes put into tokens and read of them.
type claims struct {
	Issuer        string `json:"iss"`
	Subject       string `json:"sub"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Nonce         string `json:"nonce,omitempty"`
}

// Token makes a token for email. Its signature is made up: the fake CA does not
// look at it.
func (s *Stack) Token(email string) string { return s.token(email, "") }

func (s *Stack) token(email, nonce string) string {
	payload, err := json.Marshal(claims{Issuer: s.Issuer(), Subject: "subject of " + email, Email: email, EmailVerified: true, Nonce: nonce})
	if err != nil {
		panic(err) // strings and a boolean
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + enc.EncodeToString(payload) + "." + enc.EncodeToString([]byte("no signature"))
}

func readToken(authorization string) (claims, error) {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		return claims{}, errors.New("no bearer token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, err
	}
	var c claims
	return c, json.Unmarshal(payload, &c)
}

// login is an authorization under way.
type login struct{ redirect, nonce, challenge string }

func (s *Stack) routeOIDC(mux *http.ServeMux) {
	mux.HandleFunc("GET /dex/.well-known/openid-configuration", s.serve(func(w http.ResponseWriter, _ *http.Request) error {
		return json.NewEncoder(w).Encode(map[string]string{
			"issuer":                 s.Issuer(),
			"authorization_endpoint": s.Issuer() + "/auth",
			"token_endpoint":         s.Issuer() + "/token",
		})
	}))
	mux.HandleFunc("GET /dex/auth", s.serve(s.authorize))
	mux.HandleFunc("POST /dex/token", s.exchange)
}

// authorize logs the user in without asking.
func (s *Stack) authorize(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	s.mu.Lock()
	s.logins["code-1"] = login{redirect: q.Get("redirect_uri"), nonce: q.Get("nonce"), challenge: q.Get("code_challenge")}
	s.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {"code-1"}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
	return nil
}

// exchange is the token endpoint.
func (s *Stack) exchange(w http.ResponseWriter, r *http.Request) {
	token, err := s.grant(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, err)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"id_token": token, "token_type": "bearer"})
}

func (s *Stack) grant(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", err
	}
	if r.Form.Get("client_id") != "sigstore" {
		return "", errors.New("invalid_client")
	}
	switch r.Form.Get("grant_type") {
	case "password":
		if r.Form.Get("username") != Email || r.Form.Get("password") != Password || r.Form.Get("scope") != "openid email" {
			return "", errors.New("access_denied")
		}
		return s.token(Email, ""), nil
	case "authorization_code":
		return s.redeem(r.Form.Get("code"), r.Form.Get("redirect_uri"), r.Form.Get("code_verifier"))
	}
	return "", errors.New("unsupported_grant_type")
}

// redeem checks PKCE. A code is good once.
func (s *Stack) redeem(code, redirect, verifier string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logins[code]
	challenge := sha256.Sum256([]byte(verifier))
	if !ok || l.redirect != redirect || l.challenge != base64.RawURLEncoding.EncodeToString(challenge[:]) {
		return "", errors.New("invalid_grant")
	}
	delete(s.logins, code)
	return s.token(Email, l.nonce), nil
}
