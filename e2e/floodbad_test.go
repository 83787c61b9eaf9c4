package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// badRequest is one that no service does anything for.
type badRequest struct {
	name, method, path, contentType, body string
}

const jsonType = "application/json"

// badRequests are of every shape: light ones, and heavy ones of megabytes each.
func badRequests(t *testing.T, issuer *testissuer.Issuer) (light, heavy []badRequest) {
	t.Helper()
	const certificate, entry, search = "/api/v2/signingCert", "/api/v1/log/entries", "/api/v1/index/retrieve"
	add := func(to *[]badRequest, name, path, body string) {
		*to = append(*to, badRequest{name, http.MethodPost, path, jsonType, body})
	}
	key := newP256(t)
	ask := func(token string, key crypto.PublicKey) string { return floodCertificateRequest(t, token, key, nil) }
	good := issuer.Mint(t, issuer.Claims("flood@example.com"))
	parts := strings.Split(good, ".")

	add(&light, "token cut in half", certificate, ask(good[:len(good)/2], key.Public()))
	add(&light, "token of two parts", certificate, ask(parts[0]+"."+parts[1], key.Public()))
	add(&light, "dots", certificate, ask(strings.Repeat(".", 5000), key.Public()))
	for name, token := range floodTokens(t, issuer, parts) {
		add(&light, name, certificate, ask(token, key.Public()))
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	add(&light, "RSA 1024", certificate, ask(good, small.Public()))
	add(&light, "wrong curve", certificate, ask(good, p224.Public()))
	add(&light, "wrong proof", certificate, ask(good, key.Public()))
	for _, path := range []string{certificate, entry, search, "/api/v1/timestamp"} {
		add(&light, "deep JSON", path, strings.Repeat(`{"a":[`, 2000))
		add(&light, "no JSON", path, "\x00\xff not JSON")
		add(&light, "empty", path, "x")
	}
	add(&light, "entry of RSA 1024", entry, hashedRekord(t, small, "flood"))
	add(&light, "entry whose signature is another's", entry, strings.Replace(hashedRekord(t, key, "flood"), `"value":"`, `"value":"00`, 1))
	add(&light, "oversized timestamp request", "/api/v1/timestamp", strings.Repeat("x", 70<<10))
	add(&light, "oversized search", search, strings.Repeat(" ", 130<<10))
	add(&light, "grant that there is none of", "/dex/token", "grant_type=x&client_id=sigstore")
	light = append(light,
		badRequest{"no such path", http.MethodGet, "/nowhere", "", "x"},
		badRequest{"wrong method", http.MethodPut, entry, jsonType, "{}"},
		badRequest{"body where none is read", http.MethodDelete, "/api/v1/log", jsonType, strings.Repeat("x", 1000)})

	add(&heavy, "millions of dots", certificate, ask(strings.Repeat(".", 3<<20), key.Public()))
	add(&heavy, "oversized certificate request", certificate, strings.Repeat(" ", 4<<20+1))
	add(&heavy, "oversized entry", entry, strings.Repeat(" ", 8<<20+1))
	add(&heavy, "large envelope", entry, largeEnvelope(t))
	add(&heavy, "deep and large JSON", entry, strings.Repeat("[", 4<<20))
	return light, heavy
}

// floodTokens are valid but for one thing.
func floodTokens(t *testing.T, issuer *testissuer.Issuer, good []string) map[string]string {
	t.Helper()
	claims := func(name string, value any) testissuer.Claims {
		c := issuer.Claims("flood@example.com")
		c[name] = value
		return c
	}
	now := time.Now()
	header := func(alg string) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"typ":"JWT"}`, alg))
	}
	_, published := e2etest.Get(t, issuer.URL+"/keys")
	confused := header("HS256") + "." + good[1]
	mac := hmac.New(sha256.New, published) // the public key for a shared secret
	mac.Write([]byte(confused))
	return map[string]string{
		"algorithm none":      header("none") + "." + good[1] + ".",
		"key confusion":       confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"expired":             issuer.Mint(t, claims("exp", now.Add(-time.Minute).Unix())),
		"future":              issuer.Mint(t, claims("nbf", now.Add(time.Hour).Unix())),
		"another audience":    issuer.Mint(t, claims("aud", "another")),
		"another issuer":      issuer.Mint(t, claims("iss", "https://evil.example")),
		"unpublished key":     issuer.MintUnpublished(t, issuer.Claims("flood@example.com")),
		"signature of nobody": good[0] + "." + good[1] + "." + strings.Repeat("A", len(good[2])),
	}
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// floodCertificateRequest is a v2 request; a nil proof is a wrong one.
func floodCertificateRequest(t *testing.T, token string, key crypto.PublicKey, proof []byte) string {
	t.Helper()
	if proof == nil {
		proof = []byte("no proof")
	}
	return encode(t, map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey":         map[string]any{"algorithm": "ECDSA", "content": e2etest.PublicPEM(t, key)},
			"proofOfPossession": proof,
		},
	})
}

// hashedRekord proposes an entry for content, signed with key.
func hashedRekord(t *testing.T, key crypto.Signer, content string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(content))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return encode(t, map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data": map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": fmt.Sprintf("%x", digest)}},
		"signature": map[string]any{
			"content": signature, "publicKey": map[string]any{"content": []byte(e2etest.PublicPEM(t, key.Public()))},
		},
	}})
}

// largeEnvelope proposes an attestation of some megabytes that nobody signed.
func largeEnvelope(t *testing.T) string {
	t.Helper()
	subject := map[string]any{"name": "x", "digest": map[string]string{"sha256": strings.Repeat("ab", 32)}}
	subjects := make([]any, 20_000)
	for i := range subjects {
		subjects[i] = subject
	}
	envelope := encode(t, map[string]any{
		"payloadType": "application/vnd.in-toto+json",
		"payload":     []byte(encode(t, map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": subjects})),
		"signatures":  []any{map[string]any{"sig": []byte("nobody's")}},
	})
	return encode(t, map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{"proposedContent": map[string]any{
		"envelope": envelope, "verifiers": []any{[]byte(e2etest.PublicPEM(t, newP256(t).Public()))},
	}}})
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
