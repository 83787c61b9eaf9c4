package ca

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
)

// authority is a CA certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// certify issues a certificate for key; parent nil: by itself. What change leaves
// alone is a CA's.
func certify(t *testing.T, now time.Time, parent *authority, key crypto.Signer, change func(*x509.Certificate)) authority {
	t.Helper()
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	keyID, err := pki.SubjectKeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serial.Text(36), Organization: []string{"test"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), SubjectKeyId: keyID,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if change != nil {
		change(tmpl)
	}
	by := authority{tmpl, key}
	if parent != nil {
		by = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func codeSigning(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
}

// TestVerifyCertChain has every refusal of the contract's §7, at the start and at a
// reload alike.
func TestVerifyCertChain(t *testing.T) {
	f := newFixture(t, nil)
	p256 := func() crypto.Signer { return newECDSA(t, elliptic.P256()) }
	root := certify(t, f.now, nil, p256(), nil)
	other := certify(t, f.now, nil, p256(), nil)
	inter := certify(t, f.now, &root, p256(), codeSigning)
	issue := func(parent authority, key crypto.Signer, change func(*x509.Certificate)) authority {
		return certify(t, f.now, &parent, key, func(c *x509.Certificate) {
			codeSigning(c)
			if change != nil {
				change(c)
			}
		})
	}
	deep := issue(inter, p256(), nil)
	leaf := issue(root, p256(), func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false })
	cannotSign := issue(root, p256(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	noUsage := certify(t, f.now, &root, p256(), nil)
	otherUsage := issue(root, p256(), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping} })
	narrow := certify(t, f.now, nil, p256(), func(c *x509.Certificate) { c.MaxPathLenZero = true })
	tooDeep := issue(narrow, p256(), nil)
	deeper := issue(tooDeep, p256(), nil)
	past := issue(root, p256(), func(c *x509.Certificate) { c.NotAfter = f.now.Add(-time.Minute) })
	future := issue(root, p256(), func(c *x509.Certificate) { c.NotBefore = f.now.Add(time.Minute) })
	pastRoot := certify(t, f.now, nil, p256(), func(c *x509.Certificate) { c.NotAfter = f.now.Add(-time.Minute) })
	belowPast := issue(pastRoot, p256(), nil)
	weak := issue(root, newRSA(t, 1024), nil)
	weakRoot := certify(t, f.now, nil, newRSA(t, 1024), nil)
	belowWeak := issue(weakRoot, p256(), nil)
	p224 := issue(root, newECDSA(t, elliptic.P224()), nil)
	edwards := issue(root, newEd25519(t), nil)
	edwardsRoot := certify(t, f.now, nil, newEd25519(t), nil)
	belowEdwards := issue(edwardsRoot, p256(), nil)

	tests := []struct {
		name  string
		chain []authority
		want  string // "" for accepted
	}{
		{"single root", []authority{root}, ""},
		{"intermediate and root", []authority{inter, root}, ""},
		{"two intermediates and root", []authority{deep, inter, root}, ""},
		{"empty", nil, "chain or signer is missing"},
		{"root first", []authority{root, inter}, "not issued by the next"},
		{"one left out", []authority{deep, root}, "not issued by the next"},
		{"another root", []authority{inter, other}, "not issued by the next"},
		{"no root", []authority{inter}, "not issued by the next"},
		{"something behind the root", []authority{inter, root, other}, "not issued by the next"},
		{"first is no CA", []authority{leaf, root}, "is not a CA"},
		{"first may not sign certificates", []authority{cannotSign, root}, "may not sign certificates"},
		{"first without a usage", []authority{noUsage, root}, "lacks the extended key usage"},
		{"first of another usage", []authority{otherUsage, root}, "does not verify"},
		{"longer than the root allows", []authority{deeper, tooDeep, narrow}, "does not verify"},
		{"first has ended", []authority{past, root}, "does not verify"},
		{"first has not begun", []authority{future, root}, "does not verify"},
		{"root has ended", []authority{belowPast, pastRoot}, "does not verify"},
		{"weak key", []authority{weak, root}, "1024 bits is not allowed"},
		{"weak root", []authority{belowWeak, weakRoot}, "1024 bits is not allowed"},
		{"odd curve", []authority{p224, root}, "P-224 is not allowed"},
		{"Ed25519", []authority{edwards, root}, "neither ECDSA nor RSA"},
		{"Ed25519 root", []authority{belowEdwards, edwardsRoot}, "neither ECDSA nor RSA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := Settings{Issuers: f.service.Issuers()}
			for _, a := range tt.chain {
				set.Chain = append(set.Chain, a.cert)
			}
			if len(tt.chain) > 0 {
				set.Signer = tt.chain[0].key
			}
			wantChainError(t, f.service.Check(set), tt.want)
			cfg := f.cfg
			cfg.Chain, cfg.Signer = set.Chain, set.Signer
			if tt.want != "" { // one that is taken registers metrics
				_, err := New(cfg)
				wantChainError(t, err, tt.want)
			}
		})
	}
	wantChainError(t, f.service.Check(Settings{Issuers: f.service.Issuers(), Chain: []*x509.Certificate{inter.cert, root.cert}, Signer: root.key}), "not the signing key")
	wantChainError(t, f.service.Check(Settings{Issuers: f.service.Issuers(), Chain: []*x509.Certificate{inter.cert, root.cert}}), "chain or signer is missing")
}

func wantChainError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
}
