package tlsconf_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"

	"sigstack/internal/tlsconf"
)

// FuzzPair: what is accepted is whole. The key is the leaf's; every block that
// begins was read; crypto/tls takes the same certificates from the same bytes; and
// what was read is accepted again when it is written anew.
func FuzzPair(f *testing.F) {
	ca := newAuthority(f)
	key := newKey(f)
	chain, pair := append(ca.issue(f, key, nil), ca.issueCA(f)...), keyPEM(f, key)
	f.Add(chain, pair)
	f.Add(append(pair, chain...), append(chain, pair...))
	f.Add(append([]byte("subject=x\n"), chain...), append([]byte("Bag Attributes\n"), pair...))
	f.Add(chain[:len(chain)-40], pair)
	f.Add(bytes.ReplaceAll(chain, []byte("\n"), []byte("\r\n")), bytes.ReplaceAll(pair, []byte("\n"), []byte("\r\n")))
	f.Add(bytes.Replace(append(chain, chain...), []byte("-----END"), []byte("----END"), 1), pair)
	f.Add(chain, append(pair, pair...))
	f.Add(chain, keyPEM(f, newKey(f)))
	f.Fuzz(func(t *testing.T, certificate, private []byte) {
		certs, signer, err := tlsconf.ParsePair(certificate, private)
		if err != nil {
			return
		}
		type equaler interface{ Equal(crypto.PublicKey) bool }
		if !signer.Public().(equaler).Equal(certs[0].PublicKey) {
			t.Fatal("accepted a key that is not the leaf's")
		}
		// crypto/tls passes over damaged blocks: with as many it read every one.
		library, err := tls.X509KeyPair(certificate, private)
		if err != nil || len(library.Certificate) != len(certs) {
			t.Fatalf("read %d certificates; crypto/tls: %d, %v", len(certs), len(library.Certificate), err)
		}
		if n := bytes.Count(certificate, []byte("-----BEGIN CERTIFICATE-----")); n != len(certs) {
			t.Fatalf("read %d certificates, %d begin", len(certs), n)
		}
		again, other, err := tlsconf.ParsePair(pemCertificates(certs...), keyPEM(t, signer))
		if err != nil || !slices.EqualFunc(again, certs, (*x509.Certificate).Equal) || !other.Public().(equaler).Equal(signer.Public()) {
			t.Fatalf("written anew: %v", err)
		}
	})
}
