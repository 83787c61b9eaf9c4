package signing

import (
	"context"
	"crypto/rand"
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
	Token TokenSource
	HTTP  *http.Client     // nil: NewHTTPClient
	Now   func() time.Time // for choosing services and for renewing in time
	Log   *slog.Logger
}

// Session signs as one identity: a key made for the session and a certificate
// for it serve until the certificate nears its end, then both are renewed. It is
// safe for concurrent use.
type Session struct {
	kit      *Kit
	services Services
	token    TokenSource
	http     *http.Client
	now      func() time.Time
	log      *slog.Logger

	mu   sync.Mutex // guards cred; held while a certificate is fetched, so it is fetched once
	cred *credential
}

// Signed is one finished signature, verified against the kit's own trust root.
type Signed struct {
	JSON        []byte // the v0.3 bundle, compact
	Bundle      *Bundle
	Signature   []byte // ASN.1 ECDSA
	Certificate *x509.Certificate
	Result      Result
}

// NewSession chooses the services; it calls none of them yet.
func NewSession(c SessionConfig) (*Session, error) {
	if c.Kit == nil || c.Token == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("set up signing: kit, token, clock and logger are needed")
	}
	services, err := c.Kit.Services(c.Now())
	if err != nil {
		return nil, fmt.Errorf("set up signing: %w", err)
	}
	if c.HTTP == nil {
		c.HTTP = NewHTTPClient()
	}
	return &Session{kit: c.Kit, services: services, token: c.Token, http: c.HTTP, now: c.Now, log: c.Log}, nil
}

// Identity returns whom the session signs as, fetching a certificate if it has
// none.
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
	cred, err := s.credential(ctx)
	if err != nil {
		return nil, err
	}
	sig, err := cred.key.Sign(rand.Reader, digest[:], hashFunc)
	if err != nil {
		return nil, fmt.Errorf("sign digest: %w", err)
	}
	e := evidence{digest: digest, signature: sig, cert: cred.cert}
	if err := s.witness(ctx, &e, cred); err != nil {
		return nil, err
	}
	b, text, err := e.build()
	if err != nil {
		return nil, err
	}
	res, err := VerifyDigest(digest[:], b, s.kit.Trusted, cred.identity)
	if err != nil {
		return nil, fmt.Errorf("check own signature: %w", err)
	}
	return &Signed{JSON: text, Bundle: b, Signature: sig, Certificate: cred.cert, Result: res}, nil
}

// witness has every chosen log and timestamp authority attest e's signature.
func (s *Session) witness(ctx context.Context, e *evidence, cred *credential) error {
	entries := make([]*protorekor.TransparencyLogEntry, len(s.services.TLogs))
	timestamps := make([][]byte, len(s.services.TSAs))
	g, ctx := errgroup.WithContext(ctx)
	for i, url := range s.services.TLogs {
		g.Go(func() (err error) {
			entries[i], err = s.upload(ctx, url, e.digest, e.signature, cred.pem)
			return err
		})
	}
	for i, url := range s.services.TSAs {
		g.Go(func() (err error) {
			timestamps[i], err = s.timestamp(ctx, url, e.signature)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	e.entries, e.timestamps = entries, timestamps
	return nil
}
