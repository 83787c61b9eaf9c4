// Package oidc is the stack's OpenID Connect issuer: Dex as a library, below the
// path of the issuer URL, with storage and signing keys of its own (OpenID
// Connect Core 1.0, RFC 6749, RFC 7636, RFC 8628). What a token is good for is
// left to the CA, and asking for one to clients.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/trust"
	"sigstack/services/oidc/attempts"
	"sigstack/services/oidc/dexstore"
	"sigstack/services/oidc/record"
)

// metricsPrefix keeps Dex's metrics, such as http_requests_total, apart.
const metricsPrefix = "sigstack_oidc_"

// Service is a running issuer. It must be closed.
type Service struct {
	cfg     Config
	issuer  *url.URL
	store   *dexstore.Store
	handler http.Handler
	pages   *pages
	stop    func() // ends Dex's goroutines
	unmeter func() // takes its metrics back
}

// New checks cfg, opens the storage and starts the issuer: its first signing key
// is made if there is none, and connectors are opened, for which it may ask the
// network. Canceling ctx afterwards does not stop it; Close does.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := TryConnectors(cfg.Issuer, cfg.Connectors); err != nil {
		return nil, err
	}
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("parse issuer: %w", err)
	}
	store, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, issuer: issuer, store: store, unmeter: func() {}}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openStore opens where cfg says that things are kept.
func openStore(ctx context.Context, cfg Config) (*dexstore.Store, error) {
	opts := dexstore.Options{Log: cfg.Log, Secret: cfg.Secret}
	if d := cfg.Database; d != nil {
		return dexstore.OpenShared(ctx, dexstore.Database(*d), opts)
	}
	return dexstore.Open(cfg.Dir, opts)
}

func (s *Service) start(ctx context.Context) error {
	metrics := prometheus.NewRegistry() // of this server alone, so that two can run in one process
	rec := &record.Recorder{Issuer: s.cfg.Issuer, Path: s.issuer.Path, Local: localConnector, Record: s.cfg.Audit, Requests: s.store, Accounts: map[string]string{}}
	for _, u := range s.cfg.Users {
		rec.Accounts[strings.ToLower(u.Email)] = u.Email
	}
	dex, err := newDex(ctx, s.cfg, s.issuer, s.store, rec, metrics)
	if err != nil {
		return fmt.Errorf("start dex: %w", err)
	}
	// Dex only logs when its first key cannot be stored.
	if _, err := s.store.GetKeys(ctx); err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	pages, err := newPages(s.issuer, s.cfg)
	if err != nil {
		return err
	}
	if err := pages.addDiscovery(ctx, s.cfg.Issuer, dex); err != nil {
		return err
	}
	s.pages = pages
	e := edge{
		dex: s.guard(pages).Wrap(rec.Handler(dex)), pages: pages, path: s.issuer.Path, log: s.cfg.Log,
		exchanges: map[string]Exchange{}, requests: s.store, auditReady: s.cfg.AuditReady, storeReady: s.Check,
	}
	for _, c := range s.cfg.Connectors {
		if c.Exchange != nil {
			e.exchanges[c.ID] = *c.Exchange
		}
	}
	s.handler = e
	return s.meter(metrics)
}

// guard limits failed logins.
func (s *Service) guard(p *pages) *attempts.Guard {
	hashes := map[string][]byte{}
	for _, u := range s.cfg.Users {
		hashes[strings.ToLower(u.Email)] = u.PasswordHash
	}
	return &attempts.Guard{
		Limiter: attempts.NewLimiter(s.cfg.Logins, s.cfg.Attempts, s.cfg.Now),
		Path:    s.issuer.Path, Local: localConnector, Hashes: hashes, Refuse: p.limited,
		Away: func(w http.ResponseWriter, r *http.Request, err error) {
			s.cfg.Log.ErrorContext(r.Context(), "logins of the replicas cannot be counted", slog.Any("error", err))
			unavailable(w)
		},
	}
}

// meter offers Dex's metrics, if anybody asked for them.
func (s *Service) meter(metrics *prometheus.Registry) error {
	if s.cfg.Metrics == nil {
		return nil
	}
	prefixed := prometheus.WrapRegistererWithPrefix(metricsPrefix, s.cfg.Metrics)
	if err := prefixed.Register(metrics); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	s.unmeter = func() { prefixed.Unregister(metrics) }
	return nil
}

// Mount serves every endpoint below the issuer's path, and a page at it.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("oidc", httpd.RESTErrors).Paged(s.pages.refused)
	g.As(httpd.Public).HandleForeign(http.MethodGet, s.issuer.Path, 0, s.handler)
	g.As(httpd.Login).Open(s.onlyReads).HandleTree([]string{http.MethodGet, http.MethodPost}, s.issuer.Path+"/", maxBody, s.handler)
}

// onlyReads reports whether a request neither tries a credential nor begins or
// goes on with a login, which is stored: discovery, keys, pages.
func (s *Service) onlyReads(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, s.issuer.Path+"/"), "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return reads && !slices.Contains([]string{"auth", "callback", "approval", "device"}, first)
}

// Check reports whether the issuer can answer, for readiness.
func (s *Service) Check(ctx context.Context) error { return s.store.Check(ctx) }

// Close stops the issuer. Requests must have ended; what Dex still has under way
// ends before the storage closes, and later work of it fails there.
func (s *Service) Close() error {
	s.stop()
	s.unmeter()
	return s.store.Close()
}

// Trust returns the issuer as clients are told of it.
func (s *Service) Trust() trust.Service {
	return trust.Service{URL: s.cfg.Issuer, APIVersion: 1, Window: trust.Window{Start: s.cfg.Since}}
}
