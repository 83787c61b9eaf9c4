package pki_test

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
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	ctx509 "github.com/google/certificate-transparency-go/x509"

	"sigstack/internal/pki"
)

func curveKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issuing is a root with the key that leaves are issued by.
func issuing(t testing.TB, key crypto.Signer) (*x509.Certificate, *pki.LeafIssuer) {
	t.Helper()
	root, err := pki.NewRoot(key, name("root"), now)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewLeafIssuer(root, key)
	if err != nil {
		t.Fatal(err)
	}
	return root, issuer
}

func newLeaf(t testing.TB, pub crypto.PublicKey) pki.Leaf {
	t.Helper()
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	keyID, err := pki.SubjectKeyID(pub)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	return pki.Leaf{
		Serial: serial, NotBefore: now, NotAfter: now.Add(10 * time.Minute), PublicKey: spki, KeyID: keyID,
		Extensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte("\x30\x09\x81\x07a@b.org")},
			{Id: pki.OIDIssuerV1, Value: []byte("https://issuer.example")},
			{Id: pki.OIDDeploymentEnvironment, Value: bytes.Repeat([]byte{7}, 4096)},
		},
	}
}

var poison = pkix.Extension{Id: pki.OIDPoison, Critical: true, Value: []byte{5, 0}}

// standard is what x509.CreateCertificate makes of l.
func standard(t testing.TB, l pki.Leaf, parent *x509.Certificate, key crypto.Signer, last pkix.Extension) *x509.Certificate {
	t.Helper()
	pub, err := x509.ParsePKIXPublicKey(l.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: l.Serial, NotBefore: l.NotBefore, NotAfter: l.NotAfter, SubjectKeyId: l.KeyID,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: append(l.Extensions[:len(l.Extensions):len(l.Extensions)], last),
	}, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, der)
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func sameAsStandard(t testing.TB, got, want *x509.Certificate) {
	t.Helper()
	if !bytes.Equal(got.RawTBSCertificate, want.RawTBSCertificate) {
		t.Errorf("TBS is\n%x\nx509 makes\n%x", got.RawTBSCertificate, want.RawTBSCertificate)
	}
	if got.SignatureAlgorithm != want.SignatureAlgorithm {
		t.Errorf("signed by %v, x509 signs by %v", got.SignatureAlgorithm, want.SignatureAlgorithm)
	}
}

// TestLeafIsThatOfX509: for each kind of key, and at the edges of what is encoded,
// the same bytes as the standard library's.
func TestLeafIsThatOfX509(t *testing.T) {
	authorities := map[string]crypto.Signer{
		"RSA CA": rsaKey(t), "P-256 CA": newKey(t), "P-384 CA": curveKey(t, elliptic.P384()), "P-521 CA": curveKey(t, elliptic.P521()),
	}
	leaves := map[string]crypto.Signer{
		"RSA": rsaKey(t), "P-256": newKey(t), "P-384": curveKey(t, elliptic.P384()), "P-521": curveKey(t, elliptic.P521()), "Ed25519": edKey(t),
	}
	changes := map[string]func(*pki.Leaf){
		"":               func(*pki.Leaf) {},
		"serial 1":       func(l *pki.Leaf) { l.Serial = big.NewInt(1) },
		"serial 128":     func(l *pki.Leaf) { l.Serial = big.NewInt(128) },
		"longest serial": func(l *pki.Leaf) { l.Serial = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1)) },
		"into 2050": func(l *pki.Leaf) {
			l.NotBefore = time.Date(2049, 12, 31, 23, 55, 0, 0, time.UTC)
			l.NotAfter = l.NotBefore.Add(10 * time.Minute)
		},
		"another zone": func(l *pki.Leaf) { l.NotBefore = l.NotBefore.In(time.FixedZone("", 7200)) },
	}
	for caName, caKey := range authorities {
		root, issuer := issuing(t, caKey)
		for leafName, leafKey := range leaves {
			for changeName, change := range changes {
				t.Run(caName+", "+leafName+" "+changeName, func(t *testing.T) {
					leaf := newLeaf(t, leafKey.Public())
					change(&leaf)
					draft, err := issuer.Draft(leaf)
					if err != nil {
						t.Fatal(err)
					}
					der, err := draft.Sign(poison)
					if err != nil {
						t.Fatal(err)
					}
					got := parsed(t, der)
					sameAsStandard(t, got, standard(t, leaf, root, caKey, poison))
					if err := got.CheckSignatureFrom(root); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// TestPrecertificateOfACertificate: both are one TBS but for the last extension,
// by our reading and by that of certificate-transparency-go.
func TestPrecertificateOfACertificate(t *testing.T) {
	_, issuer := issuing(t, newKey(t))
	draft, err := issuer.Draft(newLeaf(t, newKey(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	logged, err := draft.TBS()
	if err != nil {
		t.Fatal(err)
	}
	pre, err := draft.SignUnverified(poison)
	if err != nil {
		t.Fatal(err)
	}
	der, err := draft.Sign(pkix.Extension{Id: pki.OIDSCTList, Value: bytes.Repeat([]byte{4, 2, 1, 1}, 40)})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []func() ([]byte, error){
		func() ([]byte, error) { return pki.TBSWithout(pre, pki.OIDPoison) },
		func() ([]byte, error) { return pki.TBSWithout(der, pki.OIDSCTList) },
		func() ([]byte, error) { return ctx509.BuildPrecertTBS(parsed(t, pre).RawTBSCertificate, nil) },
		func() ([]byte, error) { return ctx509.RemoveSCTList(parsed(t, der).RawTBSCertificate) },
	} {
		if tbs, err := got(); err != nil || !bytes.Equal(tbs, logged) {
			t.Errorf("TBS is %x (%v), the draft's is %x", tbs, err, logged)
		}
	}
}

// wrongSigner signs something else than asked, or fails.
type wrongSigner struct {
	crypto.Signer
	err error
}

func (s wrongSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(r, append([]byte{digest[0] ^ 1}, digest[1:]...), opts)
}

func TestSignerOfLeaves(t *testing.T) {
	away := errors.New("token is away")
	for _, key := range []crypto.Signer{newKey(t), rsaKey(t)} {
		for _, failure := range []error{nil, away} {
			_, issuer := issuingWith(t, key, wrongSigner{key, failure})
			draft, err := issuer.Draft(newLeaf(t, key.Public()))
			if err != nil {
				t.Fatal(err)
			}
			if der, err := draft.Sign(poison); err == nil || der != nil || failure != nil && !errors.Is(err, failure) {
				t.Errorf("Sign = %x, %v, want nothing and %v", der, err, failure)
			}
		}
	}
}

func issuingWith(t *testing.T, key, signer crypto.Signer) (*x509.Certificate, *pki.LeafIssuer) {
	t.Helper()
	root, err := pki.NewRoot(key, name("root"), now)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewLeafIssuer(root, signer)
	if err != nil {
		t.Fatal(err)
	}
	return root, issuer
}

func TestNewLeafIssuer(t *testing.T) {
	key, other, odd, edwards := newKey(t), newKey(t), curveKey(t, elliptic.P224()), edKey(t)
	root := func(key crypto.Signer) *x509.Certificate {
		cert, err := pki.NewRoot(key, name("root"), now)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	anonymous := *root(key)
	anonymous.SubjectKeyId = nil
	tests := []struct {
		name   string
		cert   *x509.Certificate
		signer crypto.Signer
		want   string
	}{
		{"good", root(key), key, ""},
		{"another's key", root(key), other, "not the signing key"},
		{"no key identifier", &anonymous, key, "no subject key identifier"},
		{"P-224", root(odd), odd, "P-224 is not supported"},
		{"Ed25519", root(edwards), edwards, "neither ECDSA nor RSA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pki.NewLeafIssuer(tt.cert, tt.signer)
			check(t, err, tt.want)
		})
	}
}

func TestSerialsOfLeaves(t *testing.T) {
	_, issuer := issuing(t, newKey(t))
	for _, serial := range []*big.Int{big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 159)} {
		leaf := newLeaf(t, newKey(t).Public())
		leaf.Serial = serial
		if _, err := issuer.Draft(leaf); err == nil || !strings.Contains(err.Error(), "serial number") {
			t.Errorf("serial %x: error %v, want one of the serial number", serial, err)
		}
	}
}

// TestTBSWithout: only a last extension of the right kind is taken away.
func TestTBSWithout(t *testing.T) {
	cert, _ := issuing(t, newKey(t))
	last := len(cert.Extensions) - 1
	tests := []struct {
		name string
		der  []byte
		oid  asn1.ObjectIdentifier
		ok   bool
	}{
		{"last", cert.Raw, cert.Extensions[last].Id, true},
		{"first", cert.Raw, cert.Extensions[0].Id, false},
		{"absent", cert.Raw, pki.OIDPoison, false},
		{"cut short", cert.Raw[:len(cert.Raw)-1], pki.OIDPoison, false},
		{"empty", nil, pki.OIDPoison, false},
		{"no extensions", []byte{0x30, 0x04, 0x30, 0x02, 0x05, 0x00}, pki.OIDPoison, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := pki.TBSWithout(tt.der, tt.oid); (err == nil) != tt.ok {
				t.Errorf("error = %v, want success %v", err, tt.ok)
			}
		})
	}
}

// FuzzLeaf: whatever is in a leaf, it is encoded as x509 encodes it, or refused
// as x509 refuses it.
func FuzzLeaf(f *testing.F) {
	f.Add([]byte{1}, int64(0), []byte("san"), true, []byte("issuer"))
	f.Add([]byte{0x80}, int64(1<<33), []byte{}, false, []byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 20), int64(-1), bytes.Repeat([]byte{1}, 300), true, []byte{0x30, 0x80})
	caKey := newKey(f)
	root, issuer := issuing(f, caKey)
	base := newLeaf(f, newKey(f).Public())
	f.Fuzz(func(t *testing.T, serial []byte, start int64, san []byte, critical bool, value []byte) {
		leaf := base
		leaf.Serial = new(big.Int).SetBytes(serial)
		leaf.NotBefore = time.Unix(start%(1<<36), 0).UTC()
		leaf.NotAfter = leaf.NotBefore.Add(time.Minute)
		leaf.Extensions = []pkix.Extension{{Id: pki.OIDOtherName, Critical: critical, Value: san}, {Id: pki.OIDIssuer, Value: value}}
		draft, err := issuer.Draft(leaf)
		if err != nil {
			if year := leaf.NotBefore.Year(); leaf.Serial.Sign() > 0 && leaf.Serial.BitLen() <= 159 && year >= 1950 && year < 9999 {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		der, err := draft.SignUnverified(poison)
		if err != nil {
			t.Fatal(err)
		}
		sameAsStandard(t, parsed(t, der), standard(t, leaf, root, caKey, poison))
	})
}

// FuzzTBSWithout: what is taken away is what certificate-transparency-go takes
// away, of every certificate that both can read.
func FuzzTBSWithout(f *testing.F) {
	_, issuer := issuing(f, newKey(f))
	draft, err := issuer.Draft(newLeaf(f, newKey(f).Public()))
	if err != nil {
		f.Fatal(err)
	}
	pre, err := draft.Sign(poison)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pre)
	f.Add([]byte{0x30, 0x04, 0x30, 0x02, 0x05, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		tbs, err := pki.TBSWithout(der, pki.OIDPoison)
		if err != nil {
			return
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		want, err := ctx509.BuildPrecertTBS(cert.RawTBSCertificate, nil)
		if err != nil {
			return // the poison twice
		}
		if !bytes.Equal(tbs, want) {
			t.Errorf("TBS is\n%x\ncertificate-transparency-go has\n%x", tbs, want)
		}
	})
}
