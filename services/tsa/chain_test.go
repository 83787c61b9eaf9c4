package tsa_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"math/big"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/services/tsa"
)

func newConfig(h hierarchy) tsa.Config {
	return tsa.Config{
		Chain: h.chain, Signer: h.key, URL: "http://tsa.test",
		Now: func() time.Time { return start },
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	}
}

// customChain makes a chain that is right but for what change does to the
// templates of leaf and intermediate.
func customChain(t *testing.T, change func(leaf, inter *x509.Certificate)) ([]*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	template := func(cn string, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn},
			NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour),
			BasicConstraintsValid: ca, IsCA: ca, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	root, inter, leaf := template("root", true), template("inter", true), template("leaf", false)
	inter.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
	change(leaf, inter)
	rootKey, interKey, leafKey := newKey(t, elliptic.P256()), newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	chain := []*x509.Certificate{
		issue(t, leaf, inter, leafKey, interKey),
		issue(t, inter, root, interKey, rootKey),
		issue(t, root, root, rootKey, rootKey),
	}
	return chain, leafKey
}

func issue(t *testing.T, tmpl, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
