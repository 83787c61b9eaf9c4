package tlsconf

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Health says whether an operator has to look after TLS, in words for everybody.
type Health struct {
	OK     bool
	Detail string
}

// What can go wrong while a server runs; the words are for everybody, the log has
// the rest.
const (
	pairProblem    = "changed certificate files were not taken"
	renewalProblem = "certificate was not renewed"
	clientsProblem = "changed client authorities were not taken"
)

// note records under kind that err is wrong, or nothing, and logs it when it is
// new.
func (s *Source) note(ctx context.Context, kind string, err error) {
	if err == nil {
		delete(s.problems, kind)
		return
	}
	if text := err.Error(); s.problems[kind] != text {
		s.problems[kind] = text
		s.cfg.Log.WarnContext(ctx, "tls goes on with what it has", slog.String("because", kind), slog.Any("error", err))
	}
}

// stage is how near a certificate's end is.
type stage int

const (
	fresh   stage = iota
	ageing        // a third of its life is left, by when renewal should have come
	ending        // a tenth
	expired       // nothing
)

func stageOf(c *x509.Certificate, now time.Time) stage {
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
	switch {
	case left < 0:
		return expired
	case left < life/10:
		return ending
	case left < life/3:
		return ageing
	default:
		return fresh
	}
}

// expiring is the certificate that somebody has to renew: the operator's, or the
// internal authority's, whose own certificates are renewed here.
func (s *Source) expiring() (what string, c *x509.Certificate) {
	if s.cfg.Authority != nil {
		return "internal authority", s.cfg.Authority.Chain[0]
	}
	return "certificate", s.identity.chain[0]
}

// rate finds out how things are, and says so where that is new. It is called with
// mu held, or by New.
func (s *Source) rate(ctx context.Context) {
	now := s.cfg.Now()
	what, c := s.expiring()
	was := s.stage
	if s.stage = stageOf(c, now); s.stage > was {
		s.cfg.Log.WarnContext(ctx, "tls certificate nears its end", slog.String("which", what),
			slog.Time("not_after", c.NotAfter), slog.Bool("expired", s.stage == expired))
	}
	h := s.judge(what, c)
	if h == s.health {
		return
	}
	s.health = h
	if s.cfg.Report != nil {
		s.cfg.Report(h)
	}
}

func (s *Source) judge(what string, c *x509.Certificate) Health {
	switch s.stage {
	case expired:
		return Health{false, what + " expired at " + stamp(c.NotAfter)}
	case ending:
		return Health{false, what + " ends at " + stamp(c.NotAfter)}
	}
	for _, kind := range []string{pairProblem, renewalProblem, clientsProblem} {
		if s.problems[kind] != "" {
			return Health{false, kind + ", the log says why"}
		}
	}
	return Health{true, "certificate until " + stamp(s.identity.chain[0].NotAfter)}
}

// Health says how things are.
func (s *Source) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// register adds how long certificates are good for to the metrics.
func (s *Source) register() {
	gauge := func(which string, c func() *x509.Certificate) {
		s.cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "sigstack_tls_expiry_seconds",
			Help:        "Time until a certificate of the listeners expires; negative once it has.",
			ConstLabels: prometheus.Labels{"certificate": which},
		}, func() float64 { return c().NotAfter.Sub(s.cfg.Now()).Seconds() }))
	}
	gauge("server", func() *x509.Certificate { return s.Chain()[0] })
	if a := s.cfg.Authority; a != nil {
		gauge("authority", func() *x509.Certificate { return a.Chain[0] })
	}
}
