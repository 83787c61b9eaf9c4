// Package ca is the certificate authority: it trades an ID token and the proof
// of a key for a ten-minute code signing certificate, logged in a CT log first
// (contract: ca.md; RFC 5280, RFC 6962). Verifying tokens is left to ca/token,
// what they mean to ca/identity, and keeping records to the log and the audit.
package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/audit"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/token"
)

// maxBody is the request limit of the contract's §2, in bytes.
const maxBody = 4 << 20

// SubmitPrecert logs a precertificate chain (DER: precertificate, issuing CA, …,
// root) and returns the log's AddChainResponse as JSON (RFC 6962 §4.1). It is
// safe for concurrent use, retries as it sees fit, and must return soon after ctx
// ends. The SCT promises that the log keeps the precertificate; the authority
// itself keeps nothing. An error of kind fault.Unavailable or fault.Timeout tells
// clients to retry.
type SubmitPrecert func(ctx context.Context, chain [][]byte) (response []byte, err error)

// Config configures New. Every field but Limit is required.
type Config struct {
	// Chain is ordered: issuing certificate first, self-signed root last.
	Chain []*x509.Certificate
	// Signer holds the key of Chain[0]: ECDSA or RSA, since clients refuse others.
	Signer  crypto.Signer
	Issuers []identity.Issuer
	Submit  SubmitPrecert
	// CTLogKey is the DER SubjectPublicKeyInfo (ECDSA or RSA) that every SCT must
	// verify with before it is embedded.
	CTLogKey []byte
	// Audit puts an event on record and returns once it is on disk. After an error
	// nothing is answered but that error. AuditReady is asked before anything is
	// signed, so that nothing is logged that cannot be recorded.
	Audit      func(context.Context, audit.Event) error
	AuditReady func(context.Context) error
	// Limit refuses a caller whose token was verified, by issuer and subject, before
	// anything else is done for it: fault.Limited, to come again later. nil: nobody.
	Limit   func(ctx context.Context, issuer, subject string) error
	URL     string // base URL, without a final slash
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is the certificate authority. It is safe for concurrent use.
type Service struct {
	cfg     Config
	tokens  *token.Verifier
	ctLog   ctLog
	metrics *metrics

	chainDER [][]byte // Chain, for the log
	chainPEM []string // Chain, each ending in a newline
}

// New checks cfg; each refusal of the contract's §7 is an error.
func New(cfg Config) (*Service, error) {
	if err := checkChain(cfg); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if u, err := url.Parse(cfg.URL); err != nil || u.Host == "" || cfg.URL[len(cfg.URL)-1] == '/' {
		return nil, fmt.Errorf("certificate authority: URL %q is not an absolute URL without final slash", cfg.URL)
	}
	if cfg.Submit == nil {
		return nil, errors.New("certificate authority: no CT log is given, and nothing is issued without one")
	}
	if cfg.Audit == nil || cfg.AuditReady == nil {
		return nil, errors.New("certificate authority: no audit record is given, and nothing is issued without one")
	}
	log, err := newCTLog(cfg.CTLogKey)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	tokens, err := token.New(token.Config{Issuers: cfg.Issuers, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	s := &Service{cfg: cfg, tokens: tokens, ctLog: log, metrics: newMetrics(cfg.Metrics)}
	for _, c := range cfg.Chain {
		s.chainDER = append(s.chainDER, c.Raw)
		s.chainPEM = append(s.chainPEM, string(pki.CertificatesPEM([]*x509.Certificate{c})))
	}
	return s, nil
}

func checkChain(cfg Config) error {
	if len(cfg.Chain) == 0 || cfg.Signer == nil {
		return errors.New("chain or signer is missing")
	}
	if err := pki.CheckIssuingChain(cfg.Chain, cfg.Signer.Public(), x509.ExtKeyUsageCodeSigning, cfg.Now()); err != nil {
		return err
	}
	for _, c := range cfg.Chain {
		switch c.PublicKey.(type) {
		case *ecdsa.PublicKey, *rsa.PublicKey:
		default:
			return fmt.Errorf("key of %s is neither ECDSA nor RSA", c.Subject)
		}
		if err := checkKey(c.PublicKey); err != nil {
			return fmt.Errorf("key of %s: %w", c.Subject, err)
		}
		if len(c.SubjectKeyId) == 0 {
			return fmt.Errorf("certificate %s has no subject key identifier", c.Subject)
		}
	}
	return nil
}

// Mount adds the HTTP endpoints of the contract's §1.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("ca", httpd.GRPCErrors)
	g.Handle(http.MethodPost, "/api/v2/signingCert", maxBody, s.createV2)
	g.Handle(http.MethodPost, "/api/v1/signingCert", maxBody, s.createV1)
	public := g.As(httpd.Public)
	public.Handle(http.MethodGet, "/api/v2/trustBundle", 0, s.trustBundle)
	public.Handle(http.MethodGet, "/api/v2/configuration", 0, s.configuration)
	public.Handle(http.MethodGet, "/api/v1/rootCert", 0, s.rootCert)
}

// Run fetches the keys of the token issuers, so that the first request need not
// wait for them, and returns nil when ctx ends. Requests are answered without it.
func (s *Service) Run(ctx context.Context) error {
	s.tokens.Warm(ctx)
	<-ctx.Done()
	return nil
}

// Trust returns the public half: what was issued from the start of the issuing
// certificate on is to be trusted.
func (s *Service) Trust() trust.Authority {
	return trust.Authority{
		URI:    s.cfg.URL,
		Chain:  s.cfg.Chain,
		Window: trust.Window{Start: s.cfg.Chain[0].NotBefore},
	}
}

// metrics counts what the authority does.
type metrics struct {
	issued prometheus.Counter
	log    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fulcio_new_certs",
			Help: "Certificates issued.",
		}),
		log: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sigstack_ca_log_seconds",
			Help:    "Time the CT log took to answer, failures included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // 0.5 ms to 4 s
		}),
	}
	reg.MustRegister(m.issued, m.log)
	return m
}
