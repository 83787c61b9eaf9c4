package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync/atomic"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
)

// lifetime is that of every leaf (contract: ca.md §7).
const lifetime = 10 * time.Minute

// The sentences of the contract's §9 about tokens and signers.
const (
	badToken  = "There was an error processing the identity token"
	badSigner = "error communicating with CA backend"
)

// Request asks for a certificate. It holds a key proof of one of two kinds.
type Request struct {
	Token string // the ID token as received

	PublicKey []byte // PEM or DER; with Proof, unless there is a CSR
	Proof     []byte // signature over the principal's challenge
	CSR       []byte // PKCS#10 as PEM; wins when not empty
}

// Approval is the right to issue one certificate, once. Everything that can be
// refused was checked before it was made; only the log and the signer can fail.
type Approval struct {
	by     *Service
	state  *state // that it was made by, and that it is used with
	caller caller
	leaf   leaf
	who    identity.Principal
	used   atomic.Bool
}

// caller is who asks, as far as a token was verified.
type caller struct {
	issuer  string
	subject string // of the token; once that is decided, of the certificate
}

// leaf is what precertificate and certificate have in common: all but one
// extension, and the signature.
type leaf struct {
	serial              *big.Int
	notBefore, notAfter time.Time
	key                 crypto.PublicKey
	keyID               []byte
	extensions          []pkix.Extension
}

// Prepare checks a request, the token before the key, and returns the approval
// that Issue asks for. Nothing is signed. Errors are fault.Invalid when the
// request is at fault, fault.Limited when its like came too often, fault.Internal
// when the authority is at fault; each is on record.
func (s *Service) Prepare(ctx context.Context, req Request) (*Approval, error) {
	a := &Approval{by: s, state: s.state.Load()}
	if err := s.prepare(ctx, req, a); err != nil {
		return nil, s.refused(ctx, a.caller, err)
	}
	return a, nil
}

func (s *Service) prepare(ctx context.Context, req Request, a *Approval) error {
	if err := s.authenticate(ctx, req.Token, a); err != nil {
		return err
	}
	if s.cfg.Limit != nil {
		if err := s.cfg.Limit(ctx, a.caller.issuer, a.caller.subject); err != nil {
			return err
		}
	}
	key, err := provenKey(req, a.who.Challenges)
	if err != nil {
		return err
	}
	if a.leaf, err = s.profile(a.state, key, a.who); err != nil {
		return fault.Wrap(fault.Internal, err, badSigner)
	}
	return nil
}

func (s *Service) authenticate(ctx context.Context, raw string, a *Approval) error {
	verified, err := a.state.tokens.Verify(ctx, raw)
	if err != nil {
		return refusedToken(err)
	}
	a.caller = caller{verified.Claims.Issuer, verified.Claims.Subject}
	if a.who, err = verified.Issuer.Principal(verified.Claims); err != nil {
		return refusedToken(err)
	}
	a.caller.subject = a.who.Name.Value
	return nil
}

// refusedToken puts the contract's phrase before the reason.
func refusedToken(err error) error {
	if fault.KindOf(err) != fault.Invalid {
		return err
	}
	return fault.Wrap(fault.Invalid, err, badToken+": "+fault.Public(err))
}

// profile fills in the leaf of the contract's §7.
func (s *Service) profile(by *state, key crypto.PublicKey, who identity.Principal) (leaf, error) {
	l := leaf{key: key, notBefore: s.cfg.Now().UTC().Truncate(time.Second)}
	l.notAfter = l.notBefore.Add(lifetime)
	for _, c := range by.Chain {
		if l.notBefore.Before(c.NotBefore) || l.notAfter.After(c.NotAfter) {
			return leaf{}, fmt.Errorf("a certificate issued now would not lie within the life of %s", c.Subject)
		}
	}
	var err error
	if l.serial, err = pki.NewSerial(); err != nil {
		return leaf{}, err
	}
	if l.keyID, err = pki.SubjectKeyID(key); err != nil {
		return leaf{}, err
	}
	if l.extensions, err = who.Extensions(); err != nil {
		return leaf{}, err
	}
	return l, nil
}

// Issue turns an approval into the DER of a certificate: it signs a
// precertificate, logs it, and signs the same again with the log's SCT in it.
// Without a verified SCT there is no certificate, and without a record of it there
// is no answer. A crash in between leaves a logged precertificate, for which no
// certificate will ever be asked, or a certificate that nobody has.
func (s *Service) Issue(ctx context.Context, a *Approval) ([]byte, error) {
	if a.by != s || !a.used.CompareAndSwap(false, true) {
		return nil, errors.New("approval was used before or is another authority's")
	}
	// A record that cannot be written is not found out by filling the CT log.
	if err := s.cfg.AuditReady(ctx); err != nil {
		return nil, err
	}
	der, err := s.certificate(ctx, a)
	if err != nil {
		return nil, s.refused(ctx, a.caller, err)
	}
	if err := s.cfg.Audit(ctx, a.issued(der)); err != nil {
		return nil, err
	}
	s.metrics.issued.Inc()
	s.cfg.Log.DebugContext(ctx, "certificate issued",
		slog.String("serial", a.leaf.serial.Text(16)), slog.String("name", a.who.Name.Value))
	return der, nil
}

func (s *Service) certificate(ctx context.Context, a *Approval) ([]byte, error) {
	pre, err := a.state.sign(a.leaf, poison())
	if err != nil {
		return nil, err
	}
	sct, tbs, err := s.submit(ctx, a.state, pre)
	if err != nil {
		return nil, err
	}
	list, err := sctList(sct)
	if err != nil {
		return nil, err
	}
	der, err := a.state.sign(a.leaf, list)
	if err != nil {
		return nil, err
	}
	return der, sameTBS(tbs, der)
}

// issued is the event of a certificate.
func (a *Approval) issued(der []byte) audit.Event {
	return audit.Event{
		Action: audit.ActionCertificate, Outcome: audit.OK, Service: "ca",
		Issuer: a.caller.issuer, Subject: a.caller.subject,
		Detail: map[string]string{
			"serial":             a.leaf.serial.Text(16),
			"not_before":         a.leaf.notBefore.Format(time.RFC3339),
			"not_after":          a.leaf.notAfter.Format(time.RFC3339),
			"key_id":             hex.EncodeToString(a.leaf.keyID),
			"certificate_sha256": fmt.Sprintf("%x", sha256.Sum256(der)),
		},
	}
}

// refused records that err is answered, and returns what is to be answered. The
// record holds the sentence for strangers; the log has the cause.
func (s *Service) refused(ctx context.Context, by caller, err error) error {
	e := audit.Event{
		Action: audit.ActionCertificate, Outcome: audit.Refused, Service: "ca",
		Issuer: by.issuer, Subject: by.subject, Detail: map[string]string{"cause": fault.Public(err)},
	}
	switch fault.KindOf(err) {
	case fault.Internal, fault.Unavailable, fault.Timeout, fault.Canceled:
		e.Outcome = audit.Failed
	}
	return errors.Join(s.cfg.Audit(ctx, e), err)
}

// sign makes a certificate of l with one more extension at the end. x509 verifies
// the signature before it returns, so a broken signer never gets out.
func (s *state) sign(l leaf, last pkix.Extension) ([]byte, error) {
	extensions := append(l.extensions[:len(l.extensions):len(l.extensions)], last)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:    l.serial,
		NotBefore:       l.notBefore,
		NotAfter:        l.notAfter,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId:    l.keyID,
		ExtraExtensions: extensions,
	}, s.Chain[0], l.key, s.Signer)
	if fault.KindOf(err) == fault.Unavailable { // the key lives elsewhere, and that is away
		return nil, fault.Wrap(fault.Unavailable, err, badSigner+": "+fault.Public(err))
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, badSigner)
	}
	return der, nil
}
