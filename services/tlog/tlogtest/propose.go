package tlogtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"testing"
)

// Object is a JSON object that a test may change before it is sent.
type Object = map[string]any

// Signer makes entries: a key and the PEM material that names its public half,
// a public key or certificates.
type Signer struct {
	Key      crypto.Signer
	Material []byte
}

// NewSigner returns a signer with a fresh P-256 key and its PEM public key.
func NewSigner(tb testing.TB) Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return SignerOf(tb, key)
}

// SignerOf returns a signer with the given key and its PEM public key.
func SignerOf(tb testing.TB, key crypto.Signer) Signer {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return Signer{key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

// HashedRekord proposes a hashedrekord 0.0.1 for an artifact. An Ed25519 key
// signs with Ed25519ph.
func HashedRekord(tb testing.TB, s Signer, hash crypto.Hash, artifact []byte) Object {
	tb.Helper()
	h := hash.New()
	h.Write(artifact)
	digest := h.Sum(nil)
	sig, err := s.Key.Sign(rand.Reader, digest, hash)
	if err != nil {
		tb.Fatal(err)
	}
	name := map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[hash]
	return Object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": Object{
		"data": Object{"hash": Object{"algorithm": name, "value": hex.EncodeToString(digest)}},
		"signature": Object{
			"content":   base64.StdEncoding.EncodeToString(sig),
			"publicKey": Object{"content": base64.StdEncoding.EncodeToString(s.Material)},
		},
	}}
}

// Envelope makes a DSSE envelope signed by every signer over SHA-256, or with
// pure Ed25519.
func Envelope(tb testing.TB, payloadType string, payload []byte, signers ...Signer) Object {
	tb.Helper()
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
	var signatures []any
	for _, s := range signers {
		signed, opts := message, crypto.SignerOpts(crypto.Hash(0))
		if _, pure := s.Key.Public().(ed25519.PublicKey); !pure {
			h := crypto.SHA256.New()
			h.Write(message)
			signed, opts = h.Sum(nil), crypto.SHA256
		}
		sig, err := s.Key.Sign(rand.Reader, signed, opts)
		if err != nil {
			tb.Fatal(err)
		}
		signatures = append(signatures, Object{"keyid": "", "sig": base64.StdEncoding.EncodeToString(sig)})
	}
	return Object{
		"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString(payload), "signatures": signatures,
	}
}

// DSSE proposes a dsse 0.0.1 for an envelope, with the signers' material as its
// verifiers.
func DSSE(tb testing.TB, envelope Object, verifiers ...Signer) Object {
	tb.Helper()
	var materials []any
	for _, v := range verifiers {
		materials = append(materials, base64.StdEncoding.EncodeToString(v.Material))
	}
	return Object{"apiVersion": "0.0.1", "kind": "dsse", "spec": Object{"proposedContent": Object{
		"envelope": string(JSON(tb, envelope)), "verifiers": materials,
	}}}
}

// InTotoV001 proposes an intoto 0.0.1 for an envelope, with the signer's material
// as its key.
func InTotoV001(tb testing.TB, envelope Object, s Signer) Object {
	tb.Helper()
	return Object{"apiVersion": "0.0.1", "kind": "intoto", "spec": Object{
		"content":   Object{"envelope": string(JSON(tb, envelope))},
		"publicKey": base64.StdEncoding.EncodeToString(s.Material),
	}}
}

// InTotoV002 proposes an intoto 0.0.2 for an envelope that these signers signed,
// in this order.
func InTotoV002(tb testing.TB, envelope Object, signers ...Signer) Object {
	tb.Helper()
	twice := func(v any) string {
		text, ok := v.(string)
		if !ok {
			tb.Fatalf("%v is not a string", v)
		}
		return base64.StdEncoding.EncodeToString([]byte(text))
	}
	signed, ok := envelope["signatures"].([]any)
	if !ok || len(signed) != len(signers) {
		tb.Fatalf("%d signers of %v", len(signers), envelope["signatures"])
	}
	var signatures []any
	for i, s := range signers {
		one, ok := signed[i].(Object)
		if !ok {
			tb.Fatalf("signature %d is %v", i, signed[i])
		}
		signatures = append(signatures, Object{
			"keyid": one["keyid"], "sig": twice(one["sig"]), "publicKey": base64.StdEncoding.EncodeToString(s.Material),
		})
	}
	digest := sha256.Sum256(JSON(tb, envelope))
	return Object{"apiVersion": "0.0.2", "kind": "intoto", "spec": Object{"content": Object{
		"envelope": Object{
			"payloadType": envelope["payloadType"], "payload": twice(envelope["payload"]), "signatures": signatures,
		},
		"hash": Object{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])},
	}}}
}

// JSON encodes v.
func JSON(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
