package check

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// MaxSkew is how far clocks may be apart: times of answers to what was just asked
// lie within it of our own.
const MaxSkew = 5 * time.Minute

// Object identifiers of certificates (Fulcio's extensions, RFC 5280).
var (
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidIssuerV1 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuer   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// Identity is whom a certificate names: an e-mail address or a URI, and the
// issuer who says so.
type Identity struct{ Email, URI, Issuer string }

// CA verifies the certificates of one authority. It is safe for concurrent use.
type CA struct {
	chains   []caChain
	logs     ctLogs
	lifetime time.Duration
}

type caChain struct {
	certs []*x509.Certificate // issuing certificate first, root last
	pool  *x509.CertPool      // the issuing certificate
}

// NewCA knows an authority by its chains (issuing certificate first, root last),
// which are verified at now, by the keys of the CT logs that it may use, and by
// how long its certificates are valid.
func NewCA(chains [][]*x509.Certificate, logs []crypto.PublicKey, lifetime time.Duration, now time.Time) (*CA, error) {
	ca := &CA{lifetime: lifetime}
	for _, certs := range chains {
		if err := verifyChain(certs, x509.ExtKeyUsageCodeSigning, now); err != nil {
			return nil, fmt.Errorf("verify the authority's chain: %w", err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(certs[0])
		ca.chains = append(ca.chains, caChain{certs, pool})
	}
	if len(ca.chains) == 0 || len(logs) == 0 {
		return nil, errors.New("know a certificate authority: a chain and a CT log's key are needed")
	}
	var err error
	ca.logs, err = newCTLogs(logs)
	return ca, err
}

// verifyChain verifies a chain, lowest first, to its own last certificate.
func verifyChain(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(certs) == 0 {
		return errors.New("it is empty")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(certs[len(certs)-1])
	for _, c := range certs[:len(certs)-1] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// Certificate verifies an answer to a request with the public key and the
// identity's token, made about now: the chain, byte for byte and by signature, the
// key, the names, the usages, the lifetime and the embedded SCT.
func (ca *CA) Certificate(answer []byte, key crypto.PublicKey, id Identity, now time.Time) (*x509.Certificate, error) {
	certs, err := parseCertificates(answer)
	if err != nil {
		return nil, err
	}
	leaf := certs[0]
	chain, err := ca.chainOf(certs[1:])
	if err != nil {
		return nil, err
	}
	if err := chain.signed(leaf); err != nil {
		return nil, err
	}
	if k, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(leaf.PublicKey) {
		return nil, Wrong(Key, "the certificate is for another key")
	}
	if err := checkNames(leaf, id); err != nil {
		return nil, err
	}
	if err := checkProfile(leaf, chain.certs[0]); err != nil {
		return nil, err
	}
	if err := ca.checkLifetime(leaf, chain, now); err != nil {
		return nil, err
	}
	return leaf, ca.logs.check(leaf, chain.certs[0], now)
}

func parseCertificates(answer []byte) ([]*x509.Certificate, error) {
	var got struct {
		Embedded struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, Wrong(Malformed, "%w in %.200q", err, answer)
	}
	list := got.Embedded.Chain.Certificates
	if len(list) < 2 || len(list) > 10 {
		return nil, Wrong(Malformed, "%d certificates with an embedded SCT and above, want 2 to 10", len(list))
	}
	var certs []*x509.Certificate
	for i, text := range list {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, Wrong(Malformed, "certificate %d is not one PEM block", i)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, Wrong(Malformed, "certificate %d: %w", i, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func (ca *CA) chainOf(above []*x509.Certificate) (caChain, error) {
	for _, c := range ca.chains {
		same := len(above) == len(c.certs)
		for i := 0; same && i < len(above); i++ {
			same = above[i].Equal(c.certs[i])
		}
		if same {
			return c, nil
		}
	}
	return caChain{}, Wrong(Chain, "what stands above the certificate, %s, is no trusted chain", above[0].Subject)
}

// signed verifies the leaf up to the issuing certificate, which was verified
// before.
func (c caChain) signed(leaf *x509.Certificate) error {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.pool, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	if err != nil {
		return Wrong(Chain, "%w", err)
	}
	return nil
}

func checkNames(leaf *x509.Certificate, id Identity) error {
	ext, ok := extension(leaf, oidSAN)
	if !ok || !ext.Critical {
		return Wrong(SAN, "absent, or not critical")
	}
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 || len(names) != 1 {
		return Wrong(SAN, "%d names, want 1", len(names))
	}
	tag, want := 1, id.Email // rfc822Name
	if want == "" {
		tag, want = 6, id.URI // uniformResourceIdentifier
	}
	if n := names[0]; n.Class != asn1.ClassContextSpecific || n.Tag != tag || string(n.Bytes) != want {
		return Wrong(SAN, "%.200q, want %q", n.Bytes, want)
	}
	if ext, ok := extension(leaf, oidIssuerV1); ok && string(ext.Value) != id.Issuer {
		return Wrong(Issuer, "%.200q by the old extension, want %q", ext.Value, id.Issuer)
	}
	ext, _ = extension(leaf, oidIssuer)
	var issuer string
	if rest, err := asn1.UnmarshalWithParams(ext.Value, &issuer, "utf8"); err != nil || len(rest) > 0 || issuer != id.Issuer {
		return Wrong(Issuer, "%.200q, want %q", ext.Value, id.Issuer)
	}
	return nil
}

func extension(cert *x509.Certificate, oid asn1.ObjectIdentifier) (pkix.Extension, bool) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oid) {
			return e, true
		}
	}
	return pkix.Extension{}, false
}

func checkProfile(leaf, issuer *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return Wrong(Profile, "the certificate is an authority's")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return Wrong(Profile, "key usage %#x, want digitalSignature alone", leaf.KeyUsage)
	case len(leaf.ExtKeyUsage) != 1 || len(leaf.UnknownExtKeyUsage) != 0:
		return Wrong(Profile, "%d extended key usages, want codeSigning alone", len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage))
	case len(leaf.AuthorityKeyId) == 0 || !bytes.Equal(leaf.AuthorityKeyId, issuer.SubjectKeyId):
		return Wrong(Profile, "authority key id %x, want the issuer's, %x", leaf.AuthorityKeyId, issuer.SubjectKeyId)
	}
	return nil
}

func (ca *CA) checkLifetime(leaf *x509.Certificate, chain caChain, now time.Time) error {
	if got := leaf.NotAfter.Sub(leaf.NotBefore); got != ca.lifetime {
		return Wrong(Lifetime, "%v, want %v", got, ca.lifetime)
	}
	if skew := now.Sub(leaf.NotBefore).Abs(); skew > MaxSkew {
		return Wrong(Lifetime, "it begins at %v, %v from now", leaf.NotBefore, skew)
	}
	for _, c := range chain.certs {
		if leaf.NotAfter.After(c.NotAfter) {
			return Wrong(Lifetime, "it outlasts %s", c.Subject)
		}
	}
	return nil
}
