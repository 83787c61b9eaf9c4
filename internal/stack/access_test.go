package stack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// demoToken is an ID token of the demo user.
func demoToken(t *testing.T, dir string, r running) string {
	t.Helper()
	email, password, err := stack.Layout{Dir: dir}.DemoPassword()
	if err != nil {
		t.Fatal(err)
	}
	inside := &http.Client{Transport: httpd.InProcess{Handler: r.Handler()}}
	token, err := signing.OIDC{Issuer: r.URL() + "/dex", HTTP: inside}.Password(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// request asks the stack, with a bearer token unless it is empty.
func (r running) request(t *testing.T, method, path, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w
}

const findAlice = `{"email":"alice@example.com"}`

// TestAccessPolicies: everything that asks for a token is closed to strangers, and
// what is for everybody is open.
func TestAccessPolicies(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	editConfig(t, dir, func(c *config.Config) {
		c.Access = config.Access{
			Read:  config.AccessBearer,
			Write: config.WriteAccess{CTLog: config.AccessInternal, TLog: config.AccessBearer, TSA: config.AccessBearer},
		}
	})
	r := start(t, options(dir, config.ProfileUp)) // the self-test shows its token
	defer func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}()
	good := demoToken(t, dir, r)
	bad := good[:len(good)-8] + "AAAAAAAA"

	for _, tt := range []struct {
		method, path, body     string
		anonymous, bearer, bad int
	}{
		{"GET", "/api/v1/log", "", 401, 200, 401},
		{"GET", "/api/v1/log/entries?logIndex=0", "", 401, 200, 401},
		{"POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[0]}`, 401, 200, 401},
		{"POST", "/api/v1/index/retrieve", findAlice, 401, 200, 401},
		{"POST", "/api/v1/log/entries", "{}", 401, 422, 401},
		{"POST", "/api/v1/timestamp", "", 401, 415, 401},
		{"GET", "/ctlog/ct/v1/get-sth", "", 401, 200, 401},
		{"POST", "/ctlog/ct/v1/add-chain", "{}", 403, 403, 403},
		{"POST", "/ctlog/ct/v1/add-pre-chain", "{}", 403, 403, 403},
		{"POST", "/api/v2/signingCert", "{}", 400, 400, 400}, // it has a token of its own
		{"GET", "/", "", 200, 200, 200},
		{"GET", "/ping", "", 200, 200, 200},
		{"GET", "/healthz", "", 200, 200, 200},
		{"GET", "/readyz", "", 200, 200, 200},
		{"GET", "/api/v2/trustBundle", "", 200, 200, 200},
		{"GET", "/api/v2/configuration", "", 200, 200, 200},
		{"GET", "/api/v1/rootCert", "", 200, 200, 200},
		{"GET", "/api/v1/log/publicKey", "", 200, 200, 200},
		{"GET", "/api/v1/timestamp/certchain", "", 200, 200, 200},
		{"GET", "/tuf/timestamp.json", "", 200, 200, 200},
		{"GET", "/client/trusted_root.json", "", 200, 200, 200},
		{"GET", "/dex/.well-known/openid-configuration", "", 200, 200, 200},
		{"GET", "/dex/keys", "", 200, 200, 200},
	} {
		for token, want := range map[string]int{"": tt.anonymous, good: tt.bearer, bad: tt.bad} {
			w := r.request(t, tt.method, tt.path, token, tt.body)
			if w.Code != want || (want == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%s %s with token %t: %d %s, want %d", tt.method, tt.path, token != "", w.Code, w.Body, want)
			}
			if token != "" && strings.Contains(w.Body.String(), token) {
				t.Errorf("%s %s: the answer repeats the token", tt.method, tt.path)
			}
		}
	}
}

// TestRedactedSearch: names are found by who shows a token, and hashes by all.
func TestRedactedSearch(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	editConfig(t, dir, func(c *config.Config) {
		c.Access.RedactEmails = true
		c.Limits.Identity = config.Rate{PerSecond: 1e-6, Burst: 2}
	})
	r := start(t, options(dir, config.ProfileUp))
	defer func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}()
	token := demoToken(t, dir, r)
	const demo = `{"email":"demo@sigstack.local"}`
	if w := r.request(t, "POST", "/api/v1/index/retrieve", "", demo); w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "[") {
		t.Errorf("search by e-mail: %d %s, want 401", w.Code, w.Body)
	}
	if w := r.request(t, "POST", "/api/v1/index/retrieve", token, demo); w.Code != http.StatusOK || len(w.Body.String()) < 80 {
		t.Errorf("search by e-mail with a token: %d %s, want the self-test's entry", w.Code, w.Body)
	}
	hash := `{"hash":"` + strings.Repeat("ab", 32) + `"}`
	if w := r.request(t, "POST", "/api/v1/index/retrieve", "", hash); w.Code != http.StatusOK {
		t.Errorf("search by hash: %d %s", w.Code, w.Body)
	}
	if w := r.request(t, "GET", "/api/v1/log/entries?logIndex=0", "", ""); w.Code != http.StatusOK {
		t.Errorf("an entry: %d %s", w.Code, w.Body)
	}

	// The self-test took one of two certificates, and the second is the last.
	for i, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		if w := certificate(t, r, token); w.Code != want || (want == 429) != (w.Header().Get("Retry-After") == "86400") {
			t.Errorf("certificate %d: %d %s, Retry-After %q, want %d", i+2, w.Code, w.Body, w.Header().Get("Retry-After"), want)
		}
	}
}

// certificate asks for one for the demo user.
func certificate(t *testing.T, r running, token string) *httptest.ResponseRecorder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("demo@sigstack.local"))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"publicKeyRequest": map[string]any{
		"publicKey":         map[string]any{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))},
		"proofOfPossession": proof,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r.request(t, http.MethodPost, "/api/v2/signingCert", token, string(body))
}
