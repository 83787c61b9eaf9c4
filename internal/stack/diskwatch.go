package stack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/merkle/pebblelog"
)

// diskTick is how often the disks are looked at.
const diskTick = time.Second

// diskWatch warns before the disk is full on which services keep what they write.
type diskWatch struct {
	dir      string
	services []string
	logs     bool   // the logs' entries are there: they are refused below pebblelog.LeastFree
	least    uint64 // below it is warned, in bytes
	free     func(dir string) (uint64, error)

	ready *httpd.Readiness
	log   *slog.Logger
	gauge prometheus.Gauge
	low   bool
}

// watchDisks adds a watch for each place that services write to.
func (s *Stack) watchDisks() {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sigstack_disk_free_bytes",
		Help: "Free space where services keep what they write.",
	}, []string{"place"})
	s.metrics.MustRegister(gauge)
	for _, w := range []struct {
		place, dir string
		services   []string
	}{
		{"log", s.layout.LogDB(), []string{"tlog", "ctlog"}},
		{"oidc", s.layout.OIDCDB(), []string{"oidc"}},
		{"tuf", s.layout.TUF(), []string{"tuf"}},
		{"audit", s.layout.Audit(), []string{auditService}},
	} {
		here := slices.DeleteFunc(w.services, func(name string) bool {
			return name != auditService && !slices.Contains(s.serviceNames(), name)
		})
		if len(here) == 0 || w.place == "log" && s.conf.Database != nil || w.place == "oidc" && s.opts.member != nil {
			continue // nobody writes there: the database has it
		}
		watch := &diskWatch{
			dir: w.dir, services: here, logs: w.place == "log", least: uint64(s.conf.Limits.FreeDisk), free: freeSpace,
			ready: s.ready, log: s.opts.Log, gauge: gauge.WithLabelValues(w.place),
		}
		s.services.components = append(s.services.components, component{"disk of " + w.place, watch.run})
	}
}

func (w *diskWatch) run(ctx context.Context) error {
	ticks := time.NewTicker(diskTick)
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

// look reports how much is free, and logs when that has become too little, or
// enough again. The services still answer, so they are never called down for it.
func (w *diskWatch) look(ctx context.Context) {
	free, err := w.free(w.dir)
	status, detail, low := httpd.OK, "enough space on the disk", false
	switch {
	case err != nil:
		status, detail, low = httpd.Warn, "the disk does not tell how much is free on it", true
	case w.logs && free < pebblelog.LeastFree:
		status, low = httpd.Warn, true
		detail = fmt.Sprintf("the disk is full, with %d MiB free: new entries are refused until there is space", free>>20)
	case free < w.least:
		status, low = httpd.Warn, true
		detail = fmt.Sprintf("only %d MiB are free on the disk, want %d (limits.free_disk)", free>>20, w.least>>20)
	}
	for _, name := range w.services {
		w.ready.SetPart(name, "disk", status, detail)
	}
	w.gauge.Set(float64(free))
	switch {
	case low && !w.low:
		w.log.ErrorContext(ctx, "disk is filling up: make space", slog.String("dir", w.dir), slog.String("problem", detail), slog.Any("error", err))
	case !low && w.low:
		w.log.InfoContext(ctx, "disk has space again", slog.String("dir", w.dir))
	}
	w.low = low
}

// freeSpace is what is free where dir is, in bytes.
func freeSpace(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
