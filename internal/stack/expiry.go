package stack

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/trust"
)

// lookEvery is how often the ends of certificates are held against the clock, unless
// Options says otherwise.
const lookEvery = time.Second

// ending is something that ends.
type ending struct {
	service, what string
	at            time.Time
	life          time.Duration
	warning       string // set where its service rates it
}

// endings are those of certificates and metadata.
func (s *Stack) endings() []ending {
	var out []ending
	if s.services.ca != nil {
		out = append(out, endingsOf("ca", s.services.ca.Trust().Chain)...)
	}
	if s.services.tsa != nil {
		out = append(out, endingsOf("tsa", s.services.tsa.Trust().Chain)...)
	}
	if s.tls != nil {
		leaf := s.tls.Chain()[0]
		out = append(out, ending{service: "tls", what: "tls certificate", at: leaf.NotAfter, life: leaf.NotAfter.Sub(leaf.NotBefore)})
	}
	if s.services.tuf != nil {
		for _, r := range s.services.tuf.Countdown() {
			out = append(out, ending{service: "tuf", what: "tuf " + r.Role, at: r.Expires, life: r.Life, warning: r.Warning})
		}
	}
	return out
}

func endingsOf(service string, chain []*x509.Certificate) []ending {
	out := make([]ending, 0, len(chain))
	for _, c := range chain {
		out = append(out, ending{
			service: service, what: service + " certificate " + c.Subject.CommonName,
			at: c.NotAfter, life: c.NotAfter.Sub(c.NotBefore),
		})
	}
	return out
}

// expiryStatuses are the endings, the soonest first.
func (s *Stack) expiryStatuses(now time.Time) []ExpiryStatus {
	out := []ExpiryStatus{}
	for _, e := range s.endings() {
		left := e.at.Sub(now)
		// Rounded down, so that what ended this morning has -1 day left.
		days := int64(left / (24 * time.Hour))
		if left < 0 {
			days--
		}
		warning := e.warning
		if e.service == "ca" || e.service == "tsa" {
			warning = e.certificateWarning(now)
		}
		out = append(out, ExpiryStatus{
			What: e.what, At: e.at.UTC(), Days: days, Seconds: int64(left / time.Second),
			Stage: trust.StageOf(e.life, left).String(), Warning: warning,
		})
	}
	slices.SortFunc(out, func(a, b ExpiryStatus) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.What, b.What))
	})
	return out
}

// certificateWarning is for a certificate that is to be exchanged by rotation, in the
// last tenth of its life; empty before. Its third is years.
func (e ending) certificateWarning(now time.Time) string {
	left := e.at.Sub(now)
	switch trust.StageOf(e.life, left) {
	case trust.Expired:
		return fmt.Sprintf("%s EXPIRED at %s", e.what, e.at.UTC().Format(time.RFC3339))
	case trust.Ending:
		return fmt.Sprintf("%s ends at %s, in %d days: rotate it", e.what, e.at.UTC().Format(time.RFC3339), left/(24*time.Hour))
	default:
		return ""
	}
}

// watchExpiry adds the countdown of the chains that services sign under to readiness
// and metrics. Metadata and the listeners' certificates are counted down by their own.
func (s *Stack) watchExpiry() {
	s.metrics.MustRegister(chainExpiry{s})
	s.services.components = append(s.services.components, component{"expiry", s.runExpiry})
}

func (s *Stack) runExpiry(ctx context.Context) error {
	ticks := time.NewTicker(cmp.Or(s.opts.CheckEvery, lookEvery))
	defer ticks.Stop()
	said := map[string]string{}
	for {
		s.lookAtChains(ctx, said)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// lookAtChains reports each service's most urgent certificate, and logs what is new.
func (s *Stack) lookAtChains(ctx context.Context, said map[string]string) {
	soonest := map[string]ending{}
	for _, e := range s.endings() {
		if e.service != "ca" && e.service != "tsa" {
			continue
		}
		if known, ok := soonest[e.service]; !ok || e.at.Before(known.at) {
			soonest[e.service] = e
		}
	}
	now := s.opts.Now()
	for service, e := range soonest {
		warning := e.certificateWarning(now)
		status, detail := httpd.OK, e.what+" until "+e.at.UTC().Format(time.RFC3339)
		if warning != "" {
			status, detail = httpd.Warn, warning
		}
		s.ready.SetPart(service, "certificates", status, detail)
		stage := e.what + trust.StageOf(e.life, e.at.Sub(now)).String()
		if warning != "" && said[service] != stage {
			s.opts.Log.WarnContext(ctx, "certificate nears its end", slog.String("service", service),
				slog.String("problem", warning), slog.Time("not_after", e.at))
		}
		said[service] = stage
	}
}

// chainExpiry tells metrics of the certificates that are in use when they are asked.
type chainExpiry struct{ s *Stack }

var chainExpiryDesc = prometheus.NewDesc("sigstack_certificate_expiry_seconds",
	"Time until a certificate of a service's chain expires; negative once it has.", []string{"service", "certificate"}, nil)

// Describe implements prometheus.Collector.
func (chainExpiry) Describe(out chan<- *prometheus.Desc) { out <- chainExpiryDesc }

// Collect implements prometheus.Collector. Of certificates of one name the one that
// ends first is told.
func (c chainExpiry) Collect(out chan<- prometheus.Metric) {
	now := c.s.opts.Now()
	first := map[[2]string]time.Time{}
	for _, e := range c.s.endings() {
		if e.service != "ca" && e.service != "tsa" {
			continue
		}
		name := [2]string{e.service, e.what[len(e.service+" certificate "):]}
		if at, ok := first[name]; !ok || e.at.Before(at) {
			first[name] = e.at
		}
	}
	for name, at := range first {
		out <- prometheus.MustNewConstMetric(chainExpiryDesc, prometheus.GaugeValue, at.Sub(now).Seconds(), name[0], name[1])
	}
}
