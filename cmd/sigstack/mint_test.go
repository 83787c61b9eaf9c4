package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/rogpeppe/go-internal/testscript"
)

// mintKeys makes the key of an issuer that is nowhere: mintkeys KEY KEYSET.
func mintKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mintkeys key keyset")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "minted", Algorithm: "ES256", Use: "sig"}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), der, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), set, 0o600))
}

// mintToken signs claims, a JSON file, as a token of ten minutes: minttoken KEY
// CLAIMS TOKEN.
func mintToken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: minttoken key claims token")
	}
	key, err := x509.ParseECPrivateKey([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	claims := map[string]any{"exp": time.Now().Add(10 * time.Minute).Unix()}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &claims))
	payload, err := json.Marshal(claims)
	ts.Check(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "minted"))
	ts.Check(err)
	jws, err := signer.Sign(payload)
	ts.Check(err)
	raw, err := jws.CompactSerialize()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(raw), 0o600))
}
