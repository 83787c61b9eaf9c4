// Package tlsconf owns what a server shows in TLS handshakes: a certificate from
// files, read again when they change, or from an internal authority, renewed in
// time; and the authorities of client certificates. Versions and suites follow
// RFC 9325; listeners, routes and what a client certificate allows are others'.
package tlsconf

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/filewatch"
)

// DefaultInterval is how often files and expiry are looked at.
const DefaultInterval = 2 * time.Second

// Config configures New. Exactly one of Files and Authority is set.
type Config struct {
	Files     *Files
	Authority *Authority
	// Host is what clients ask for: a name or an IP address. A certificate that is
	// not valid for it is not taken.
	Host string
	// MinVersion is tls.VersionTLS13 or tls.VersionTLS12.
	MinVersion uint16
	// ClientCA, if set, is a PEM file of authorities. A client may show a
	// certificate then, and one that none of them has issued ends the handshake.
	ClientCA string
	// Interval between two looks. A file that changed is taken when two looks in
	// a row saw the same content. 0: DefaultInterval.
	Interval time.Duration
	// Report, if set, is told of each change of Health, by New too.
	Report func(Health)
	// NewAuthorities, if set, is told of what clients need to trust when Files has
	// other authorities than before; not by New.
	NewAuthorities func([]*x509.Certificate)
	Now            func() time.Time
	Log            *slog.Logger
	Metrics        prometheus.Registerer
}

// Files are an operator's PEM files.
type Files struct {
	// Certificate: the leaf first, then what leads to its root. Key may be the
	// same file.
	Certificate, Key string
	// Authorities, if set, is what clients are told to trust: a certificate that
	// does not lead there is not taken.
	Authorities string
}

// Authority issues certificates whose keys never leave this process's memory.
type Authority struct {
	// Chain: the issuing certificate first, its root last.
	Chain []*x509.Certificate
	// Signer is the issuing certificate's key.
	Signer crypto.Signer
}

// Source is the current answer to a handshake. It is safe for concurrent use.
type Source struct {
	cfg     Config
	current atomic.Pointer[tls.Config]  // never nil after New, never changed once stored
	judging atomic.Pointer[authorities] // whose clients count; nil without ClientCA, never changed once stored

	mu       sync.Mutex // held while looking; guards all below
	identity identity
	issuers  *authorities        // of clients; nil without ClientCA
	pair     *filewatch.Set      // nil with Authority
	clients  *filewatch.Set      // nil without ClientCA
	told     []*x509.Certificate // what clients are told to trust
	problems map[string]string   // by kind: see note
	stage    stage               // of what expires
	health   Health
}

// identity is what the server shows, and what it is certified by.
type identity struct {
	chain       []*x509.Certificate // leaf first
	key         crypto.Signer
	authorities []*x509.Certificate // nil if files name none
}

// New reads or issues the first certificate. The error says what is wrong with
// the files or the authority.
func New(cfg Config) (*Source, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	s := &Source{cfg: cfg, problems: map[string]string{}}
	if f := cfg.Files; f != nil {
		s.pair = f.watch(s.takePair)
		if err := s.pair.Now(); err != nil {
			return nil, fmt.Errorf("certificate files: %w", err)
		}
	} else if err := s.issue(); err != nil {
		return nil, err
	}
	if cfg.ClientCA != "" {
		s.clients = &filewatch.Set{Paths: func() []string { return []string{cfg.ClientCA} }, Take: s.takeClients}
		if err := s.clients.Now(); err != nil {
			return nil, fmt.Errorf("authorities of clients: %w", err)
		}
	}
	s.publish()
	s.told = s.identity.authorities
	s.rate(context.Background())
	s.register()
	return s, nil
}

func (cfg Config) check() error {
	switch {
	case (cfg.Files == nil) == (cfg.Authority == nil):
		return errors.New("tls: want either files or an internal authority")
	case cfg.MinVersion != tls.VersionTLS12 && cfg.MinVersion != tls.VersionTLS13:
		return fmt.Errorf("tls: version %s is not offered: want TLS 1.3 or 1.2", tls.VersionName(cfg.MinVersion))
	case cfg.Host == "" || cfg.Now == nil || cfg.Log == nil || cfg.Metrics == nil:
		return errors.New("tls: host, clock, log and metrics are required")
	}
	return nil
}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption
// (RFC 9325 §4.2). Those of TLS 1.3 cannot be chosen, nor need they be.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ServerConfig returns a configuration that asks the Source at each handshake.
func (s *Source) ServerConfig() *tls.Config {
	c := s.parameters()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil }
	return c
}

// parameters are those of every handshake. Sessions are not resumed: a ticket
// would outlive the certificate and the client's authority, and its key forward
// secrecy.
func (s *Source) parameters() *tls.Config {
	return &tls.Config{
		MinVersion:             s.cfg.MinVersion, // check allows 1.2 and 1.3 only
		CipherSuites:           suites,
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
		Time:                   s.cfg.Now,
	}
}

// publish makes identity and issuers the answer to later handshakes.
func (s *Source) publish() {
	c := s.parameters()
	c.Certificates = []tls.Certificate{s.identity.certificate()}
	if s.issuers != nil {
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, s.issuers.pool
	}
	s.judging.Store(s.issuers)
	s.current.Store(c)
}

// Authorities are what clients need to trust, nil if files name none.
func (s *Source) Authorities() []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.authorities
}

// Chain is what the server shows now, leaf first.
func (s *Source) Chain() []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.chain
}

// certificate returns id in the form of crypto/tls.
func (id identity) certificate() tls.Certificate {
	c := tls.Certificate{Leaf: id.chain[0], PrivateKey: id.key}
	for _, cert := range id.chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}
