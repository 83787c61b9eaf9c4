// Package tsa is the timestamp authority: it signs RFC 3161 tokens over digests
// and serves the certificate chain that they verify with (contract:
// tsa-and-others.md §1). It stores nothing; keys and certificates are made
// elsewhere, and verifying a token is the client's business.
package tsa

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// Config configures New. Every field is required but IncludeChain and Policy.
type Config struct {
	// Chain is the signing certificate, intermediates, and root, in that order.
	Chain []*x509.Certificate
	// Signer holds the key of Chain[0]: ECDSA P-256 or P-384.
	Signer crypto.Signer
	// URL is the base URL, absolute and without final slash.
	URL string
	// IncludeChain embeds the whole chain in a token whose request asks for
	// certificates; otherwise the signing certificate alone. Clients that hold
	// the chain already need neither.
	IncludeChain bool
	// Policy is the one policy that tokens are issued under and requests may
	// ask for; empty: pki.OIDTimestampPolicy.
	Policy asn1.ObjectIdentifier
	// Now is the stack's clock.
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service issues timestamps. It is safe for concurrent use.
type Service struct {
	chain   []*x509.Certificate
	pem     []byte // chain, as served
	url     string
	policy  string // dotted
	tokens  *tokenizer
	clock   *clock
	log     *slog.Logger
	metrics *metrics
}

// New checks the chain against the signer and the present time and returns the
// service. The error names what does not fit.
func New(cfg Config) (*Service, error) {
	if cfg.Signer == nil || cfg.URL == "" || cfg.Now == nil || cfg.Log == nil || cfg.Metrics == nil {
		return nil, errors.New("timestamp authority: signer, URL, clock, log and metrics are required")
	}
	if err := checkChain(cfg.Chain, cfg.Signer.Public(), cfg.Now()); err != nil {
		return nil, fmt.Errorf("timestamp authority: check chain: %w", err)
	}
	policy := cfg.Policy
	if len(policy) == 0 {
		policy = pki.OIDTimestampPolicy
	}
	tokens, err := newTokenizer(cfg.Chain, cfg.Signer, policy, cfg.IncludeChain)
	if err != nil {
		return nil, fmt.Errorf("timestamp authority: %w", err)
	}
	return &Service{
		chain:   cfg.Chain,
		pem:     pki.CertificatesPEM(cfg.Chain),
		url:     cfg.URL,
		policy:  policy.String(),
		tokens:  tokens,
		clock:   newClock(cfg.Now, cfg.Chain),
		log:     cfg.Log,
		metrics: newMetrics(cfg.Metrics),
	}, nil
}

// Trust returns the service's public half: the chain, leaf first, and the full
// request URL that clients post to.
func (s *Service) Trust() trust.Authority {
	return trust.Authority{
		URI:    s.url + timestampPath,
		Chain:  s.chain,
		Window: trust.Window{Start: s.chain[0].NotBefore},
	}
}

// issue checks q against the service's policy and returns a DER TimeStampResp
// that grants it.
func (s *Service) issue(ctx context.Context, q query) ([]byte, error) {
	if err := q.check(s.policy); err != nil {
		return nil, err
	}
	at, err := s.clock.read()
	if err != nil {
		return nil, err
	}
	serial, err := pki.NewSerial()
	if err != nil {
		return nil, err
	}
	der, err := s.tokens.response(q, serial, at)
	if err != nil {
		return nil, fmt.Errorf("make timestamp: %w", err)
	}
	s.log.DebugContext(ctx, "timestamp issued", slog.Any("serial", serial), slog.Time("gen_time", at))
	return der, nil
}

// metrics are the service's own counters; status codes are the mux's.
type metrics struct {
	issued *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{issued: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sigstack_tsa_timestamps_total",
		Help: "Timestamps issued, by form of the request.",
	}, []string{"form"})}
	reg.MustRegister(m.issued)
	return m
}
