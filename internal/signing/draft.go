package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"sigstack/internal/pki"
)

// ErrSpent is matched by the error of Submit for a draft that can never become a
// signature any more: its certificate has ended, or will before it is witnessed.
var ErrSpent = errors.New("the draft's certificate does not live long enough")

// ErrOtherSigner is matched by the error of Submit for a draft that is not of the
// session's identity, or holds no signature by its certificate.
var ErrOtherSigner = errors.New("the draft is of another signer")

// Draft is a signature over a digest that no service has seen yet. Whoever keeps it
// can explain the log entry that comes of it, and can submit it again, in another
// process too, for as long as its certificate lives.
type Draft struct {
	Digest    [sha256.Size]byte
	Signature []byte // ASN.1 ECDSA
	// Verifier is what the log knows the signer by, PEM: the certificate, or a bare key.
	Verifier []byte
	// Statement is what an envelope is to hold, Digest then being its StatementDigest; nil:
	// the signature is over an artifact of that digest.
	Statement []byte
}

// DraftDigest signs a SHA-256 digest, and shows the signature to nobody.
func (s *Session) DraftDigest(ctx context.Context, digest [sha256.Size]byte) (Draft, error) {
	cred, err := s.credential(ctx)
	if err != nil {
		return Draft{}, err
	}
	sig, err := cred.key.Sign(rand.Reader, digest[:], hashFunc)
	if err != nil {
		return Draft{}, fmt.Errorf("sign digest: %w", err)
	}
	return Draft{Digest: digest, Signature: sig, Verifier: cred.pem}, nil
}

// Submit has a draft witnessed, by log and timestamp authorities at the same time, and
// verifies the finished bundle as any stranger would. A draft may come from another
// session of the same identity; the log then answers with the entry that is there, if
// it was submitted before. Errors are as of SignDigest, and ErrSpent.
func (s *Session) Submit(ctx context.Context, d Draft) (*Signed, error) {
	cred, err := s.credentialFor(ctx, d)
	if err != nil {
		return nil, err
	}
	if d.Statement != nil {
		return s.submitStatement(ctx, d, cred, false)
	}
	p, err := proposeDigest(d.Digest, d.Signature, cred.pem)
	if err != nil {
		return nil, err
	}
	e := evidence{digest: d.Digest, signature: d.Signature, cert: cred.cert, hint: cred.hint}
	return s.finish(ctx, e, p, cred, func(b *Bundle) (Result, error) {
		return VerifyDigest(d.Digest[:], b, s.kit.Trusted, cred.identity)
	})
}

// credentialFor is the credential that a draft was made with, by this session or by an
// earlier one of the same identity.
func (s *Session) credentialFor(ctx context.Context, d Draft) (*credential, error) {
	if cred := s.credentialOf(d); cred != nil {
		return cred, nil
	}
	now, err := s.credential(ctx)
	if err != nil {
		return nil, err
	}
	return s.earlier(d, now)
}

// earlier is the credential, without its key and chain, that another session of the
// same identity made a draft with. What is refused here would leave an entry in the log
// that no bundle has.
func (s *Session) earlier(d Draft, now *credential) (*credential, error) {
	if now.cert == nil {
		return nil, fmt.Errorf("submit draft: %w", ErrOtherSigner) // of another key
	}
	block, rest := pem.Decode(d.Verifier)
	if block == nil || len(rest) > 0 || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("submit draft: it does not hold one certificate: %w", ErrOtherSigner)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("submit draft: read certificate: %w: %w", err, ErrOtherSigner)
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil || summary.SubjectAlternativeName != now.subject || summary.Issuer != now.issuer {
		return nil, fmt.Errorf("submit draft: its certificate is not of %s: %w", now.identity, ErrOtherSigner)
	}
	if err := verifyDraft(cert.PublicKey, d); err != nil {
		return nil, fmt.Errorf("submit draft: %w: %w", err, ErrOtherSigner)
	}
	if left := cert.NotAfter.Sub(s.now()); left < min(renewMargin, cert.NotAfter.Sub(cert.NotBefore)/2)/2 {
		return nil, fmt.Errorf("submit draft: %w: it ends at %s", ErrSpent, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return &credential{cert: cert, pem: pki.CertificatesPEM([]*x509.Certificate{cert}), subject: now.subject, issuer: now.issuer, identity: now.identity}, nil
}

func verifyDraft(key crypto.PublicKey, d Draft) error {
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(pub, d.Digest[:], d.Signature) {
		return errors.New("its signature is not by its certificate's key over its digest")
	}
	return nil
}
