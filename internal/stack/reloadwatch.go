package stack

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/config"
	"sigstack/internal/filewatch"
	"sigstack/internal/httpd"
	"sigstack/internal/tlsconf"
)

// byFiles is who reloads when files have changed.
const byFiles = "change of files"

// reloadName is what readiness calls the reload of files.
const reloadName = "reload"

// ReloadStatus is how the last reload ended.
type ReloadStatus struct {
	At           time.Time `json:"at"`
	By           string    `json:"by"`
	OK           bool      `json:"ok"`
	Error        string    `json:"error,omitempty"`
	Changed      []string  `json:"changed"`
	NeedsRestart []string  `json:"needs_restart"`
	Waiting      []string  `json:"waiting"`
}

// reloads is what is known of reloads.
type reloads struct {
	mu    sync.Mutex     // held while reloading; guards all below but last
	files *filewatch.Set // what a reload reads
	conf  *config.Config // in force, as far as a reload changes it
	took  Reloaded       // by the last one that files took
	until time.Time      // when the next chain of config.yaml that waits may be used; zero: none does
	tried string         // why the last look took nothing

	lastMu sync.Mutex
	last   *ReloadStatus // guarded by lastMu; nil: none yet

	ready  *httpd.Readiness
	ok, at prometheus.Gauge
}

// noteFiles notes what is in the files that a reload would read. It is called before
// any of them is read.
func (s *Stack) noteFiles() {
	s.reloads.files = &filewatch.Set{Paths: s.reloadedFiles, Take: s.takeFiles}
	s.reloads.files.Note()
}

// prepareReloads makes what tells of reloads.
func (s *Stack) prepareReloads() {
	r := &s.reloads
	r.conf, r.ready = s.conf, s.ready
	r.ok = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sigstack_reload_ok",
		Help: "Whether the last reload took what it found; 1 before the first.",
	})
	r.at = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sigstack_reload_time_seconds",
		Help: "When the last reload was tried, in seconds since 1970; 0 before the first.",
	})
	s.metrics.MustRegister(r.ok, r.at)
	r.ok.Set(1)
}

// reloadedFiles are config.yaml and those files that it names and a reload reads.
// Those of TLS are looked after by tlsconf.
func (s *Stack) reloadedFiles() []string {
	paths := []string{s.layout.Config()}
	f, err := config.ReadFile(s.layout.Config())
	if err != nil || !f.Understood() || f.Err() != nil {
		return paths
	}
	c := &config.Config{CA: f.Config.CA, TSA: f.Config.TSA, CTLog: f.Config.CTLog, Access: f.Config.Access}
	sh := &share{conf: c}
	sh.take()
	for _, path := range sh.files {
		if path != "" {
			paths = append(paths, s.layout.path(path))
		}
	}
	for _, of := range []Authority{CA, TSA} {
		_, key, ok := of.settings(c)
		for _, suffix := range []string{".key", ".ref"} {
			path := filepath.Join(s.layout.Keys(), key+suffix)
			if found, err := exists(path); ok && found && err == nil {
				paths = append(paths, path)
			}
		}
	}
	return slices.Compact(paths)
}

// runReloads reloads when files have changed, or a chain's time has come, until ctx
// ends. What was refused is tried again, because time may mend it, and told once.
func (s *Stack) runReloads(ctx context.Context) error {
	ticks := time.NewTicker(tlsconf.DefaultInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			s.lookAtFiles(ctx)
		}
	}
}

func (s *Stack) lookAtFiles(ctx context.Context) {
	switch {
	case !s.mayReload():
	case s.follows():
		s.stale.Store(true) // a reload is the leader's: this one is opened anew
	default:
		_, _ = s.reloadFor(ctx, byFiles) // it is noted, recorded and logged
	}
}

// mayReload reports whether there is something to take, or something new to say of
// why it is not taken.
func (s *Stack) mayReload() bool {
	r := &s.reloads
	r.mu.Lock()
	defer r.mu.Unlock()
	due := !r.until.IsZero() && !s.opts.Now().Before(r.until)
	if !r.files.Waiting() && !due {
		if r.files.Err() == nil && r.tried != "" { // what was refused is not there any more
			r.tried = ""
			r.ready.Set(reloadName, httpd.OK, "files are as they were taken")
		}
		return false
	}
	reason := ""
	if _, err := s.planReload(); err != nil {
		reason = err.Error()
	}
	news := reason == "" || reason != r.tried
	r.tried = reason
	return news
}

// note keeps how a reload ended.
func (r *reloads) note(st ReloadStatus, err error) {
	ok, status, detail := 1.0, httpd.OK, "the last reload took what it found"
	if len(st.Waiting) > 0 {
		detail += " but what has to wait: " + strings.Join(st.Waiting, "; ")
	}
	if err != nil {
		st.Error = err.Error()
		ok, status, detail = 0, httpd.Warn, "the last reload was refused, and everything goes on as it was: sigstack status has the reason"
	}
	if err != nil {
		r.tried = st.Error
	} else {
		r.tried = ""
	}
	r.ok.Set(ok)
	r.at.Set(float64(st.At.Unix()))
	r.ready.Set(reloadName, status, detail)
	r.lastMu.Lock()
	defer r.lastMu.Unlock()
	r.last = &st
}

// status is how the last reload ended, nil before the first.
func (r *reloads) status() *ReloadStatus {
	r.lastMu.Lock()
	defer r.lastMu.Unlock()
	return r.last
}
