package e2etest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"testing"
)

// CertificateRequest is the body of a request to /api/v2/signingCert for a fresh key of
// who, the subject of a token (contract: ca.md).
func CertificateRequest(t *testing.T, token, who string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(who))
	proof, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey": map[string]any{"content": PublicPEM(t, key.Public())}, "proofOfPossession": proof,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
