package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func name(cn string) pkix.Name {
	return pkix.Name{CommonName: cn, Organization: []string{"sigstack test"}}
}

// hierarchy is a root, an intermediate for eku and a timestamp leaf.
type hierarchy struct {
	rootKey, interKey, leafKey *ecdsa.PrivateKey
	root, inter, leaf          *x509.Certificate
}

func newHierarchy(t *testing.T, eku x509.ExtKeyUsage) hierarchy {
	t.Helper()
	h := hierarchy{rootKey: newKey(t), interKey: newKey(t), leafKey: newKey(t)}
	var err error
	if h.root, err = pki.NewRoot(h.rootKey, name("root"), now); err != nil {
		t.Fatal(err)
	}
	if h.inter, err = pki.NewIntermediate(h.root, h.rootKey, h.interKey.Public(), name("inter"), eku, now); err != nil {
		t.Fatal(err)
	}
	if h.leaf, err = pki.NewTimestampLeaf(h.inter, h.interKey, h.leafKey.Public(), name("leaf"), now); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestProfiles(t *testing.T) {
	h := newHierarchy(t, x509.ExtKeyUsageCodeSigning)
	if h.root.MaxPathLenZero || len(h.root.ExtKeyUsage) != 0 || !h.root.IsCA {
		t.Errorf("root: pathlen0 %v, eku %v, CA %v", h.root.MaxPathLenZero, h.root.ExtKeyUsage, h.root.IsCA)
	}
	if got := h.root.NotAfter.Sub(h.root.NotBefore); got != pki.RootLifetime {
		t.Errorf("root lives %v, want %v", got, pki.RootLifetime)
	}
	if !h.inter.MaxPathLenZero || !h.inter.IsCA || len(h.inter.AuthorityKeyId) != 20 || len(h.inter.SubjectKeyId) != 20 {
		t.Errorf("intermediate: %v %v %x %x", h.inter.MaxPathLenZero, h.inter.IsCA, h.inter.AuthorityKeyId, h.inter.SubjectKeyId)
	}
	for _, c := range []*x509.Certificate{h.root, h.inter, h.leaf} {
		if n := len(c.SerialNumber.Bytes()); n > 20 || c.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: serial of %d bytes, sign %d", c.Subject, n, c.SerialNumber.Sign())
		}
	}
	late, err := pki.NewIntermediate(h.root, h.rootKey, h.interKey.Public(), name("late"), x509.ExtKeyUsageCodeSigning, h.root.NotAfter.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if late.NotAfter.After(h.root.NotAfter) {
		t.Errorf("intermediate until %v outlives its root, %v", late.NotAfter, h.root.NotAfter)
	}
}

func TestCheckIssuingChain(t *testing.T) {
	h, other := newHierarchy(t, x509.ExtKeyUsageCodeSigning), newHierarchy(t, x509.ExtKeyUsageTimeStamping)
	tests := []struct {
		name   string
		chain  []*x509.Certificate
		signer *ecdsa.PrivateKey
		at     time.Time
		want   string // "" accepts
	}{
		{"intermediate and root", []*x509.Certificate{h.inter, h.root}, h.interKey, now, ""},
		{"single root", []*x509.Certificate{h.root}, h.rootKey, now, ""},
		{"empty", nil, h.rootKey, now, "empty"},
		{"wrong order", []*x509.Certificate{h.root, h.inter}, h.rootKey, now, "not issued by the next"},
		{"foreign root", []*x509.Certificate{h.inter, other.root}, h.interKey, now, "not issued by the next"},
		{"other key", []*x509.Certificate{h.inter, h.root}, h.rootKey, now, "not the signing key"},
		{"not a CA", []*x509.Certificate{h.leaf, h.inter, h.root}, h.leafKey, now, "not a CA"},
		{"other usage", []*x509.Certificate{other.inter, other.root}, other.interKey, now, "does not verify"},
		{"expired", []*x509.Certificate{h.inter, h.root}, h.interKey, now.Add(4 * 365 * 24 * time.Hour), "does not verify"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, pki.CheckIssuingChain(tt.chain, tt.signer.Public(), x509.ExtKeyUsageCodeSigning, tt.at), tt.want)
		})
	}
}

func TestCheckTimestampChain(t *testing.T) {
	h := newHierarchy(t, x509.ExtKeyUsageTimeStamping)
	plain, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: h.leaf.SerialNumber, NotBefore: now, NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}, h.inter, h.leafKey.Public(), h.interKey)
	if err != nil {
		t.Fatal(err)
	}
	uncritical, err := x509.ParseCertificate(plain)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		chain  []*x509.Certificate
		signer *ecdsa.PrivateKey
		want   string
	}{
		{"leaf, intermediate, root", []*x509.Certificate{h.leaf, h.inter, h.root}, h.leafKey, ""},
		{"too short", []*x509.Certificate{h.leaf}, h.leafKey, "at least"},
		{"starts with a CA", []*x509.Certificate{h.inter, h.root}, h.interKey, "is a CA"},
		{"usage not critical", []*x509.Certificate{uncritical, h.inter, h.root}, h.leafKey, "critical"},
		{"other key", []*x509.Certificate{h.leaf, h.inter, h.root}, h.rootKey, "not the signing key"},
		{"gap", []*x509.Certificate{h.leaf, h.root}, h.leafKey, "not issued by the next"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, pki.CheckTimestampChain(tt.chain, tt.signer.Public(), now), tt.want)
		})
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

func TestPEMIsThatOfThePackagePEM(t *testing.T) {
	for size := range 200 {
		der := make([]byte, size)
		rand.Read(der)
		cert := &x509.Certificate{Raw: der}
		if got, want := pki.PublicKeyPEM(der), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}); !bytes.Equal(got, want) {
			t.Errorf("key of %d bytes: got %q, want %q", size, got, want)
		}
		one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if got, want := pki.CertificatesPEM([]*x509.Certificate{cert, cert}), slices.Concat(one, one); !bytes.Equal(got, want) {
			t.Errorf("certificates of %d bytes: got %q, want %q", size, got, want)
		}
	}
}

func TestCertificatesPEMRoundTrip(t *testing.T) {
	h := newHierarchy(t, x509.ExtKeyUsageCodeSigning)
	in := pki.CertificatesPEM([]*x509.Certificate{h.inter, h.root})
	chain, err := pki.ParseCertificatesPEM(in)
	if err != nil || len(chain) != 2 || !chain[0].Equal(h.inter) || !chain[1].Equal(h.root) {
		t.Fatalf("parsed %d certificates, %v", len(chain), err)
	}
	if chain, err := pki.ParseCertificatesPEM(bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n"))); err != nil || len(chain) != 2 {
		t.Errorf("with CRLF: parsed %d certificates, %v", len(chain), err)
	}
	one := string(pki.CertificatesPEM([]*x509.Certificate{h.root}))
	damaged := strings.Replace(one, "MII", "M!I", 1)
	for _, bad := range []string{
		"", "junk", string(in) + "junk", string(pki.PublicKeyPEM([]byte{1})),
		"junk\n" + one, one + "junk\n" + one, damaged + one, one + damaged, strings.TrimSuffix(one, "-----\n"),
	} {
		if _, err := pki.ParseCertificatesPEM([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func FuzzParseCertificatesPEM(f *testing.F) {
	key := newKey(f)
	root, err := pki.NewRoot(key, name("root"), now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pki.CertificatesPEM([]*x509.Certificate{root}))
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := pki.ParseCertificatesPEM(data)
		if err != nil {
			return
		}
		again, err := pki.ParseCertificatesPEM(pki.CertificatesPEM(chain))
		if err != nil || len(again) != len(chain) {
			t.Fatalf("accepted chain of %d does not survive re-encoding: %d, %v", len(chain), len(again), err)
		}
	})
}

func FuzzParseSCTList(f *testing.F) {
	seed, err := pki.MarshalSCTList([][]byte{{1, 2, 3}, {4}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		scts, err := pki.ParseSCTList(data)
		if err != nil {
			return
		}
		again, err := pki.MarshalSCTList(scts)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted %x re-encodes as %x, %v", data, again, err)
		}
	})
}
