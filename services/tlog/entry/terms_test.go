package entry_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

func unb64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func sha(data string) string {
	digest := sha256.Sum256([]byte(data))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// named returns a signer whose certificate has one name of each kind. x509 makes
// no extension of several kinds with an otherName, so that this one is alone.
func named(t *testing.T, other string) tlogtest.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(600, 0),
		EmailAddresses: []string{"Demo@Example.test"}, DNSNames: []string{"host.example.test"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)},
		URIs:        []*url.URL{{Scheme: "https", Host: "ci.example.test", Path: "/Org/repo@refs/heads/main"}},
	}
	if other != "" {
		san, err := cryptoutils.MarshalOtherNameSAN(other, true)
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{*san}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tlogtest.Signer{Key: key, Material: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// TestTerms: contract rekor-v1.md §10, kind by kind.
func TestTerms(t *testing.T) {
	key, all, user := tlogtest.NewSigner(t), named(t, ""), named(t, "Someone!Example")
	names := []string{"demo@example.test", "host.example.test", "192.0.2.7", "https://ci.example.test/org/repo@refs/heads/main"}
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"` + strings.Repeat("AB", 32) +
		`","gitCommit":"Cafe"}},{"digest":{"gitCommit":"cafe"}}],"predicate":{"materials":[{"digest":{"sha1":"m1"}}]}}`
	claims := []string{"gitcommit:cafe", "sha256:" + strings.Repeat("ab", 32), "sha1:m1"}
	env := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(statement), key)
	both := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(statement), all, key)
	plain := tlogtest.Envelope(t, "text/plain", []byte(statement), key)
	text := func(o tlogtest.Object) string { return sha(string(tlogtest.JSON(t, o))) }
	for name, tt := range map[string]struct {
		proposal      tlogtest.Object
		body, payload []string
	}{
		"hashedrekord, key":         {tlogtest.HashedRekord(t, key, crypto.SHA256, []byte("x")), []string{sha(string(key.Material)), sha("x")}, nil},
		"hashedrekord, certificate": {tlogtest.HashedRekord(t, all, crypto.SHA256, []byte("x")), append(names, sha(string(all.Material)), sha("x")), nil},
		"hashedrekord, user name":   {tlogtest.HashedRekord(t, user, crypto.SHA256, []byte("x")), []string{"someone!example", sha(string(user.Material)), sha("x")}, nil},
		"dsse":                      {tlogtest.DSSE(t, env, key), []string{sha(string(key.Material)), sha(statement), text(env)}, claims},
		"dsse, two signers":         {tlogtest.DSSE(t, both, key, all), append(names, sha(string(all.Material)), sha(string(key.Material)), sha(statement), text(both)), claims},
		"dsse, no statement":        {tlogtest.DSSE(t, plain, key), []string{sha(string(key.Material)), sha(statement), text(plain)}, nil},
		"intoto 0.0.1":              {tlogtest.InTotoV001(t, env, key), []string{sha(string(key.Material)), sha(statement), text(env)}, claims},
		"intoto 0.0.2":              {tlogtest.InTotoV002(t, both, all, key), append(names, sha(string(all.Material)), sha(string(key.Material)), sha(statement)), claims},
	} {
		t.Run(name, func(t *testing.T) {
			proposed := tlogtest.JSON(t, tt.proposal)
			e, err := parser().Parse(proposed)
			if err != nil {
				t.Fatal(err)
			}
			got := e.Terms()
			slices.Sort(got.Body)
			slices.Sort(tt.body)
			if !slices.Equal(got.Body, tt.body) || !slices.Equal(got.Payload, tt.payload) {
				t.Errorf("terms %q and %q, want %q and %q", got.Body, got.Payload, tt.body, tt.payload)
			}
			wantUpstreamTerms(t, proposed, got)
			wantBodyTerms(t, e)
		})
	}
}

// wantBodyTerms demands that the terms of a body follow from it.
func wantBodyTerms(t *testing.T, e entry.Entry) {
	t.Helper()
	got, want := entry.BodyTerms(e.Body), e.Terms().Body
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the body of %s tells %q, want %q", e.Type.Kind, got, want)
	}
}

// wantUpstreamTerms demands every word that the reference server's library
// indexes.
func wantUpstreamTerms(t *testing.T, proposed []byte, got entry.Terms) {
	t.Helper()
	theirs, err := upstreamTerms(proposed)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range theirs {
		if !slices.Contains(got.Body, entry.Term(word)) && !slices.Contains(got.Payload, entry.Term(word)) {
			t.Errorf("upstream indexes %q, we have %q", word, got)
		}
	}
}

// TestGoldenTerms: the goldens are found by what upstream finds them by.
func TestGoldenTerms(t *testing.T) {
	names, err := filepath.Glob("testdata/*.proposed.json")
	if err != nil || len(names) < 15 {
		t.Fatalf("%d goldens, %v", len(names), err)
	}
	for _, name := range names {
		proposed := read(t, name)
		e, err := parser().Parse(proposed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantBodyTerms(t, e)
		if strings.Contains(name, "hashedrekord-untidy") {
			continue // upstream indexes a key's spelling there, and searches for the canonical one
		}
		wantUpstreamTerms(t, proposed, e.Terms())
	}
}

func TestTerm(t *testing.T) {
	digest := strings.Repeat("aB", 32)
	for word, want := range map[string]string{
		"Demo@Example.test": "demo@example.test",
		digest:              "sha256:" + strings.ToLower(digest),
		"SHA256:" + digest:  "sha256:" + strings.ToLower(digest),
		digest[2:]:          strings.ToLower(digest[2:]),
		"x" + digest[1:]:    "x" + strings.ToLower(digest[1:]),
		"":                  "",
	} {
		if got := entry.Term(word); got != want {
			t.Errorf("Term(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestKeyTerm(t *testing.T) {
	s := tlogtest.NewSigner(t)
	for name, material := range map[string][]byte{"tidy": s.Material, "untidy": untidyPEM(s.Material)} {
		if got, err := entry.KeyTerm(material); err != nil || got != sha(string(s.Material)) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, sha(string(s.Material)))
		}
	}
	_, err := entry.KeyTerm([]byte("key"))
	wantFault(t, err, fault.Invalid, 0, "not PEM")
}

// TestTermsAreBounded: a statement of more subjects than are indexed is logged.
func TestTermsAreBounded(t *testing.T) {
	s := tlogtest.NewSigner(t)
	var statement bytes.Buffer
	statement.WriteString(`{"subject":[{"digest":{}}`)
	for i := range 6000 {
		fmt.Fprintf(&statement, `,{"digest":{"sha256":"%064x"}}`, i)
	}
	statement.WriteString(`]}`)
	e, err := parser().Parse(tlogtest.JSON(t, tlogtest.DSSE(t, tlogtest.Envelope(t, "application/vnd.in-toto+json", statement.Bytes(), s), s)))
	if err != nil {
		t.Fatal(err)
	}
	got := e.Terms().Payload
	if last := fmt.Sprintf("sha256:%064x", 4999); len(got) != 5000 || got[4999] != last {
		t.Errorf("%d terms, the last %s, want 5000 up to %s", len(got), got[len(got)-1], last)
	}
}

// FuzzStatement: whatever a signed payload says, the terms are spelt as searches
// spell theirs, none is there twice, and none that upstream has is missing.
func FuzzStatement(f *testing.F) {
	s := tlogtest.NewSigner(f)
	for _, payload := range []string{
		`{"subject":[{"digest":{"sha256":"AB"}}],"predicate":{"materials":[{"digest":{"sha1":"x"}}]}}`,
		`{"subject":[{"digest":{"sha256":1}},{"digest":{"a":"b"}}],"predicate":[]}`,
		`{"Subject":[{"DIGEST":{"":""}}],"subject":null}`,
		`{"subject":{}}`, `[]`, `null`, `{`, ``, `{"predicate":{"materials":{"digest":{"a":"b"}}}}`,
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		proposed := tlogtest.JSON(t, tlogtest.DSSE(t, tlogtest.Envelope(t, "application/vnd.in-toto+json", payload, s), s))
		e, err := parser().Parse(proposed)
		if err != nil {
			t.Fatal(err)
		}
		got := e.Terms()
		for _, list := range [][]string{got.Body, got.Payload} {
			for i, word := range list {
				if entry.Term(word) != word || slices.Contains(list[:i], word) {
					t.Fatalf("term %q of %q", word, list)
				}
			}
		}
		wantUpstreamTerms(t, proposed, got)
	})
}
