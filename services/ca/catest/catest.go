// Package catest has what the tests of the certificate authority's faces share: a
// chain to issue with, and a stand-in for the CT log (RFC 6962). It is for tests
// only.
package catest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"

	"sigstack/internal/pki"
)

// NewKey returns a P-256 key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	return key
}

// NewChain returns a chain whose life began an hour before now, the issuing
// certificate first, and the key of that one.
func NewChain(t testing.TB, now time.Time) (chain []*x509.Certificate, signer *ecdsa.PrivateKey) {
	t.Helper()
	rootKey, signer := NewKey(t), NewKey(t)
	name := func(cn string) pkix.Name { return pkix.Name{CommonName: cn, Organization: []string{"test"}} }
	root, err := pki.NewRoot(rootKey, name("root"), now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(root, rootKey, signer.Public(), name("intermediate"), x509.ExtKeyUsageCodeSigning, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{inter, root}, signer
}

// Log stands in for the CT log. It builds what it signs with the code of
// certificate-transparency-go, so that it checks ours.
type Log struct {
	Key  *ecdsa.PrivateKey
	SPKI []byte    // of Key, DER
	Now  time.Time // of its SCTs

	mu      sync.Mutex // guards what follows
	entries []ct.PreCert
	sct     func(*ct.AddChainResponse) // changes the answer
	err     error                      // fails instead
}

// NewLog returns a log without entries.
func NewLog(t testing.TB, now time.Time) *Log {
	t.Helper()
	key := NewKey(t)
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &Log{Key: key, SPKI: spki, Now: now}
}

// Submit is a sct.Submit.
func (l *Log) Submit(_ context.Context, chain [][]byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	leaf, err := l.leaf(chain)
	if err != nil {
		return nil, err
	}
	l.entries = append(l.entries, *leaf.TimestampedEntry.PrecertEntry)
	extensions := []byte("leaf index")
	input, err := ct.SerializeSCTSignatureInput(
		ct.SignedCertificateTimestamp{Timestamp: leaf.TimestampedEntry.Timestamp, Extensions: extensions}, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, err
	}
	signature, err := tls.CreateSignature(*l.Key, tls.SHA256, input)
	if err != nil {
		return nil, err
	}
	signed, err := tls.Marshal(signature)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(l.SPKI)
	answer := ct.AddChainResponse{
		ID: id[:], Timestamp: leaf.TimestampedEntry.Timestamp, Extensions: base64.StdEncoding.EncodeToString(extensions), Signature: signed,
	}
	if l.sct != nil {
		l.sct(&answer)
	}
	return json.Marshal(answer)
}

func (l *Log) leaf(chain [][]byte) (*ct.MerkleTreeLeaf, error) {
	var certs []*ctx509.Certificate
	for _, der := range chain {
		c, err := ctx509.ParseCertificate(der)
		if ctx509.IsFatal(err) {
			return nil, err
		}
		certs = append(certs, c)
	}
	return ct.MerkleTreeLeafFromChain(certs, ct.PrecertLogEntryType, uint64(l.Now.UnixMilli()))
}

// Answering makes the log change its answers, or fail; nil ends that.
func (l *Log) Answering(change func(*ct.AddChainResponse), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sct, l.err = change, err
}

// Len returns how many precertificates were logged.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// Only returns the only precertificate logged.
func (l *Log) Only(t testing.TB) ct.PreCert {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) != 1 {
		t.Fatalf("%d precertificates were logged, want one", len(l.entries))
	}
	return l.entries[0]
}
