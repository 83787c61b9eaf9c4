package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	tufroot "sigstack/tuf-root"
)

// CheckChains reports whether the content of chains.json is taken, and what it is
// when it is written again.
func CheckChains(dir string, data []byte) ([]byte, error) {
	list, draft, err := decodeChains(data)
	if err != nil {
		return nil, err
	}
	c := chainSet{file: filepath.Join(dir, "chains.json")}
	if err := c.set(list, draft); err != nil {
		return nil, err
	}
	return os.ReadFile(c.file)
}

// EndsOrAdds are the ends that one trusted root has and the one before had not, if
// nothing else is new in it but the chain added.
func EndsOrAdds(before, after []byte, added []*x509.Certificate, now time.Time) ([]ChainEnd, error) {
	_, ends, err := CA.endsOrAdds(before, after, chainID(added), now)
	return ends, err
}

// SampleChains is the content of a chains.json with two chains and a draft.
func SampleChains(tb testing.TB) []byte {
	tb.Helper()
	var entries []chainEntry
	for range 3 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		root, err := pki.NewRoot(key, pkix.Name{CommonName: "root", Organization: []string{"test"}}, time.Now())
		if err != nil {
			tb.Fatal(err)
		}
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		entries = append(entries, chainEntry{
			Certificates: string(pki.CertificatesPEM([]*x509.Certificate{root})), Key: "ca", Published: at, Distributed: at.Add(time.Hour),
			Since: at, Retired: at.Add(time.Hour), End: at.Add(3 * time.Hour),
		})
	}
	data, err := json.Marshal(chainFile{Version: chainsVersion, Chains: entries[:2], Draft: entries})
	if err != nil {
		tb.Fatal(err)
	}
	if _, _, err := decodeChains(data); err != nil {
		tb.Fatal(err)
	}
	return data
}

// Sign signs what adds a chain of the certificate authority and changes nothing else,
// as a command does with the key at hand.
func (d ChainDraft) Sign(l Layout, targets keys.Key, added []*x509.Certificate, now time.Time) (SignedTargets, error) {
	return d.SignOf(CA, l, targets, added, now)
}

// SignOf is Sign for any authority.
func (d ChainDraft) SignOf(of Authority, l Layout, targets keys.Key, added []*x509.Certificate, now time.Time) (SignedTargets, error) {
	return d.signed(l, targets, func(c tufroot.Change) error { return of.ApproveChain(c, added, now) })
}

// SignEnds signs what ends windows of chains, as Sign does, if approve does not refuse
// the ends.
func (d ChainDraft) SignEnds(l Layout, targets keys.Key, now time.Time, approve func([]ChainEnd) error) (SignedTargets, error) {
	return d.SignEndsOf(CA, l, targets, now, approve)
}

// SignEndsOf is SignEnds for any authority.
func (d ChainDraft) SignEndsOf(of Authority, l Layout, targets keys.Key, now time.Time, approve func([]ChainEnd) error) (SignedTargets, error) {
	return d.signed(l, targets, func(c tufroot.Change) error {
		ends, err := of.ChainEnds(c, now)
		if err != nil {
			return err
		}
		return approve(ends)
	})
}

func (d ChainDraft) signed(l Layout, targets keys.Key, approve func(tufroot.Change) error) (SignedTargets, error) {
	change, err := tufroot.Review(l.TUF(), d.Targets, targets)
	if err != nil {
		return SignedTargets{}, err
	}
	if err := approve(change); err != nil {
		return SignedTargets{}, err
	}
	signed, err := tufroot.SignTargets(d.Targets, targets)
	return SignedTargets{signed}, err
}
