package stack

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/pgdb"
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
	db := s.services.storage.database
	w := &databaseWatch{asked: pinger{url: db.url, schema: db.conf.Prefix()}, ready: s.ready, log: s.opts.Log, gauge: gauge}
	for _, name := range []string{"tlog", "ctlog"} {
		if slices.Contains(s.serviceNames(), name) {
			w.services = append(w.services, name)
		}
	}
	s.services.components = append(s.services.components, component{"database", w.run})
}

type databaseWatch struct {
	asked    pinger
	services []string
	ready    *httpd.Readiness
	log      *slog.Logger
	gauge    prometheus.Gauge
	away     bool
}

func (w *databaseWatch) run(ctx context.Context) error {
	ticks := time.NewTicker(databaseTick)
	defer ticks.Stop()
	defer func() { w.asked.close(ctx) }()
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
	err := w.asked.ping(ask)
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

// pinger asks a database for an answer, on a connection of its own: those of the logs
// may all be in use when there is much to read. It is for one goroutine.
type pinger struct {
	url, schema string
	conn        *pgx.Conn // nil: none is open
}

// ping asks, and connects again where the connection is broken.
func (p *pinger) ping(ctx context.Context) error {
	if p.conn != nil {
		if p.conn.Ping(ctx) == nil {
			return nil
		}
		p.close(ctx)
	}
	config, err := pgdb.Config(p.url, p.schema)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	p.conn = conn
	return nil
}

// close ends the connection, if there is one.
func (p *pinger) close(ctx context.Context) {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // broken or not, it is gone
	p.conn = nil
}
