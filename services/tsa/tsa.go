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
	"sync/atomic"
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
	cfg     Config
	policy  string                // dotted
	state   atomic.Pointer[state] // replaced by Reload; a request loads it once
	clock   clock
	metrics *metrics
}

// state is what one request sees from its beginning to its end, never changed once
// it is made: its time is in the validity of the chain whose key signs.
type state struct {
	chain  []*x509.Certificate
	pem    []byte // chain, as served
	valid  span
	tokens *tokenizer
}

// New checks the chain against the signer and the present time and returns the
// service. The error names what does not fit.
func New(cfg Config) (*Service, error) {
	if cfg.Signer == nil || cfg.URL == "" || cfg.Now == nil || cfg.Log == nil || cfg.Metrics == nil {
		return nil, errors.New("timestamp authority: signer, URL, clock, log and metrics are required")
	}
	if len(cfg.Policy) == 0 {
		cfg.Policy = pki.OIDTimestampPolicy
	}
	s := &Service{cfg: cfg, policy: cfg.Policy.String(), clock: clock{now: cfg.Now}}
	if err := s.Reload(cfg.Chain, cfg.Signer); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(cfg.Metrics)
	return s, nil
}

// Reload goes over to a chain, in the order of Config.Chain, and the key of its first
// certificate, between two requests. On an error everything stays as it was.
func (s *Service) Reload(chain []*x509.Certificate, signer crypto.Signer) error {
	next, err := s.newState(chain, signer)
	if err != nil {
		return err
	}
	s.state.Store(next)
	return nil
}

// Check is Reload without its effect.
func (s *Service) Check(chain []*x509.Certificate, signer crypto.Signer) error {
	_, err := s.newState(chain, signer)
	return err
}

func (s *Service) newState(chain []*x509.Certificate, signer crypto.Signer) (*state, error) {
	if err := checkChain(chain, signer.Public(), s.cfg.Now()); err != nil {
		return nil, fmt.Errorf("timestamp authority: check chain: %w", err)
	}
	tokens, err := newTokenizer(chain, signer, s.cfg.Policy, s.cfg.IncludeChain)
	if err != nil {
		return nil, fmt.Errorf("timestamp authority: %w", err)
	}
	return &state{chain: chain, pem: pki.CertificatesPEM(chain), valid: validity(chain), tokens: tokens}, nil
}

// Trust returns the service's public half: the chain that it signs with now, leaf
// first, and the full request URL that clients post to.
func (s *Service) Trust() trust.Authority {
	chain := s.state.Load().chain
	return trust.Authority{
		URI:    s.cfg.URL + timestampPath,
		Chain:  chain,
		Window: trust.Window{Start: chain[0].NotBefore},
	}
}

// issue checks q against the service's policy and returns a DER TimeStampResp
// that grants it.
func (s *Service) issue(ctx context.Context, q query) ([]byte, error) {
	if err := q.check(s.policy); err != nil {
		return nil, err
	}
	st := s.state.Load()
	at, err := s.clock.read(st.valid)
	if err != nil {
		return nil, err
	}
	serial, err := pki.NewSerial()
	if err != nil {
		return nil, err
	}
	der, err := st.tokens.response(q, serial, at)
	if err != nil {
		return nil, fmt.Errorf("make timestamp: %w", err)
	}
	s.cfg.Log.DebugContext(ctx, "timestamp issued", slog.Any("serial", serial), slog.Time("gen_time", at))
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
