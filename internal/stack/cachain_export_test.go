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

	"sigstack/internal/pki"
)

// CheckChains reports whether the content of chains.json is taken, and what it is
// when it is written again.
func CheckChains(dir string, data []byte) ([]byte, error) {
	list, draft, err := decodeChains(data)
	if err != nil {
		return nil, err
	}
	c := caChains{file: filepath.Join(dir, "chains.json")}
	if err := c.set(list, draft); err != nil {
		return nil, err
	}
	return os.ReadFile(c.file)
}

// EndsOrAdds are the ends that one trusted root has and the one before had not, if
// nothing else is new in it but the chain added.
func EndsOrAdds(before, after []byte, added []*x509.Certificate, now time.Time) ([]ChainEnd, error) {
	_, ends, err := endsOrAdds(before, after, chainID(added), now)
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
