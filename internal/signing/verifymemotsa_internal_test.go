package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"

	"sigstack/internal/pki"
)

// stamper makes the tokens of a timestamp authority, one member of whose chain is valid
// for a shorter time than its leaf.
type stamper struct {
	authority *root.SigstoreTimestampingAuthority
	key       *ecdsa.PrivateKey
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newStamper makes a chain whose leaf is valid from start on, and its issuer from an hour
// later on.
func newStamper(t *testing.T, start time.Time) stamper {
	t.Helper()
	rootKey, middleKey, key := p256(t), p256(t), p256(t)
	top, err := pki.NewRoot(rootKey, pkix.Name{CommonName: "root", Organization: []string{"test"}}, start)
	if err != nil {
		t.Fatal(err)
	}
	middle, err := pki.NewIntermediate(top, rootKey, middleKey.Public(), pkix.Name{CommonName: "middle", Organization: []string{"test"}}, x509.ExtKeyUsageTimeStamping, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.NewTimestampLeaf(middle, middleKey, key.Public(), pkix.Name{CommonName: "leaf", Organization: []string{"test"}}, start)
	if err != nil {
		t.Fatal(err)
	}
	return stamper{&root.SigstoreTimestampingAuthority{Root: top, Intermediates: []*x509.Certificate{middle}, Leaf: leaf}, key}
}

func (s stamper) token(t *testing.T, signer *ecdsa.PrivateKey, content string, at time.Time) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(content))
	ts := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3}}
	der, err := ts.CreateResponseWithOpts(s.authority.Leaf, signer, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestAProvenTimestampAuthorityChangesNoVerdict has tokens judged by a root that has proven
// the chain before, and by one that has not.
func TestAProvenTimestampAuthorityChangesNoVerdict(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	good := start.Add(2 * time.Hour)
	s := newStamper(t, start)
	const content = "what was signed"
	cold := func() rememberingTSA { return rememberingTSA{s.authority, new(memo)} }
	warm := cold()
	if _, err := warm.Verify(s.token(t, s.key, content, good), []byte(content)); err != nil || !warm.memo.hasTSA(s.authority) {
		t.Fatalf("got %v, remembered %t, want a chain that is proven", err, warm.memo.hasTSA(s.authority))
	}
	ended := *s.authority
	ended.ValidityPeriodEnd = good.Add(-time.Minute)
	for _, tc := range []struct {
		name  string
		token []byte
		trust bool
		as    *root.SigstoreTimestampingAuthority
	}{
		{"good", s.token(t, s.key, content, good), true, s.authority},
		{"later", s.token(t, s.key, content, good.Add(time.Hour)), true, s.authority},
		{"before the issuer was valid", s.token(t, s.key, content, start.Add(time.Minute)), false, s.authority},
		{"before all were", s.token(t, s.key, content, start.Add(-time.Minute)), false, s.authority},
		{"after all were", s.token(t, s.key, content, start.AddDate(100, 0, 0)), false, s.authority},
		{"of something else", s.token(t, s.key, "another", good), false, s.authority},
		{"by another key", s.token(t, p256(t), content, good), false, s.authority},
		{"of another authority", func() []byte { o := newStamper(t, start); return o.token(t, o.key, content, good) }(), false, s.authority},
		{"no token", []byte("no token"), false, s.authority},
		{"after the authority's own end", s.token(t, s.key, content, good), false, &ended},
	} {
		t.Run(tc.name, func(t *testing.T) {
			warm := rememberingTSA{tc.as, warm.memo}
			warm.memo.keepTSA(tc.as) // its certificates are those that were proven
			want, wantErr := rememberingTSA{tc.as, new(memo)}.Verify(tc.token, []byte(content))
			got, gotErr := warm.Verify(tc.token, []byte(content))
			if (wantErr == nil) != tc.trust {
				t.Errorf("without a memo: got %v, want trusted %t", wantErr, tc.trust)
			}
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || gotErr == nil && *got != *want {
				t.Errorf("got %v, %v; want %v, %v as without a memo", got, gotErr, want, wantErr)
			}
		})
	}
}

// TestAnUnprovenTimestampAuthorityIsNotRemembered has an authority whose root did not sign
// its chain: however often a token is shown, it is refused.
func TestAnUnprovenTimestampAuthorityIsNotRemembered(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := newStamper(t, start)
	s.authority.Root = newStamper(t, start).authority.Root
	a := rememberingTSA{s.authority, new(memo)}
	for range 2 {
		if _, err := a.Verify(s.token(t, s.key, "x", start.Add(2*time.Hour)), []byte("x")); err == nil {
			t.Error("a token of an authority that no root vouches for passed")
		}
	}
	if a.memo.hasTSA(s.authority) {
		t.Error("it is remembered as proven")
	}
}
