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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/audit"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/sct"
	"sigstack/services/ca/token"
)

// maxBody is the request limit of the contract's §2, in bytes.
const maxBody = 4 << 20

// Config configures New. Every field but Retired, Algorithms, CTReport and Limit is
// required.
type Config struct {
	// Chain, Signer, Issuers, Retired and Algorithms are the first Settings.
	Chain      []*x509.Certificate
	Signer     crypto.Signer
	Issuers    []identity.Issuer
	Retired    [][]*x509.Certificate
	Algorithms []string
	// CTLogs are asked in order for the SCT of a precertificate, until one gives a
	// good one. It promises that the log keeps the precertificate; the authority
	// itself keeps nothing. UseCTLogs replaces them.
	CTLogs []sct.Log
	// CTReport is told of a log that begins to fail, and with nil of one that is well
	// again.
	CTReport func(log string, err error)
	// Audit puts an event on record and returns once it is on disk. After an error
	// nothing is answered but that error. AuditReady is asked before anything is
	// signed, so that nothing is logged that cannot be recorded.
	Audit      func(context.Context, audit.Event) error
	AuditReady func(context.Context) error
	// IssuersAway is told now and then which issuers of tokens do not answer; nil:
	// nobody is told.
	IssuersAway func(urls []string)
	// Limit refuses a caller whose token was verified, by issuer and subject, before
	// anything else is done for it: fault.Limited, to come again later, or
	// fault.Unavailable where nobody can count. nil: nobody.
	Limit   func(ctx context.Context, issuer, subject string) error
	URL     string // base URL, without a final slash
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is the certificate authority. It is safe for concurrent use.
type Service struct {
	cfg     Config // but for what Settings has
	state   atomic.Pointer[state]
	scts    *sct.Pool
	metrics *metrics

	reloaded chan struct{} // something to fetch keys for; holds one
}

// New checks cfg; each refusal of the contract's §7 is an error.
func New(cfg Config) (*Service, error) {
	if u, err := url.Parse(cfg.URL); err != nil || u.Host == "" || cfg.URL[len(cfg.URL)-1] == '/' {
		return nil, fmt.Errorf("certificate authority: URL %q is not an absolute URL without final slash", cfg.URL)
	}
	if cfg.Audit == nil || cfg.AuditReady == nil {
		return nil, errors.New("certificate authority: no audit record is given, and nothing is issued without one")
	}
	s := &Service{cfg: cfg, reloaded: make(chan struct{}, 1)}
	first, err := s.newState(Settings{Chain: cfg.Chain, Signer: cfg.Signer, Issuers: cfg.Issuers, Retired: cfg.Retired, Algorithms: cfg.Algorithms})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	s.state.Store(first)
	s.cfg.Chain, s.cfg.Signer, s.cfg.Issuers, s.cfg.Retired = nil, nil, nil, nil // nobody shall use what is not in force any more
	s.scts, err = sct.New(sct.Config{Logs: cfg.CTLogs, Now: cfg.Now, Log: cfg.Log, Metrics: cfg.Metrics, Report: cfg.CTReport})
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	s.metrics = newMetrics(cfg.Metrics)
	return s, nil
}

// Settings are what can change while the authority serves.
type Settings struct {
	// Chain is ordered: issuing certificate first, self-signed root last.
	Chain []*x509.Certificate
	// Signer holds the key of Chain[0]: ECDSA or RSA, since clients refuse others.
	Signer crypto.Signer
	// Issuers whose tokens are good; at least one.
	Issuers []identity.Issuer
	// Retired chains are shown in the trust bundle and issue nothing.
	Retired [][]*x509.Certificate
	// Algorithms are names of Algorithms: those that keys may be proven by. None:
	// the default ones.
	Algorithms []string
}

// state is what one request sees from its beginning to its end, never changed once
// it is made: precertificate and certificate are of one key and one chain, however
// long the log takes in between (contract: ca.md §8).
type state struct {
	Settings

	tokens     *token.Verifier
	algorithms allowList
	leaves     *pki.LeafIssuer // of Chain[0] and Signer
	inMemory   bool            // Signer's private half is in this process

	chainDER [][]byte   // Chain, for the log
	chainPEM []string   // Chain, each ending in a newline
	bundle   [][]string // chainPEM, and behind it Retired likewise
}

// Reload makes later requests use set, and lets those under way end with what they
// began with. It checks what New does; on an error nothing has changed. Keys of
// issuers that stay are kept.
func (s *Service) Reload(set Settings) error {
	next, err := s.newState(set)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	s.state.Store(next)
	select {
	case s.reloaded <- struct{}{}:
	default: // one is noted already
	}
	return nil
}

// Check is Reload without its effect.
func (s *Service) Check(set Settings) error {
	if _, err := s.newState(set); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	return nil
}

// UseCTLogs makes later precertificates go to logs, in their order, and lets those
// under way end with the logs that they began with: gone is closed when they have.
// It checks what New does; on an error nothing has changed.
func (s *Service) UseCTLogs(logs []sct.Log) (gone <-chan struct{}, err error) {
	if gone, err = s.scts.Use(logs); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return gone, nil
}

// CheckCTLogs is UseCTLogs without its effect.
func (s *Service) CheckCTLogs(logs []sct.Log) error {
	if err := s.scts.Check(logs); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	return nil
}

// newState checks set; each refusal of the contract's §7 is an error.
func (s *Service) newState(set Settings) (*state, error) {
	if err := set.checkChain(s.cfg.Now()); err != nil {
		return nil, err
	}
	cfg := token.Config{Issuers: set.Issuers, Now: s.cfg.Now, Log: s.cfg.Log}
	if now := s.state.Load(); now != nil {
		cfg.Previous = now.tokens
	}
	tokens, err := token.New(cfg)
	if err != nil {
		return nil, err
	}
	algorithms, err := newAllowList(set.Algorithms)
	if err != nil {
		return nil, err
	}
	leaves, err := pki.NewLeafIssuer(set.Chain[0], set.Signer)
	if err != nil {
		return nil, err
	}
	next := &state{
		Settings: set, tokens: tokens, algorithms: algorithms, leaves: leaves, inMemory: inMemory(set.Signer),
		chainPEM: chainPEM(set.Chain),
	}
	for _, c := range set.Chain {
		next.chainDER = append(next.chainDER, c.Raw)
	}
	next.bundle = [][]string{next.chainPEM}
	for _, chain := range set.Retired {
		next.bundle = append(next.bundle, chainPEM(chain))
	}
	return next, nil
}

func chainPEM(chain []*x509.Certificate) (out []string) {
	for _, c := range chain {
		out = append(out, string(pki.CertificatesPEM([]*x509.Certificate{c})))
	}
	return out
}

func (set Settings) checkChain(now time.Time) error {
	if len(set.Chain) == 0 || set.Signer == nil {
		return errors.New("chain or signer is missing")
	}
	if err := pki.CheckIssuingChain(set.Chain, set.Signer.Public(), x509.ExtKeyUsageCodeSigning, now); err != nil {
		return err
	}
	for _, c := range set.Chain {
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
	g := mux.Group("ca", httpd.GRPCErrors).Metered(s.metrics.request)
	g.Handle(http.MethodPost, "/api/v2/signingCert", maxBody, s.createV2)
	g.Handle(http.MethodPost, "/api/v1/signingCert", maxBody, s.createV1)
	public := g.As(httpd.Public)
	public.Handle(http.MethodGet, "/api/v2/trustBundle", 0, s.trustBundle)
	public.Handle(http.MethodGet, "/api/v2/configuration", 0, s.configuration)
	public.Handle(http.MethodGet, "/api/v1/rootCert", 0, s.rootCert)
}

// lookEvery is how often issuers that do not answer are asked again, at most.
const lookEvery = time.Second

// Run fetches the keys of the token issuers, at first and after each reload, so
// that the first request need not wait for them, asks those again that do not
// answer, and returns nil when ctx ends. Requests are answered without it.
func (s *Service) Run(ctx context.Context) error {
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	s.state.Load().tokens.Warm(ctx)
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-looks.C:
		case <-s.reloaded:
			s.state.Load().tokens.Warm(ctx)
		}
	}
}

func (s *Service) look(ctx context.Context) {
	if away := s.state.Load().tokens.Away(ctx); s.cfg.IssuersAway != nil && ctx.Err() == nil {
		s.cfg.IssuersAway(away)
	}
}

// Trust returns the public half: what was issued from the start of the issuing
// certificate on is to be trusted.
func (s *Service) Trust() trust.Authority {
	chain := s.state.Load().Chain
	return trust.Authority{URI: s.cfg.URL, Chain: chain, Window: trust.Window{Start: chain[0].NotBefore}}
}

// metrics counts what the authority does, by the names of the contract's §12 where it
// has one.
type metrics struct {
	issued   prometheus.Counter
	log      prometheus.Histogram
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fulcio_new_certs",
			Help: "Certificates issued.",
		}),
		log: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sigstack_ca_log_seconds",
			Help:    "Time until a CT log gave a timestamp, failures included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // 0.5 ms to 4 s
		}),
	}
	of := []string{"code", "method"}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total",
		Help: "Requests to the certificate authority by HTTP, by status and method.",
	}, of)
	m.latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "fulcio_api_latency",
		Help: "Seconds to answer a request to the certificate authority by HTTP, by status and method.",
	}, of)
	reg.MustRegister(m.issued, m.log, m.requests, m.latency)
	return m
}

// request is a httpd.Meter.
func (m *metrics) request(_, method string, status int, took time.Duration) {
	code, method := strconv.Itoa(status), strings.ToLower(method)
	m.requests.WithLabelValues(code, method).Inc()
	m.latency.WithLabelValues(code, method).Observe(took.Seconds())
}
