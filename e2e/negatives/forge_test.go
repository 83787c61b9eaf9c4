package negatives

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"path/filepath"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
)

// forge makes signatures part by part, with the keys of a test stack, which lie
// in the clear. What it makes unchanged every verifier accepts; a test changes
// one part and leaves all others right.
type forge struct {
	stack      *e2etest.Stack
	ca         authority
	ctlog, log keys.Key
}

// authority is a CA: its key, and its chain from the issuing certificate up.
type authority struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func newForge(t *testing.T, s *e2etest.Stack) *forge {
	t.Helper()
	load := func(name string) keys.Key { return loadKey(t, filepath.Join(s.Dir, "keys"), name) }
	chain, err := pki.ParseCertificatesPEM([]byte(e2etest.ReadFile(t, filepath.Join(s.Dir, "keys", "ca.chain.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	return &forge{stack: s, ca: authority{load("ca"), chain}, ctlog: load("ctlog"), log: load("rekor")}
}

func loadKey(t *testing.T, dir, name string) keys.Key {
	t.Helper()
	key, err := keys.Open(dir, nil).Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// strangerCA returns a CA that nobody trusts, whose names are the stack's.
func (f *forge) strangerCA(t *testing.T) authority {
	t.Helper()
	rootKey, key := newP256(t), newP256(t)
	issuing, root := f.ca.chain[0], f.ca.chain[1]
	newRoot, err := pki.NewRoot(rootKey, root.Subject, root.NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(newRoot, rootKey, key.Public(), issuing.Subject, x509.ExtKeyUsageCodeSigning, issuing.NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, []*x509.Certificate{inter, newRoot}}
}

// certificate is what a leaf is made from.
type certificate struct {
	by            authority
	email, issuer string
	notBefore     time.Time

	change func(*x509.Certificate) // of the template

	ctlog    crypto.Signer // of the SCT; none without one
	spoilSCT func(signature []byte)
	second   func(c *certificate) // makes a second SCT, after a change
}

// issue makes a leaf like the CA's own for a key, with an SCT by the CT log's
// key inside (contract: ca.md §6 to §8).
func (c certificate) issue(t *testing.T, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.SubjectKeyID(key)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    c.notBefore.UTC().Truncate(time.Second),
		NotAfter:     c.notBefore.UTC().Truncate(time.Second).Add(10 * time.Minute),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId: id,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: subjectNames(t, c.email)},
			{Id: pki.OIDIssuerV1, Value: []byte(c.issuer)},
			{Id: pki.OIDIssuer, Value: utf8String(t, c.issuer)},
		},
	}
	if c.change != nil {
		c.change(tmpl)
	}
	if c.ctlog == nil {
		return c.sign(t, tmpl, key)
	}
	tbs := c.sign(t, tmpl, key).RawTBSCertificate
	scts := [][]byte{c.sct(t, tbs)}
	if c.second != nil {
		second := c
		c.second(&second)
		scts = append(scts, second.sct(t, tbs))
	}
	list, err := pki.MarshalSCTList(scts)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: pki.OIDSCTList, Value: list})
	return c.sign(t, tmpl, key)
}

// subjectNames encodes e-mail addresses as subject alternative names.
func subjectNames(t *testing.T, emails ...string) []byte {
	t.Helper()
	var names []asn1.RawValue
	for _, email := range emails {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte(email)}) // rfc822Name
	}
	return marshal(t, names)
}

func utf8String(t *testing.T, text string) []byte {
	t.Helper()
	return marshal(t, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)})
}

func (c certificate) sign(t *testing.T, tmpl *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.by.chain[0], key, c.by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// sct signs a precertificate's timestamp (RFC 6962 §3.2): what the CT log would
// answer, for issuers too that it would refuse.
func (c certificate) sct(t *testing.T, tbs []byte) []byte {
	t.Helper()
	issuer := sha256.Sum256(c.by.chain[0].RawSubjectPublicKeyInfo)
	stamp := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
	signed := append([]byte{0, 0}, stamp...)            // v1, certificate_timestamp
	signed = append(append(signed, 0, 1), issuer[:]...) // precert_entry
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0) // no extensions
	digest := sha256.Sum256(signed)
	signature, err := c.ctlog.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if c.spoilSCT != nil {
		c.spoilSCT(signature)
	}
	log := sha256.Sum256(spki(t, c.ctlog.Public()))
	sct := append([]byte{0}, log[:]...)
	sct = append(append(sct, stamp...), 0, 0)
	sct = append(sct, 4, 3) // SHA-256, ECDSA
	return append(binary.BigEndian.AppendUint16(sct, uint16(len(signature))), signature...)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spki(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := pki.MarshalPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
