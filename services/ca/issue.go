package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync/atomic"
	"time"

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
	by   *Service
	leaf leaf
	who  identity.Principal
	used atomic.Bool
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
// request is at fault, fault.Internal when the authority is.
func (s *Service) Prepare(ctx context.Context, req Request) (*Approval, error) {
	who, err := s.authenticate(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	key, err := provenKey(req, who.Challenges)
	if err != nil {
		return nil, err
	}
	l, err := s.profile(key, who)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, badSigner)
	}
	return &Approval{by: s, leaf: l, who: who}, nil
}

func (s *Service) authenticate(ctx context.Context, raw string) (identity.Principal, error) {
	verified, err := s.tokens.Verify(ctx, raw)
	if err != nil {
		return identity.Principal{}, refusedToken(err)
	}
	who, err := verified.Issuer.Principal(verified.Claims)
	if err != nil {
		return identity.Principal{}, refusedToken(err)
	}
	return who, nil
}

// refusedToken puts the contract's phrase before the reason.
func refusedToken(err error) error {
	if fault.KindOf(err) != fault.Invalid {
		return err
	}
	return fault.Wrap(fault.Invalid, err, badToken+": "+fault.Public(err))
}

// profile fills in the leaf of the contract's §7.
func (s *Service) profile(key crypto.PublicKey, who identity.Principal) (leaf, error) {
	l := leaf{key: key, notBefore: s.cfg.Now().UTC().Truncate(time.Second)}
	l.notAfter = l.notBefore.Add(lifetime)
	for _, c := range s.cfg.Chain {
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
// Without a verified SCT there is no certificate. A crash in between leaves a
// logged precertificate, for which no certificate will ever be asked.
func (s *Service) Issue(ctx context.Context, a *Approval) ([]byte, error) {
	if a.by != s || !a.used.CompareAndSwap(false, true) {
		return nil, errors.New("approval was used before or is another authority's")
	}
	pre, err := s.sign(a.leaf, poison())
	if err != nil {
		return nil, err
	}
	sct, tbs, err := s.submit(ctx, pre)
	if err != nil {
		return nil, err
	}
	list, err := sctList(sct)
	if err != nil {
		return nil, err
	}
	der, err := s.sign(a.leaf, list)
	if err != nil {
		return nil, err
	}
	if err := sameTBS(tbs, der); err != nil {
		return nil, err
	}
	s.metrics.issued.Inc()
	s.cfg.Log.DebugContext(ctx, "certificate issued",
		slog.String("serial", a.leaf.serial.Text(16)), slog.String("name", a.who.Name.Value))
	return der, nil
}

// sign makes a certificate of l with one more extension at the end. x509 verifies
// the signature before it returns, so a broken signer never gets out.
func (s *Service) sign(l leaf, last pkix.Extension) ([]byte, error) {
	extensions := append(l.extensions[:len(l.extensions):len(l.extensions)], last)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:    l.serial,
		NotBefore:       l.notBefore,
		NotAfter:        l.notAfter,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId:    l.keyID,
		ExtraExtensions: extensions,
	}, s.cfg.Chain[0], l.key, s.cfg.Signer)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, badSigner)
	}
	return der, nil
}
