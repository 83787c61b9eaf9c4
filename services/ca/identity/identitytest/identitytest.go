// Package identitytest is an OpenID Connect issuer for tests: it serves a
// discovery document and keys over httptest and signs whatever claims a test
// asks for. It is for tests only.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ClientID is the audience of tokens unless a test says otherwise.
const ClientID = "sigstore"

// Key is a signing key with its name and algorithm.
type Key struct {
	ID      string // `kid`; "" for none
	Alg     jose.SignatureAlgorithm
	Private crypto.Signer
}

// NewKey returns an ES256 key.
func NewKey(t testing.TB, id string) Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	return Key{id, jose.ES256, private}
}

// NewRSAKey returns an RS256 key, as most issuers use.
func NewRSAKey(t testing.TB, id string) Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	return Key{id, jose.RS256, private}
}

// Issuer is a running issuer. Its methods are safe for concurrent use.
type Issuer struct {
	URL    string // also the `iss` of its tokens
	Server *httptest.Server
	now    func() time.Time

	mu      sync.Mutex // guards what follows
	key     Key
	doc     map[string]any
	extra   []any // further entries of the key set
	fetched int
	handler http.Handler // replaces the whole server if set
}

// New starts an issuer whose tokens are issued at now() and last ten minutes.
func New(t testing.TB, now func() time.Time) *Issuer {
	t.Helper()
	i := &Issuer{now: now, key: NewKey(t, "key-1")}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Server.Close)
	i.URL = i.Server.URL
	i.doc = map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
	}
	return i
}

// ServeHTTP answers discovery and keys.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	handler := i.handler
	i.mu.Unlock()
	if handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		i.write(w, i.doc)
	case "/keys":
		i.fetched++
		keys := append([]any{jose.JSONWebKey{Key: i.key.Private.Public(), KeyID: i.key.ID, Use: "sig"}}, i.extra...)
		i.write(w, map[string]any{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// SetKey replaces the issuer's only key.
func (i *Issuer) SetKey(key Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key = key
}

// Key returns the issuer's key.
func (i *Issuer) Key() Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key
}

// SetDiscovery overrides one member of the discovery document.
func (i *Issuer) SetDiscovery(name string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.doc[name] = value
}

// AddToKeySet publishes further JSON values beside the key.
func (i *Issuer) AddToKeySet(values ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.extra = append(i.extra, values...)
}

// Handle lets h answer everything; nil restores the issuer.
func (i *Issuer) Handle(h http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handler = h
}

// Fetched counts how often the keys were read.
func (i *Issuer) Fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched
}

// Claims returns the claims of an ordinary token with changes laid over them; a
// nil value removes a claim.
func (i *Issuer) Claims(changes map[string]any) map[string]any {
	now := i.now()
	claims := map[string]any{
		"iss": i.URL, "aud": ClientID, "sub": "subject-1",
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Token returns a signed token with Claims(changes).
func (i *Issuer) Token(t testing.TB, changes map[string]any) string {
	t.Helper()
	return Sign(t, i.Key(), i.Claims(changes))
}

// Sign returns the claims as a token signed by key.
func Sign(t testing.TB, key Key, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatalf("encode claims: %v", err)
	}
	return SignPayload(t, key, payload)
}

// SignPayload is Sign for a payload that need not be JSON.
func SignPayload(t testing.TB, key Key, payload []byte) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if key.ID != "" {
		opts = opts.WithHeader("kid", key.ID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.Alg, Key: key.Private}, opts)
	if err != nil {
		t.Fatalf("make signer: %v", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatalf("serialize: %v", err)
	}
	return raw
}

// Unsigned returns a token of the given parts as they are, for algorithms that a
// decent library refuses to sign with.
func Unsigned(t testing.TB, alg string, claims map[string]any, signature []byte) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatalf("encode claims: %v", err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":`+strconv.Quote(alg)+`,"typ":"JWT"}`)) + "." + enc(payload) + "." + enc(signature)
}
