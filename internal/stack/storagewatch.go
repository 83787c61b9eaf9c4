package stack

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// How often the database is asked whether it answers, and how long that may take.
const (
	databaseTick     = time.Second
	databasePatience = 3 * time.Second
)

// watchDatabase reports whether the database answers that the logs are in: without it
// they are down, until it is back.
func (s *Stack) watchDatabase() {
	if s.services.storage == nil || s.services.storage.database == nil {
		return
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sigstack_database_up",
		Help: "Whether the database answers (1) or not (0).",
	})
	s.metrics.MustRegister(gauge)
	w := &databaseWatch{ping: s.services.storage.database.ping, ready: s.ready, log: s.opts.Log, gauge: gauge}
	for _, name := range []string{"tlog", "ctlog"} {
		if slices.Contains(s.serviceNames(), name) {
			w.services = append(w.services, name)
		}
	}
	s.services.components = append(s.services.components, component{"database", w.run})
}

type databaseWatch struct {
	ping     func(context.Context) error
	services []string
	ready    *httpd.Readiness
	log      *slog.Logger
	gauge    prometheus.Gauge
	away     bool
}

func (w *databaseWatch) run(ctx context.Context) error {
	ticks := time.NewTicker(databaseTick)
	defer ticks.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// look asks once, and logs when the answer has changed.
func (w *databaseWatch) look(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, databasePatience)
	err := w.ping(ask)
	cancel()
	if ctx.Err() != nil {
		return
	}
	status, detail, up := httpd.OK, "the database answers", 1.0
	if err != nil {
		status, detail, up = httpd.Down, "the database does not answer", 0
	}
	for _, name := range w.services {
		w.ready.SetPart(name, "database", status, detail)
	}
	w.gauge.Set(up)
	switch away := err != nil; {
	case away && !w.away:
		w.log.ErrorContext(ctx, "database does not answer: entries are refused until it does", slog.Any("error", err))
	case !away && w.away:
		w.log.InfoContext(ctx, "database answers again")
	}
	w.away = err != nil
}

// ping asks each schema that is open for an answer.
func (d *database) ping(ctx context.Context) error {
	for _, store := range d.opened() {
		if err := store.Ping(ctx); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	return nil
}
