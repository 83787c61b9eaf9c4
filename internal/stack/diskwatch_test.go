package stack

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// TestDiskIsWatched: a disk that fills up is told once, before it is full, and
// that it has space again is, too.
func TestDiskIsWatched(t *testing.T) {
	var logged bytes.Buffer
	var free uint64
	var failure error
	ready := httpd.NewReadiness("tlog")
	ready.Set("tlog", httpd.OK, "checked")
	w := &diskWatch{
		dir: "db", services: []string{"tlog"}, logs: true, least: 512 << 20, ready: ready,
		free: func(string) (uint64, error) { return free, failure },
		log:  slog.New(slog.NewTextHandler(&logged, nil)), gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "free"}),
	}
	for _, tt := range []struct {
		free   uint64
		err    error
		status httpd.Status
		detail string
		logged string // a piece of the one line; empty: nothing is logged
	}{
		{512 << 20, nil, httpd.OK, "checked", ""},
		{512<<20 - 1, nil, httpd.Warn, "only 511 MiB are free on the disk, want 512", "level=ERROR"},
		{100 << 20, nil, httpd.Warn, "only 100 MiB are free", ""},
		{64<<20 - 1, nil, httpd.Warn, "new entries are refused", ""},
		{512 << 20, nil, httpd.OK, "checked", "disk has space again"},
		{0, errors.New("no such disk"), httpd.Warn, "does not tell", "no such disk"},
	} {
		logged.Reset()
		free, failure = tt.free, tt.err
		w.look(context.Background())
		if got := ready.Report().Services["tlog"]; got.Status != tt.status || !strings.Contains(got.Detail, tt.detail) {
			t.Errorf("%d free: %+v, want %s: %s", tt.free, got, tt.status, tt.detail)
		}
		if lines := strings.Count(logged.String(), "\n"); (tt.logged != "") != (lines == 1) || !strings.Contains(logged.String(), tt.logged) {
			t.Errorf("%d free: logged %q, want one line with %q", tt.free, logged.String(), tt.logged)
		}
	}
}
