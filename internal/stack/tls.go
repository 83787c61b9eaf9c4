package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/internal/tlsconf"
	"sigstack/internal/trust"
)

// tlsName is what readiness calls the listeners' TLS.
const tlsName = "tls"

// hsts reports whether browsers shall know this host by TLS only. They would hold
// every other server on localhost to it too.
func (s *Stack) hsts() bool {
	return strings.HasPrefix(s.conf.URL, "https:") && s.conf.Host() != "localhost"
}

// wantTLS refuses a directory that contradicts the options.
func (s *Stack) wantTLS() error {
	switch want := s.opts.TLS; {
	case want == nil || *want == (s.conf.TLS != nil):
		return nil
	case *want:
		return fmt.Errorf("directory %s was made without TLS, and its URL %s is for ever: name another directory, or leave --tls out", s.opts.Dir, s.conf.URL)
	default:
		return fmt.Errorf("directory %s was made with TLS for %s: name another directory, or leave --tls=false out", s.opts.Dir, s.conf.URL)
	}
}

// buildTLS makes what the listeners show, if they speak TLS.
func (s *Stack) buildTLS() error {
	conf := s.conf.TLS
	if conf == nil {
		return nil
	}
	cfg := tlsconf.Config{
		Host: s.conf.Host(), MinVersion: tls.VersionTLS13, Report: s.reportTLS,
		NewAuthorities: s.republishAuthorities,
		Now:            s.opts.Now, Log: s.opts.Log, Metrics: s.metrics,
	}
	if conf.MinVersion == "1.2" {
		cfg.MinVersion = tls.VersionTLS12
	}
	if conf.ClientCA != "" {
		cfg.ClientCA = s.layout.path(conf.ClientCA)
	}
	if conf.Files != nil {
		cfg.Files = s.layout.tlsFiles(conf.Files)
	} else {
		authority, err := s.tlsAuthority(conf.InternalCA)
		if err != nil {
			return err
		}
		cfg.Authority = authority
	}
	var err error
	if s.tls, err = tlsconf.New(cfg); err != nil {
		return err
	}
	s.services.components = append(s.services.components, component{tlsName, s.tls.Run})
	return nil
}

func (s *Stack) tlsAuthority(conf *config.InternalCA) (*tlsconf.Authority, error) {
	key, err := s.key(conf.Key)
	if err != nil {
		return nil, err
	}
	chain, err := s.layout.chain(conf.Chain)
	if err != nil {
		return nil, err
	}
	return &tlsconf.Authority{Chain: chain, Signer: key}, nil
}

func (l Layout) tlsFiles(f *config.TLSFiles) *tlsconf.Files {
	out := &tlsconf.Files{Certificate: l.path(f.Certificate), Key: l.path(f.Key)}
	if f.Authorities != "" {
		out.Authorities = l.path(f.Authorities)
	}
	return out
}

func (s *Stack) reportTLS(h tlsconf.Health) {
	status := httpd.OK
	if !h.OK {
		status = httpd.Warn
	}
	s.ready.Set(tlsName, status, h.Detail)
}

// republishAuthorities puts what clients need to trust into the kit, where this
// process serves one: of all its files that one alone depends on it.
func (s *Stack) republishAuthorities(authorities []*x509.Certificate) {
	if s.conf.TUF == nil {
		return
	}
	path := filepath.Join(s.layout.Client(), trust.TLSPEMName)
	if err := durable.WriteFile(path, pki.CertificatesPEM(authorities), 0o644); err != nil {
		s.opts.Log.Error("the client kit still has the authorities of before: make room or mend what fails, and start the stack anew", slog.Any("error", err))
		return
	}
	s.opts.Log.Info("the client kit has new authorities of tls: clients that use it need it again")
}

// reloadTLS reads certificate files now, or renews the certificate.
func (s *Stack) reloadTLS(ctx context.Context) error {
	if s.tls == nil {
		return nil
	}
	return s.tls.Reload(ctx)
}

// TLSAuthorities are what clients need to trust to reach a stack of conf by TLS,
// nil if it has none of its own: their systems know the authority then.
func (l Layout) TLSAuthorities(conf *config.Config) ([]*x509.Certificate, error) {
	switch t := conf.TLS; {
	case t != nil && t.InternalCA != nil:
		chain, err := l.chain(t.InternalCA.Chain)
		if err != nil {
			return nil, err
		}
		return chain[len(chain)-1:], nil
	case t != nil && t.Files.Authorities != "":
		return tlsconf.ReadCertificates(l.path(t.Files.Authorities))
	default:
		return nil, nil
	}
}

// selfClient reaches the stack's own listener whatever host a request names, and
// verifies its certificate as a client with the kit would.
func (s *Stack) selfClient() *http.Client {
	if s.tls == nil {
		return &http.Client{Transport: toSelf{&http.Transport{DialContext: s.dialSelf}}}
	}
	roots := x509.NewCertPool()
	trusted := s.tls.Authorities()
	if trusted == nil {
		trusted = s.tls.Chain() // who trusts it is for clients' systems to say
	}
	for _, c := range trusted {
		roots.AddCert(c)
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:       s.dialSelf,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, Time: s.opts.Now, MinVersion: tls.VersionTLS12},
	}}
}

// checkTLS asks the own listener for a sign of life.
func (s *Stack) checkTLS(ctx context.Context) error {
	if s.tls == nil {
		return nil
	}
	client := s.selfClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.conf.URL+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask own listener: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask own listener: %w", err)
	}
	return resp.Body.Close()
}
