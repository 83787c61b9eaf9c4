package signing

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// plainStart is when the authorities of these tests begin.
var plainStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const stampedContent = "what was signed"

// with makes a token as s.token does, changed before it is signed.
func (s stamper) with(t testing.TB, at time.Time, change func(*timestamp.Timestamp)) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(stampedContent))
	ts := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: at, Nonce: big.NewInt(1 << 40),
		Policy: asn1.ObjectIdentifier{1, 2, 3}, SerialNumber: big.NewInt(7),
	}
	if change != nil {
		change(&ts)
	}
	der, err := ts.CreateResponseWithOpts(s.authority.Leaf, s.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// warmed is an authority whose chain is proven, so that tokens in plain form are judged here.
func (s stamper) warmed() rememberingTSA {
	a := rememberingTSA{s.authority, new(memo)}
	a.memo.keepTSA(s.authority)
	return a
}

func TestPlainToken(t *testing.T) {
	s := newStamper(t, plainStart)
	at := plainStart.Add(2 * time.Hour)
	for _, tc := range []struct {
		name   string
		change func(*timestamp.Timestamp)
		plain  bool
	}{
		{"plain", nil, true},
		{"no nonce", func(ts *timestamp.Timestamp) { ts.Nonce = nil }, true},
		{"accuracy", func(ts *timestamp.Timestamp) { ts.Accuracy = time.Second }, true},
		{"ordered", func(ts *timestamp.Timestamp) { ts.Ordering = true }, false},
		{"with its certificate", func(ts *timestamp.Timestamp) { ts.AddTSACertificate = true }, false},
		{"another hash", func(ts *timestamp.Timestamp) {
			sum := sha512.Sum512([]byte(stampedContent))
			ts.HashAlgorithm, ts.HashedMessage = crypto.SHA512, sum[:]
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			der := s.with(t, at, tc.change)
			got, err := readPlainToken(der)
			if (err == nil) != tc.plain {
				t.Fatalf("got %v, want plain: %t", err, tc.plain)
			}
			if tc.plain && (!got.at.Equal(at) || !got.isBy(s.authority.Leaf, []byte(stampedContent))) {
				t.Errorf("got %+v, want it accepted at %v", got, at)
			}
			// Whatever its form, the verdict is upstream's.
			if ts, err := s.warmed().Verify(der, []byte(stampedContent)); err != nil || !ts.Time.Equal(at) {
				t.Errorf("got %v, %v, want %v", ts, err, at)
			}
		})
	}
}

// TestPlainTokenIsNotBy: each thing that binds a token is asked for by itself.
func TestPlainTokenIsNotBy(t *testing.T) {
	s := newStamper(t, plainStart)
	other := newStamper(t, plainStart)
	der := s.with(t, plainStart.Add(2*time.Hour), nil)
	for name, change := range map[string]func(p *plainToken){
		"content":              func(p *plainToken) { p.imprint = make([]byte, len(p.imprint)) },
		"info":                 func(p *plainToken) { p.info = append(slices.Clone(p.info), 0) },
		"digest of info":       func(p *plainToken) { p.infoDigest = make([]byte, len(p.infoDigest)) },
		"digest of the signer": func(p *plainToken) { p.certDigest = make([]byte, len(p.certDigest)) },
		"issuer":               func(p *plainToken) { p.issuer = other.authority.Root.RawSubject },
		"serial":               func(p *plainToken) { p.serial = big.NewInt(1) },
		"signed before":        func(p *plainToken) { p.signedAt = s.authority.Leaf.NotBefore.Add(-time.Second) },
		"signed after":         func(p *plainToken) { p.signedAt = s.authority.Leaf.NotAfter.Add(time.Second) },
		"attributes":           func(p *plainToken) { p.attributes = append(slices.Clone(p.attributes), 0) },
		"signature":            func(p *plainToken) { p.signature = p.signature[:len(p.signature)-1] },
	} {
		got, err := readPlainToken(der)
		if err != nil || !got.isBy(s.authority.Leaf, []byte(stampedContent)) {
			t.Fatalf("got %v, want a good token before it is changed", err)
		}
		change(&got)
		if got.isBy(s.authority.Leaf, []byte(stampedContent)) {
			t.Errorf("%s: it passed", name)
		}
	}
}

// agrees fails the test if a token passes here that upstream's library refuses, or at
// another time.
func (s stamper) agrees(t *testing.T, der []byte) (plain bool) {
	t.Helper()
	got, err := readPlainToken(der)
	if err != nil || !s.warmed().trustedAt(got.at) || !got.isBy(s.authority.Leaf, []byte(stampedContent)) {
		return false
	}
	want, err := s.authority.Verify(der, []byte(stampedContent))
	if err != nil || !want.Time.Equal(got.at) {
		t.Errorf("passed at %v; upstream says %v, %v\n%x", got.at, want, err, der)
	}
	return true
}

// TestPlainTokenMutated changes every bit of a token: what is left of it passes only where
// upstream's library lets it pass, too.
func TestPlainTokenMutated(t *testing.T) {
	s := newStamper(t, plainStart)
	der := s.with(t, plainStart.Add(2*time.Hour), nil)
	if !s.agrees(t, der) {
		t.Fatal("the token itself does not pass")
	}
	for i := range der {
		for bit := range 8 {
			mutated := slices.Clone(der)
			mutated[i] ^= 1 << bit
			if s.agrees(t, mutated) {
				t.Errorf("with bit %d of byte %d of %d changed it passes: what is not signed has one form", bit, i, len(der))
			}
		}
	}
}

// FuzzPlainToken: what passes here passes upstream, with the same time and nonce.
func FuzzPlainToken(f *testing.F) {
	s := newStamper(f, plainStart)
	for _, change := range []func(*timestamp.Timestamp){
		nil,
		func(ts *timestamp.Timestamp) { ts.Nonce = nil },
		func(ts *timestamp.Timestamp) { ts.Accuracy = time.Second },
		func(ts *timestamp.Timestamp) { ts.AddTSACertificate = true },
	} {
		f.Add(s.with(f, plainStart.Add(2*time.Hour), change))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		s.agrees(t, der)
		got, err := readPlainToken(der)
		if err != nil {
			return
		}
		want, err := timestamp.ParseResponse(der)
		if err != nil || !want.Time.Equal(got.at) || string(want.HashedMessage) != string(got.imprint) || fmt.Sprint(want.Nonce) != fmt.Sprint(got.nonce) {
			t.Errorf("read %+v; upstream read %+v, %v", got, want, err)
		}
	})
}
