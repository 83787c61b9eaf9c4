package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"

	"sigstack/internal/pki"
)

// Authority is a certificate authority that whoever verifies names in place of the
// trust root's: that of an organisation which certifies its signers' keys by itself
// (contract release-artifacts §D2, certificate mode). It owes nobody an SCT.
type Authority struct {
	chain []*x509.Certificate // issuer first, root last
}

// ParseAuthority reads a chain in PEM: the issuer of certificates first, each
// certificate signed by the next, and a root last. name stands for it in errors.
func ParseAuthority(name string, data []byte) (*Authority, error) {
	chain, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		return nil, fmt.Errorf("read certificate chain %s: %w", name, err)
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("read certificate chain %s: it has %d certificates, at most %d", name, len(chain), maxChain)
	}
	for i, cert := range chain {
		issuer := chain[min(i+1, len(chain)-1)] // the last one's is itself
		if !cert.IsCA {
			return nil, fmt.Errorf("read certificate chain %s: certificate %d, %s, is not an authority's", name, i+1, cert.Subject)
		}
		if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) || cert.CheckSignatureFrom(issuer) != nil {
			return nil, fmt.Errorf("read certificate chain %s: certificate %d, %s, is not signed by the next, or the last is no root: want the issuer first, the root last",
				name, i+1, cert.Subject)
		}
	}
	return &Authority{chain}, nil
}

// root is the last certificate of the chain, which all trust in it is in.
func (a *Authority) root() *x509.Certificate { return a.chain[len(a.chain)-1] }

// String names the authority by its root.
func (a *Authority) String() string {
	sum := sha256.Sum256(a.root().Raw)
	return a.root().Subject.String() + " sha256:" + hex.EncodeToString(sum[:6])
}

// fulcio is the authority in the form of those of trust roots.
func (a *Authority) fulcio() *root.FulcioCertificateAuthority {
	return &root.FulcioCertificateAuthority{Root: a.root(), Intermediates: a.chain[:len(a.chain)-1]}
}

// authorityMaterial is a trust root whose certificate authorities are replaced, while
// its logs and timestamp authorities stay.
type authorityMaterial struct {
	root.TrustedMaterial
	authority *Authority
}

// FulcioCertificateAuthorities returns the one authority.
func (m authorityMaterial) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return []root.CertificateAuthority{m.authority.fulcio()}
}

// NewCertificateIdentity builds the identity of a subject, exactly or as an anchored
// regular expression, by the word of authority alone: there is no OIDC issuer. Besides
// the time of signing the certificate has to be valid now.
func NewCertificateIdentity(authority *Authority, subject, subjectRegexp string, now func() time.Time) (*Identity, error) {
	if authority == nil || now == nil {
		return nil, errors.New("build identity: authority and clock are needed")
	}
	id, err := NewIdentity(subject, subjectRegexp, "", "(?s).*")
	if err != nil {
		return nil, err
	}
	id.authority, id.now, id.issuer = authority, now, "certificate authority "+authority.String()
	return id, nil
}

// certified is the credential of a key pair that the user has a certificate for.
func certified(cred *credential, cert *x509.Certificate, authority *Authority, now func() time.Time) (*credential, error) {
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(cred.key.Public()) {
		return nil, errors.New("the certificate is of another key")
	}
	if err := checkLeaf(cert); err != nil {
		return nil, fmt.Errorf("the certificate serves no signer: %w", err)
	}
	if _, err := authority.fulcio().Verify(withName(cert), now()); err != nil {
		return nil, fmt.Errorf("the certificate is not by %s, or not valid now: %w", authority, err)
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("the certificate names nobody by e-mail address or URI: %w", err)
	}
	subject := summary.SubjectAlternativeName
	id, err := NewCertificateIdentity(authority, subject, "", now)
	if err != nil {
		return nil, err
	}
	return &credential{
		key: cred.key, cert: cert, chain: authority.chain, pem: pki.CertificatesPEM([]*x509.Certificate{cert}),
		subject: subject, identity: id,
	}, nil
}
