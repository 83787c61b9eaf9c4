package ctlog_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"net/http"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// TestSameEntries: what the log recognizes by itself it logs and timestamps as ctfe
// does, byte for byte but for the random part of a signature.
func TestSameEntries(t *testing.T) {
	ca := newAuthority(t)
	d1, d2 := newDisk(t), newDisk(t)
	d2.key = d1.key
	own, theirs := d1.open(t, ca, nil), d2.open(t, ca, nil)
	ext := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte("https://issuer.example")}
	poison := pkix.Extension{Id: pki.OIDPoison, Critical: true, Value: asn1.NullBytes}
	for i, change := range []func(*x509.Certificate){
		nil, nil,
		func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{poison, ext} },
		func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{ext, poison} },
		func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "Jané", Country: []string{"DE"}} },
		func(c *x509.Certificate) { c.NotAfter = time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC) },
		func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) },
		func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) },
	} {
		d1.clock.move(time.Second)
		d2.clock.move(time.Second)
		chain := [][]byte{ca.leaf(t, false, change), ca.inter.Raw, ca.root.Raw}
		a, err := own.AddPreChain(t.Context(), chain)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		rec := theirs.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, chain...))
		if rec.Code != http.StatusOK {
			t.Fatalf("%d: %d %s", i, rec.Code, rec.Body)
		}
		verifySCT(t, d1.key.SPKI(), a, chain)
		if got, want := unsigned(t, a), unsigned(t, rec.Body.Bytes()); got != want {
			t.Errorf("%d: answer %s, want %s", i, got, want)
		}
		e1, err1 := own.tree.Entries(t.Context(), uint64(i), 1)
		e2, err2 := theirs.tree.Entries(t.Context(), uint64(i), 1)
		if err1 != nil || err2 != nil || len(e1) != 1 || len(e2) != 1 {
			t.Fatalf("%d: %v, %v", i, err1, err2)
		}
		got, want := e1[0].Leaf, e2[0].Leaf
		if !bytes.Equal(got.Value, want.Value) || !bytes.Equal(got.Extra, want.Extra) || got.Identity != want.Identity {
			t.Errorf("%d: entry\n%x %x, want\n%x %x", i, got.Value, got.Extra, want.Value, want.Extra)
		}
	}
	checkLog(t, own, 8)
}

// unsigned is an answer without its signature's bytes.
func unsigned(t *testing.T, answer []byte) string {
	t.Helper()
	var resp ct.AddChainResponse
	if err := json.Unmarshal(answer, &resp); err != nil {
		t.Fatal(err)
	}
	resp.Signature = resp.Signature[:2] // hash and algorithm
	out, err := json.Marshal(resp)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestNothingPlainIsTaken: by an issuer that the log knows, too, whatever ctfe
// refuses is refused.
func TestNothingPlainIsTaken(t *testing.T) {
	d, ca, other := newDisk(t), newAuthority(t), newAuthority(t)
	r := d.open(t, ca, nil)
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil { // the issuer is known now
		t.Fatal(err)
	}
	flipped := bytes.Clone(ca.leaf(t, false, nil))
	flipped[len(flipped)-1] ^= 1
	poison := func(critical bool, value []byte) []byte {
		return ca.leaf(t, false, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: pki.OIDPoison, Critical: critical, Value: value}}
		})
	}
	for name, der := range map[string][]byte{
		"no poison":            ca.leaf(t, true, nil),
		"poison not critical":  poison(false, asn1.NullBytes),
		"poison not NULL":      poison(true, []byte{4, 0}),
		"another key":          forged(t, ca),
		"signature flipped":    flipped,
		"another issuer":       other.leaf(t, false, nil),
		"the root's key ID":    ca.leafNaming(t, ca.root.SubjectKeyId),
		"no code signing":      ca.leaf(t, false, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"no extended key use":  ca.leaf(t, false, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"garbage":              {0x30, 0x03, 1, 2, 3},
		"garbage behind":       append(ca.leaf(t, false, nil), 0),
		"nothing":              {},
		"the issuer itself":    ca.inter.Raw,
		"the root, no precert": ca.root.Raw,
	} {
		_, err := r.AddPreChain(t.Context(), [][]byte{der, ca.inter.Raw, ca.root.Raw})
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v, want fault.Invalid", name, err)
		}
	}
	checkLog(t, r, 1)
}

// leafNaming is a precertificate by ca's issuer, which says that the issuer's key is
// of another ID.
func (a *authority) leafNaming(t testing.TB, keyID []byte) []byte {
	t.Helper()
	as := *a
	inter := *a.inter
	inter.SubjectKeyId = keyID
	as.inter = &inter
	return as.leaf(t, false, nil)
}

// TestNoKeyIDIsNeeded: what names no key of its issuer, or one that nobody has, is
// logged as ctfe would log it.
func TestNoKeyIDIsNeeded(t *testing.T) {
	for name, keyID := range map[string][]byte{"none": nil, "nobody's": {1, 2, 3}} {
		ca := newAuthority(t)
		own, theirs := newDisk(t).open(t, ca, nil), newDisk(t).open(t, ca, nil)
		if _, err := own.AddPreChain(t.Context(), ca.chain(t)); err != nil { // the issuer is known now
			t.Fatal(err)
		}
		chain := [][]byte{ca.leafNaming(t, keyID), ca.inter.Raw, ca.root.Raw}
		_, err := own.AddPreChain(t.Context(), chain)
		rec := theirs.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, chain...))
		if err != nil || rec.Code != http.StatusOK {
			t.Errorf("%s: within the process: %v; ctfe: %d %s; want both to take it", name, err, rec.Code, rec.Body)
		}
		if got := own.KnownChains(); got != 1 {
			t.Errorf("%s: %d chains are kept in mind, want the one", name, got)
		}
	}
}

// forged is a precertificate in the name of ca's issuer by another key.
func forged(t *testing.T, ca *authority) []byte {
	t.Helper()
	key := newKey(t)
	in := *ca.inter
	in.PublicKey = key.Public()
	in.RawSubjectPublicKeyInfo = nil
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: start, NotAfter: start.Add(time.Minute),
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: pki.OIDPoison, Critical: true, Value: asn1.NullBytes}},
	}, &in, newKey(t).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// FuzzRecognized: whatever is asked for in the name of a known issuer, and signed by
// it, the log takes within the process exactly if ctfe takes it, and then logs the
// same entry.
func FuzzRecognized(f *testing.F) {
	ca := newAuthority(f)
	d1, d2 := newDisk(f), newDisk(f)
	own, theirs := d1.open(f, ca, nil), d2.open(f, ca, nil)
	if _, err := own.AddPreChain(f.Context(), ca.chain(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(tbsOf(f, ca.leaf(f, false, nil)))
	f.Add(tbsOf(f, ca.leaf(f, true, nil)))
	f.Add(tbsOf(f, ca.inter.Raw))
	f.Add(tbsOf(f, ca.leafNaming(f, ca.root.SubjectKeyId)))
	f.Add(tbsOf(f, ca.leafNaming(f, nil)))
	f.Fuzz(func(t *testing.T, tbs []byte) {
		chain := [][]byte{sealed(t, tbs, ca.key), ca.inter.Raw, ca.root.Raw}
		d1.clock.move(2 * time.Millisecond) // so that no root waits for its millisecond
		d2.clock.move(2 * time.Millisecond)
		first := own.tree.Head().Size
		_, err := own.AddPreChain(t.Context(), chain)
		rec := theirs.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, chain...))
		if (err == nil) != (rec.Code == http.StatusOK) {
			t.Fatalf("within the process: %v; ctfe: %d %s", err, rec.Code, rec.Body)
		}
		if err != nil || own.tree.Head().Size == first { // refused, or there already
			return
		}
		e1, err1 := own.tree.Entries(t.Context(), first, 1)
		e2, err2 := theirs.tree.Entries(t.Context(), theirs.tree.Head().Size-1, 1)
		if err1 != nil || err2 != nil || !bytes.Equal(e1[0].Leaf.Extra, e2[0].Leaf.Extra) || !bytes.Equal(e1[0].Leaf.Value[12:], e2[0].Leaf.Value[12:]) {
			t.Errorf("entry %+v, %v, want %+v, %v", e1, err1, e2, err2)
		}
	})
}

func tbsOf(t testing.TB, der []byte) []byte {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.RawTBSCertificate
}

// sealed is a certificate of whatever tbs is.
func sealed(t testing.TB, tbs []byte, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	sum := sha256.Sum256(tbs)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	algorithm, err := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}})
	if err != nil {
		t.Fatal(err)
	}
	bits, err := asn1.Marshal(asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)})
	if err != nil {
		t.Fatal(err)
	}
	body := append(append(bytes.Clone(tbs), algorithm...), bits...)
	der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
