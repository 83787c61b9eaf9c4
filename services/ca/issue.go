package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/token"
)

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
	leaf   pki.Leaf
	draft  *pki.Draft // of leaf
	who    identity.Principal
	used   atomic.Bool
}

// caller is who asks, as far as a token was verified.
type caller struct {
	issuer  string
	subject string // of the token; once that is decided, of the certificate
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
	by, err := s.authenticate(ctx, req.Token, a)
	if err != nil {
		return err
	}
	if s.cfg.Limit != nil {
		if err := s.cfg.Limit(ctx, a.caller.issuer, a.caller.subject); err != nil {
			return err
		}
	}
	if err := by.CheckPolicy(ctx); err != nil {
		return refusedToken(err)
	}
	key, err := a.state.provenKey(req, a.who.Challenges)
	if err != nil {
		return err
	}
	if err := s.draft(a, key, by.Issuer.Lifetime); err != nil {
		return fault.Wrap(fault.Internal, err, badSigner)
	}
	return nil
}

func (s *Service) authenticate(ctx context.Context, raw string, a *Approval) (token.Token, error) {
	verified, err := a.state.tokens.Verify(ctx, raw)
	if err != nil {
		return verified, refusedToken(err)
	}
	a.caller = caller{verified.Claims.Issuer, verified.Claims.Subject}
	if a.who, err = verified.Principal(ctx); err != nil {
		return verified, refusedToken(err)
	}
	a.caller.subject = a.who.Name.Value
	return verified, nil
}

// refusedToken puts the contract's phrase before the reason.
func refusedToken(err error) error {
	if fault.KindOf(err) != fault.Invalid {
		return err
	}
	return fault.Wrap(fault.Invalid, err, badToken+": "+fault.Public(err))
}

// draft fills in the leaf of the contract's §7, which lives as long as its issuer
// wants it to, ten minutes at most.
func (s *Service) draft(a *Approval, key crypto.PublicKey, wanted time.Duration) error {
	l := pki.Leaf{NotBefore: s.cfg.Now().UTC().Truncate(time.Second)}
	l.NotAfter = l.NotBefore.Add(identity.MaxLifetime)
	if wanted > 0 && wanted < identity.MaxLifetime {
		l.NotAfter = l.NotBefore.Add(wanted)
	}
	for _, c := range a.state.Chain {
		if l.NotBefore.Before(c.NotBefore) || l.NotAfter.After(c.NotAfter) {
			return fmt.Errorf("a certificate issued now would not lie within the life of %s", c.Subject)
		}
	}
	var err error
	if l.PublicKey, err = pki.MarshalPublicKey(key); err != nil {
		return err
	}
	if l.KeyID, err = pki.SubjectKeyIDOf(l.PublicKey); err != nil {
		return err
	}
	if l.Serial, err = pki.NewSerial(); err != nil {
		return err
	}
	if l.Extensions, err = a.who.Extensions(); err != nil {
		return err
	}
	a.leaf = l
	a.draft, err = a.state.leaves.Draft(l)
	return err
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
		slog.String("serial", a.leaf.Serial.Text(16)), slog.String("name", a.who.Name.Value))
	return der, nil
}

// certificate signs the one draft twice, so that the certificate is what was
// logged, but for the SCT.
func (s *Service) certificate(ctx context.Context, a *Approval) ([]byte, error) {
	tbs, err := a.draft.TBS()
	if err != nil {
		return nil, err
	}
	pre, err := a.state.precertificate(a.draft)
	if err != nil {
		return nil, refusedSigner(err)
	}
	sct, err := s.submit(ctx, a, pre, tbs)
	if err != nil {
		return nil, err
	}
	list, err := sctList(sct)
	if err != nil {
		return nil, err
	}
	der, err := a.draft.Sign(list)
	if err != nil {
		return nil, refusedSigner(err)
	}
	return der, nil
}

// precertificate leaves it to the log to verify a signature by a key in memory: a
// log takes nothing that does not chain to its roots (RFC 6962 §3.1), and the
// certificate's own signature is verified in any case. One from a token or key
// service is verified before anybody sees it, whatever it costs: were it wrong, it
// could tell the key (a fault in an RSA signature does), and a precertificate with
// it could stay in a careless log for ever.
func (s *state) precertificate(draft *pki.Draft) ([]byte, error) {
	if s.inMemory {
		return draft.SignUnverified(poison())
	}
	return draft.Sign(poison())
}

// inMemory reports whether the private half of a key is in this process; of a
// signer that does not say, it is not.
func inMemory(signer crypto.Signer) bool {
	switch k := signer.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey:
		return true
	case interface{ URI() string }: // keys.Key
		return k.URI() == ""
	default:
		return false
	}
}

// refusedSigner puts the contract's phrase before the signer's failure.
func refusedSigner(err error) error {
	if fault.KindOf(err) == fault.Unavailable { // the key lives elsewhere, and that is away
		return fault.Because(fault.Wrap(fault.Unavailable, err, badSigner+": "+fault.Public(err)), fault.Detail{Reason: "SIGNER_UNAVAILABLE"})
	}
	return fault.Wrap(fault.Internal, err, badSigner)
}

// issued is the event of a certificate.
func (a *Approval) issued(der []byte) audit.Event {
	return audit.Event{
		Action: audit.ActionCertificate, Outcome: audit.OK, Service: "ca",
		Issuer: a.caller.issuer, Subject: a.caller.subject,
		Detail: map[string]string{
			"serial":             a.leaf.Serial.Text(16),
			"not_before":         a.leaf.NotBefore.Format(time.RFC3339),
			"not_after":          a.leaf.NotAfter.Format(time.RFC3339),
			"key_id":             hex.EncodeToString(a.leaf.KeyID),
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
