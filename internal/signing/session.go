package signing

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"golang.org/x/sync/errgroup"
)

// SessionConfig sets a Session up.
type SessionConfig struct {
	Kit   *Kit
	Token TokenSource   // signs as the token's identity, with a key made for the session
	Key   crypto.Signer // instead of Token: a key pair, ECDSA P-256; no certificate is asked for
	// Certificate is one that the user has for Key, and Authority who issued it; both nil
	// without one.
	Certificate *x509.Certificate
	Authority   *Authority
	HTTP        *http.Client     // nil: the kit's HTTPClient
	Now         func() time.Time // for choosing services and for renewing in time
	Log         *slog.Logger
}

// Session signs as one identity: a key made for the session and a certificate
// for it serve until the certificate nears its end, then both are renewed. With a
// key pair there is no certificate, and the identity is that key. It is safe for
// concurrent use.
type Session struct {
	kit      *Kit
	services Services
	token    TokenSource
	http     *http.Client
	now      func() time.Time
	log      *slog.Logger

	mu     sync.Mutex // guards both; held while a certificate is fetched, so it is fetched once
	cred   *credential
	before *credential // the one that cred renewed: drafts of it may be under way; nil: none
}

// Signed is one finished signature, verified against the kit's own trust root.
type Signed struct {
	JSON        []byte // the v0.3 bundle, compact; nil of SignStatementByTag
	Bundle      *Bundle
	Signature   []byte              // ASN.1 ECDSA
	Certificate *x509.Certificate   // nil with a key pair
	Chain       []*x509.Certificate // the CA's answer above the certificate: issuer first, root last
	Envelope    []byte              // of a statement: the JSON envelope that is logged; nil otherwise
	Result      Result
}

// NewSession chooses the services; it calls none of them yet.
func NewSession(c SessionConfig) (*Session, error) {
	if c.Kit == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("set up signing: kit, clock and logger are needed")
	}
	if (c.Token == nil) == (c.Key == nil) {
		return nil, errors.New("set up signing: give either a token or a key, not both")
	}
	if (c.Certificate == nil) != (c.Authority == nil) || c.Certificate != nil && c.Key == nil {
		return nil, errors.New("set up signing: a certificate of the user's goes with its authority and its key")
	}
	s := &Session{kit: c.Kit, token: c.Token, http: c.HTTP, now: c.Now, log: c.Log}
	var err error
	if s.http == nil {
		if s.http, err = c.Kit.HTTPClient(); err != nil {
			return nil, fmt.Errorf("set up signing: %w", err)
		}
	}
	if c.Key != nil {
		s.services.TLogs, s.services.TSAs, err = c.Kit.witnesses(c.Now())
		if err == nil {
			s.cred, err = keyCredential(c.Key)
		}
		if err == nil && c.Certificate != nil {
			s.cred, err = certified(s.cred, c.Certificate, c.Authority, c.Now)
		}
	} else {
		s.services, err = c.Kit.Services(c.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("set up signing: %w", err)
	}
	return s, nil
}

// Identity returns whom the session signs as, fetching a certificate if it has
// none. With a key pair the subject describes the key, and there is no issuer.
func (s *Session) Identity(ctx context.Context) (subject, issuer string, err error) {
	cred, err := s.credential(ctx)
	if err != nil {
		return "", "", err
	}
	return cred.subject, cred.issuer, nil
}

// Trusted returns the trust root that the session checks its work against.
func (s *Session) Trusted() *TrustRoot { return s.kit.Trusted }

// SignFile signs the file at path, streaming it once.
func (s *Session) SignFile(ctx context.Context, path string) (*Signed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signed, err := s.Sign(ctx, f)
	return signed, errors.Join(err, f.Close())
}

// Sign signs what r yields, streaming it once.
func (s *Session) Sign(ctx context.Context, r io.Reader) (*Signed, error) {
	h := sha256.New()
	if err := copyContext(ctx, h, r); err != nil {
		return nil, fmt.Errorf("sign: read artifact: %w", err)
	}
	return s.SignDigest(ctx, [sha256.Size]byte(h.Sum(nil)))
}

// SignDigest signs a SHA-256 digest: signature, then log entry and timestamps at
// the same time, then a verification of the finished bundle as any stranger would
// make it. Errors are *ServiceError, *UnreachableError, and *RefusedError when a
// service's answer does not verify.
func (s *Session) SignDigest(ctx context.Context, digest [sha256.Size]byte) (*Signed, error) {
	d, err := s.DraftDigest(ctx, digest)
	if err != nil {
		return nil, err
	}
	return s.Submit(ctx, d)
}

// finish has e's signature witnessed, and hands it out if the bundle passes check.
func (s *Session) finish(ctx context.Context, e evidence, p proposal, cred *credential, check func(*Bundle) (Result, error)) (*Signed, error) {
	if err := s.witness(ctx, &e, p); err != nil {
		return nil, err
	}
	b, text, err := e.build()
	if err != nil {
		return nil, err
	}
	res, err := check(b)
	if err != nil {
		return nil, fmt.Errorf("check own signature: %w", err)
	}
	return &Signed{JSON: text, Bundle: b, Signature: e.signature, Certificate: cred.cert, Chain: cred.chain, Result: res}, nil
}

// witness has every chosen log and timestamp authority attest e's signature.
func (s *Session) witness(ctx context.Context, e *evidence, p proposal) error {
	entries := make([]*protorekor.TransparencyLogEntry, len(s.services.TLogs))
	timestamps := make([][]byte, len(s.services.TSAs))
	g, ctx := errgroup.WithContext(ctx)
	for i, url := range s.services.TLogs {
		g.Go(func() (err error) {
			entries[i], err = s.upload(ctx, url, p)
			return err
		})
	}
	for i, url := range s.services.TSAs {
		g.Go(func() (err error) {
			timestamps[i], err = s.timestamp(ctx, url, e.timestamped())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	e.entries, e.timestamps = entries, timestamps
	return nil
}
