package trust_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"sigstack/internal/trust"
)

// epoch is the start of every window in these tests.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func spki(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func newSPKI(tb testing.TB) []byte {
	tb.Helper()
	return spki(tb, newKey(tb).Public())
}

func newEd25519(tb testing.TB) []byte {
	tb.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return spki(tb, pub)
}

// link describes one certificate of a test chain.
type link struct {
	name    string
	ca      bool
	ekus    []x509.ExtKeyUsage
	lax     bool // extended key usage not critical
	expired bool
}

// newChain issues the links, lowest first, each signed by the next and the last
// by itself.
func newChain(tb testing.TB, links ...link) []*x509.Certificate {
	tb.Helper()
	var chain []*x509.Certificate
	var parent *x509.Certificate
	var signer *ecdsa.PrivateKey
	for i, l := range slices.Backward(links) {
		key := newKey(tb)
		tmpl := &x509.Certificate{
			SerialNumber:          big.NewInt(int64(i + 1)),
			Subject:               pkix.Name{Organization: []string{"corp.example"}, CommonName: l.name},
			NotBefore:             epoch.Add(-time.Hour),
			NotAfter:              epoch.AddDate(10, 0, 0),
			BasicConstraintsValid: true,
			IsCA:                  l.ca,
			KeyUsage:              x509.KeyUsageDigitalSignature,
			ExtKeyUsage:           l.ekus,
		}
		if l.ca {
			tmpl.KeyUsage = x509.KeyUsageCertSign
		} else if !l.lax {
			tmpl.ExtKeyUsage = nil
			tmpl.ExtraExtensions = []pkix.Extension{criticalTimeStamping(tb)}
		}
		if l.expired {
			tmpl.NotAfter = epoch.Add(-time.Minute)
		}
		if parent == nil {
			parent, signer = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
		if err != nil {
			tb.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		chain = slices.Insert(chain, 0, cert)
		parent, signer = cert, key
	}
	return chain
}

func criticalTimeStamping(tb testing.TB) pkix.Extension {
	tb.Helper()
	value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		tb.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: value}
}

func caChain(tb testing.TB) []*x509.Certificate {
	tb.Helper()
	return newChain(tb,
		link{name: "intermediate", ca: true, ekus: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}},
		link{name: "root", ca: true})
}

func tsaChain(tb testing.TB) []*x509.Certificate {
	tb.Helper()
	return newChain(tb,
		link{name: "tsa"},
		link{name: "tsa intermediate", ca: true, ekus: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}},
		link{name: "tsa root", ca: true})
}

// newMaterial is a stack with Rekor v1 and v2, rotated once where that shows.
func newMaterial(tb testing.TB) trust.Material {
	tb.Helper()
	const base = "https://sig.corp.example"
	from := func(days int) trust.Window { return trust.Window{Start: epoch.AddDate(0, 0, days)} }
	old := trust.Window{Start: epoch.AddDate(0, 0, -10), End: epoch}
	return trust.Material{
		Operator: "corp.example",
		CAs: []trust.Authority{
			{URI: base, Chain: caChain(tb), Window: from(0)},
			{URI: base, Chain: caChain(tb), Window: trust.Window{Start: epoch.AddDate(0, 0, -1), End: epoch.AddDate(0, 1, 0)}},
		},
		TSAs: []trust.Authority{{URI: base + "/api/v1/timestamp", Chain: tsaChain(tb), Window: from(0)}},
		TLogs: []trust.Log{
			{BaseURL: "https://log2.corp.example:8443", PublicKey: newEd25519(tb), APIVersion: 2, Window: from(-5)},
			{BaseURL: base, PublicKey: newSPKI(tb), APIVersion: 1, Window: from(0)},
			{BaseURL: base, PublicKey: newSPKI(tb), APIVersion: 1, Window: old},
		},
		CTLogs:       []trust.Log{{BaseURL: base + "/ctlog", PublicKey: newSPKI(tb), APIVersion: 1, Window: from(0)}},
		CAServices:   []trust.Service{{URL: base, APIVersion: 1, Window: from(0)}},
		OIDCServices: []trust.Service{{URL: base + "/dex", APIVersion: 1, Window: from(0)}},
		TLogServices: []trust.Service{
			{URL: base, APIVersion: 1, Window: old},
			{URL: "https://log2.corp.example:8443", APIVersion: 2, Window: from(0)},
		},
		TSAServices: []trust.Service{{URL: base + "/api/v1/timestamp", APIVersion: 1, Window: from(0)}},
	}
}
