package entry_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// update makes the proposals that are not there, with new keys, and takes the
// canonical bytes from the reference server's library, not from this package.
var update = flag.Bool("update", false, "write the files that testdata lacks")

func parser() entry.Parser {
	return entry.Parser{Types: entry.DefaultTypes(), Algorithms: entry.DefaultAlgorithms()}
}

// TestGolden holds this package to the canonical bytes that the reference
// server's library made of the same proposals.
func TestGolden(t *testing.T) {
	if *update {
		writeGoldens(t)
	}
	names, err := filepath.Glob("testdata/*.proposed.json")
	if err != nil || len(names) < 15 {
		t.Fatalf("%d goldens, %v", len(names), err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".proposed.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			want := read(t, name+".canonical.json")
			got, err := parser().Parse(read(t, name+".proposed.json"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Body, want) {
				t.Errorf("canonical bytes\n%s, want\n%s", got.Body, want)
			}
			again, err := jsoncanonicalizer.Transform(got.Body)
			if err != nil || !bytes.Equal(again, got.Body) {
				t.Errorf("RFC 8785 makes of it %s, %v", again, err)
			}
			theirs, err := upstream(read(t, name+".proposed.json"))
			if err != nil || !bytes.Equal(theirs, got.Body) {
				t.Errorf("upstream's canonical bytes %s, %v", theirs, err)
			}
		})
	}
}

// TestSignatureOrder: the order of an envelope's signatures is by their text,
// each time.
func TestSignatureOrder(t *testing.T) {
	proposed, want := read(t, "testdata/dsse-three-signers.proposed.json"), read(t, "testdata/dsse-three-signers.canonical.json")
	for range 50 {
		if got, err := parser().Parse(proposed); err != nil || !bytes.Equal(got.Body, want) {
			t.Fatalf("canonical bytes\n%s, %v, want\n%s", got.Body, err, want)
		}
	}
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func writeGoldens(t *testing.T) {
	for name, proposal := range goldens(t) {
		base := filepath.Join("testdata", name)
		if _, err := os.Stat(base + ".proposed.json"); err == nil {
			continue
		}
		proposed := tlogtest.JSON(t, proposal)
		canonical, err := upstream(proposed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for ext, data := range map[string][]byte{".proposed.json": proposed, ".canonical.json": canonical} {
			if err := os.WriteFile(base+ext, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func goldens(t *testing.T) map[string]tlogtest.Object {
	p256, p384 := ecdsaSigner(t, elliptic.P256()), ecdsaSigner(t, elliptic.P384())
	leaf, chain := certified(t, 1), certified(t, 3)
	out := map[string]tlogtest.Object{}
	for name, s := range map[string]struct {
		signer tlogtest.Signer
		hash   crypto.Hash
	}{
		"p256":    {p256, crypto.SHA256},
		"p384":    {p384, crypto.SHA384},
		"p521":    {ecdsaSigner(t, elliptic.P521()), crypto.SHA512},
		"rsa2048": {rsaSigner(t, 2048), crypto.SHA256},
		"rsa3072": {rsaSigner(t, 3072), crypto.SHA256},
		"rsa4096": {rsaSigner(t, 4096), crypto.SHA256},
		"ed25519": {ed25519Signer(t), crypto.SHA512},
		"leaf":    {leaf, crypto.SHA256},
		"chain":   {chain, crypto.SHA256},
	} {
		out["hashedrekord-"+name] = tlogtest.HashedRekord(t, s.signer, s.hash, []byte("artifact"))
		if s.hash == crypto.SHA256 || name == "p384" || name == "ed25519" {
			env := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(`{"_type":"<&>"}`), s.signer)
			out["dsse-"+name] = tlogtest.DSSE(t, env, s.signer)
			out["intoto1-"+name] = tlogtest.InTotoV001(t, env, s.signer)
			out["intoto2-"+name] = tlogtest.InTotoV002(t, env, s.signer)
		}
	}
	out["hashedrekord-p1363"] = withP1363(t, tlogtest.HashedRekord(t, p256, crypto.SHA256, []byte("artifact")))
	untidy := tlogtest.HashedRekord(t, p256, crypto.SHA256, []byte("artifact"))
	setAt(untidy, "ignored", "spec", "unknown")
	setAt(untidy, strings.ToUpper(getAt(untidy, "spec", "data", "hash", "value").(string)), "spec", "data", "hash", "value")
	setAt(untidy, b64(untidyPEM(p256.Material)), "spec", "signature", "publicKey", "content")
	out["hashedrekord-untidy"] = untidy
	env := tlogtest.Envelope(t, "text/plain", nil, p256, p384, leaf)
	out["dsse-three-signers"] = tlogtest.DSSE(t, env, leaf, p256, p384)
	env = tlogtest.Envelope(t, "text/plain", []byte("payload"), p256, p384, leaf)
	out["intoto1-three-signers"] = tlogtest.InTotoV001(t, env, leaf)
	out["intoto2-three-signers"] = tlogtest.InTotoV002(t, env, p256, p384, leaf)
	out["intoto2-untidy"] = untidyInToto(t, p256)
	return out
}

// untidyInToto has text that RFC 8785 escapes in a way of its own, a key that is
// logged as it is spelt, and hashes that the server makes itself.
func untidyInToto(t *testing.T, s tlogtest.Signer) tlogtest.Object {
	env := tlogtest.Envelope(t, "text/<\u00e4&\u2028\x7f\x01\">", []byte("payload"), s)
	env["signatures"].([]any)[0].(tlogtest.Object)["keyid"] = "\\\b\t\n\f\r\x1f/ \U0001f511"
	o := tlogtest.InTotoV002(t, env, tlogtest.Signer{Key: s.Key, Material: untidyPEM(s.Material)})
	return setAt(o, tlogtest.Object{"algorithm": "sha256", "value": strings.Repeat("0", 64)}, "spec", "content", "payloadHash")
}

// untidyPEM spells the same key another way: text before it, CRLF, a header,
// short lines, no final newline.
func untidyPEM(material []byte) []byte {
	block, _ := pem.Decode(material)
	body := base64.StdEncoding.EncodeToString(block.Bytes)
	return []byte("key of the release\r\n-----BEGIN PUBLIC KEY-----\r\nComment: x\r\n\r\n" +
		body[:40] + "\r\n" + body[40:] + "\r\n-----END PUBLIC KEY-----")
}

func withP1363(t *testing.T, proposal tlogtest.Object) tlogtest.Object {
	der, err := base64.StdEncoding.DecodeString(getAt(proposal, "spec", "signature", "content").(string))
	if err != nil {
		t.Fatal(err)
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return setAt(proposal, b64(raw), "spec", "signature", "content")
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func ecdsaSigner(tb testing.TB, c elliptic.Curve) tlogtest.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return tlogtest.SignerOf(tb, key)
}

func rsaSigner(tb testing.TB, bits int) tlogtest.Signer {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return tlogtest.SignerOf(tb, key)
}

func ed25519Signer(tb testing.TB) tlogtest.Signer {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return tlogtest.SignerOf(tb, key)
}

// certified returns a P-256 signer with a chain of n certificates that expired
// long ago, leaf first.
func certified(tb testing.TB, n int) tlogtest.Signer {
	tb.Helper()
	leaf, material := certificates(tb, n)
	return tlogtest.Signer{Key: leaf, Material: bytes.Join(material, nil)}
}

// certificates makes a chain of n, leaf first, each in PEM.
func certificates(tb testing.TB, n int) (crypto.Signer, [][]byte) {
	tb.Helper()
	var parent *x509.Certificate
	var parentKey, key *ecdsa.PrivateKey
	var chain [][]byte
	for i := range n {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			tb.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: strings.Repeat("x", i+1)},
			NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2020, 1, 1, 0, 10, 0, 0, time.UTC),
			BasicConstraintsValid: true, IsCA: i < n-1,
		}
		if i == 0 {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			tb.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			tb.Fatal(err)
		}
		parentKey = key
		chain = append([][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, chain...)
	}
	return key, chain
}

// setAt sets, or with the value absent deletes, one member of nested objects.
func setAt(o tlogtest.Object, v any, path ...string) tlogtest.Object {
	at := o
	for _, name := range path[:len(path)-1] {
		at = at[name].(tlogtest.Object)
	}
	last := path[len(path)-1]
	if v == absent {
		delete(at, last)
	} else {
		at[last] = v
	}
	return o
}

type absentType struct{}

var absent any = absentType{}

func getAt(o tlogtest.Object, path ...string) any {
	at := any(o)
	for _, name := range path {
		at = at.(tlogtest.Object)[name]
	}
	return at
}
