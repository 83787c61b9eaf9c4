package tsa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/pki"
)

// FuzzParseDER: an accepted request means the same after re-encoding, and the
// token made for it says exactly what was asked for.
func FuzzParseDER(f *testing.F) {
	for _, req := range []timestamp.Request{
		{HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32)},
		{HashAlgorithm: crypto.SHA384, HashedMessage: make([]byte, 48), Nonce: big.NewInt(-1), Certificates: true},
		{HashAlgorithm: crypto.SHA512, HashedMessage: make([]byte, 64), TSAPolicyOID: pki.OIDTimestampPolicy},
		{HashAlgorithm: crypto.SHA1, HashedMessage: make([]byte, 20)},
	} {
		der, err := req.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	tokens := fuzzTokenizer(f)
	f.Fuzz(func(t *testing.T, der []byte) {
		q, err := parseDER(der)
		if err != nil {
			return
		}
		req, err := timestamp.ParseRequest(der)
		if err != nil {
			t.Fatalf("accepted %x, which the library refuses: %v", der, err)
		}
		again, err := (&timestamp.Request{
			HashAlgorithm: q.hash, HashedMessage: q.digest, Nonce: q.nonce,
			Certificates: q.certificates, TSAPolicyOID: req.TSAPolicyOID, ExtraExtensions: req.Extensions,
		}).Marshal()
		if err != nil {
			t.Fatalf("accepted %x, which does not re-encode: %v", der, err)
		}
		if q2, err := parseDER(again); err != nil || !same(q, q2) {
			t.Fatalf("accepted %x as %+v, re-encoded it is %+v, %v", der, q, q2, err)
		}
		checkAnswer(t, tokens, q)
	})
}

// FuzzParseJSON: as FuzzParseDER, for the JSON form.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"artifactHash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","hashAlgorithm":"sha256","certificates":true,"nonce":12345}`,
		`{"artifactHash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","hashAlgorithm":"SHA256","tsaPolicyOID":"1.3.6.1.4.1.57264.2"}`,
		`{"ARTIFACTHASH":null,"nonce":-0,"x":[]}`,
		`{"nonce":` + strings.Repeat("9", 900) + `}`,
	} {
		f.Add([]byte(seed))
	}
	tokens := fuzzTokenizer(f)
	names := map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseJSON(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(jsonQuery{q.digest, names[q.hash], q.certificates, q.nonce, q.policy})
		if err != nil {
			t.Fatalf("accepted %q, which does not re-encode: %v", body, err)
		}
		if len(again) <= maxJSON {
			if q2, err := parseJSON(again); err != nil || !same(q, q2) {
				t.Fatalf("accepted %q as %+v, re-encoded it is %+v, %v", body, q, q2, err)
			}
		}
		checkAnswer(t, tokens, q)
	})
}

func same(a, b query) bool {
	if (a.nonce == nil) != (b.nonce == nil) || a.nonce != nil && a.nonce.Cmp(b.nonce) != 0 {
		return false
	}
	return a.hash == b.hash && string(a.digest) == string(b.digest) && a.policy == b.policy &&
		a.certificates == b.certificates && a.extensions == b.extensions
}

// checkAnswer makes the token of a request that the policy lets pass and
// compares what it says.
func checkAnswer(t *testing.T, tokens *tokenizer, q query) {
	t.Helper()
	if q.check(pki.OIDTimestampPolicy.String()) != nil {
		return
	}
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	der, err := tokens.response(q, big.NewInt(42), at)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	ts, err := timestamp.ParseResponse(der)
	if err != nil {
		t.Fatalf("%+v: response does not parse: %v", q, err)
	}
	got := query{hash: ts.HashAlgorithm, digest: ts.HashedMessage, policy: q.policy, nonce: ts.Nonce, certificates: len(ts.Certificates) != 0}
	if !same(got, q) || !ts.Time.Equal(at) || !ts.Policy.Equal(pki.OIDTimestampPolicy) {
		t.Fatalf("asked %+v, token says %+v at %v under %v", q, got, ts.Time, ts.Policy)
	}
}

func fuzzTokenizer(f *testing.F) *tokenizer {
	f.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	tokens, err := newTokenizer([]*x509.Certificate{cert}, key, pki.OIDTimestampPolicy, false)
	if err != nil {
		f.Fatal(err)
	}
	return tokens
}
