// Package testissuer is a test double for other people's OpenID Connect
// issuers, such as a company's login or a CI system: it publishes a discovery
// document and keys, and signs whatever claims a test asks for.
package testissuer

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Audience is the client id that sigstore's tools have with issuers.
const Audience = "sigstore"

// Lifetime is that of the tokens of Claims.
const Lifetime = 10 * time.Minute

// keyID names the published key; tokens by the unpublished one claim it too.
const keyID = "key-1"

// Claims are the claims of a token, by name.
type Claims map[string]any

// Issuer is a running issuer. It is safe for concurrent use.
type Issuer struct {
	URL string // also the iss of its tokens

	published, unpublished *rsa.PrivateKey

	away atomic.Bool
}

// Away makes the issuer break off every connection, or ends that.
func (i *Issuer) Away(away bool) { i.away.Store(away) }

// Start starts an issuer on a loopback port; it ends with the test.
func Start(tb testing.TB) *Issuer {
	tb.Helper()
	mux := http.NewServeMux()
	var i *Issuer
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.away.Load() {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	i = newIssuer(tb, mux, "http://"+server.Listener.Addr().String(), nil)
	server.Start()
	tb.Cleanup(server.Close)
	return i
}

// newIssuer publishes keys and metadata on mux, which is served at url.
func newIssuer(tb testing.TB, mux *http.ServeMux, url string, endpoints map[string]any) *Issuer {
	tb.Helper()
	i := &Issuer{URL: url, published: newKey(tb), unpublished: newKey(tb)}
	metadata := map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}
	maps.Copy(metadata, endpoints)
	serveJSON(tb, mux, "GET /.well-known/openid-configuration", metadata)
	serveJSON(tb, mux, "GET /keys", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: i.published.Public(), KeyID: keyID, Algorithm: "RS256", Use: "sig"},
	}})
	return i
}

// Claims returns those of a good token for a verified e-mail address.
func (i *Issuer) Claims(email string) Claims {
	now := time.Now()
	return Claims{
		"iss": i.URL, "aud": Audience, "sub": "subject of " + email,
		"email": email, "email_verified": true,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(Lifetime).Unix(),
	}
}

// Mint signs claims, whatever they say, with the published key.
func (i *Issuer) Mint(tb testing.TB, claims Claims) string {
	tb.Helper()
	return mint(tb, i.published, keyID, claims)
}

// MintUnpublished signs claims with a key that the issuer does not publish,
// under the published one's name.
func (i *Issuer) MintUnpublished(tb testing.TB, claims Claims) string {
	tb.Helper()
	return mint(tb, i.unpublished, keyID, claims)
}

// MintUnseen signs claims with a key under a name that the issuer has not published,
// as one does that has a new key, which nobody has asked for yet.
func (i *Issuer) MintUnseen(tb testing.TB, claims Claims) string {
	tb.Helper()
	return mint(tb, i.unpublished, keyID+"-new", claims)
}

func mint(tb testing.TB, key *rsa.PrivateKey, id string, claims Claims) string {
	tb.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		tb.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func newKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func serveJSON(tb testing.TB, mux *http.ServeMux, pattern string, v any) {
	tb.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
