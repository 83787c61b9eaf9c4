// Package tuf serves the TUF repository and the client kit as plain files
// (contract: tsa-and-others.md §3) and keeps the repository's online roles
// fresh. What the files say is package trust's business, and signing them
// tufroot's.
package tuf

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Config configures New. Every field is required but Report, Leads
// and CheckEvery.
type Config struct {
	Repository *tufroot.Repository
	// Online are the keys that keep the repository fresh; its root must trust
	// them.
	Online tufroot.Online
	// KitDir is where WriteKit put the client kit.
	KitDir string
	// Report, if set, is told the service's health by Run, at least every CheckEvery.
	Report func(status httpd.Status, detail string)
	// Leads, if set, says whether this process is the one that keeps the repository
	// fresh; nil: it is.
	Leads func() bool
	// CheckEvery is how often the clock is looked at, which may be set at any time.
	// 0: every second.
	CheckEvery time.Duration
	// Now is the stack's clock.
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service serves files and refreshes metadata. It is safe for concurrent use.
type Service struct {
	cfg     Config // but for Online constant
	metrics *metrics
	stages  [2]trust.Stage // of root and targets when last logged; Run's

	mu           sync.Mutex // guards cfg.Online and what follows
	failingSince time.Time  // when the first of the refreshes failed that did since the last success; zero: none
}

// New checks that the root trusts the online keys and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Repository == nil || cfg.KitDir == "" || cfg.Now == nil || cfg.Log == nil || cfg.Metrics == nil {
		return nil, errors.New("tuf: repository, kit directory, clock, log and metrics are required")
	}
	if err := cfg.Repository.CheckOnline(cfg.Online); err != nil {
		return nil, fmt.Errorf("tuf: check online keys: %w", err)
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = checkEvery
	}
	return &Service{cfg: cfg, metrics: newMetrics(cfg)}, nil
}

// Status is the state of the repository.
type Status struct {
	Roles       []tufroot.RoleStatus // root, targets, snapshot, timestamp
	NextRefresh time.Time            // zero: at once
	Failing     bool                 // the last refresh failed and is tried again
}

// Status returns the present state.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{s.cfg.Repository.Status(), s.cfg.Repository.NextRefresh(), !s.failingSince.IsZero()}
}

// metrics are the service's own; status codes are the mux's.
type metrics struct {
	refreshes *prometheus.CounterVec
}

func newMetrics(cfg Config) *metrics {
	m := &metrics{refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sigstack_tuf_refreshes_total",
		Help: "Refreshes of snapshot or timestamp metadata, by result.",
	}, []string{"result"})}
	cfg.Metrics.MustRegister(m.refreshes)
	for i, r := range cfg.Repository.Status() {
		cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "sigstack_tuf_expiry_seconds",
			Help:        "Time until the metadata of a role expires; negative once it has.",
			ConstLabels: prometheus.Labels{"role": r.Role},
		}, func() float64 {
			return cfg.Repository.Status()[i].Expires.Sub(cfg.Now()).Seconds()
		}))
	}
	return m
}
