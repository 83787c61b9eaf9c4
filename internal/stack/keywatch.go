package stack

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
)

// How often the keys that live elsewhere are looked after.
const (
	keyTick   = time.Second // a failed signature is noticed, and tried again
	keyIdlest = 15          // ticks without a signature until one is made to see whether it can be
)

// keyWatch looks after one key that lives in a token or key service. Nobody has
// to restart anything when that was away and is back.
type keyWatch struct {
	key      keys.Key
	services []string // that need it
	ready    *httpd.Readiness
	log      *slog.Logger
	up       prometheus.Gauge
	inUse    func() bool // false once another key has taken its place

	signatures uint64 // when last looked
	idle       int    // ticks since then without another
	failing    bool
}

// watchKeys adds a watch for each key that lives elsewhere.
func (s *Stack) watchKeys() {
	for _, key := range s.services.allKeys() {
		if c, ok := s.watchKey(key); ok {
			s.services.components = append(s.services.components, c)
		}
	}
}

// watchKey returns the watch for a key, which it looks after from now on; not ok
// for one in a file.
func (s *Stack) watchKey(key keys.Key) (c component, ok bool) {
	if key.URI() == "" {
		return component{}, false
	}
	if s.keyUp == nil {
		s.keyUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sigstack_key_up",
			Help: "Whether a key in a token or key service could sign when last tried.",
		}, []string{"key"})
		s.metrics.MustRegister(s.keyUp)
	}
	w := &keyWatch{key: key, services: s.needing(key.Name), ready: s.ready, log: s.opts.Log, up: s.keyUp.WithLabelValues(key.Name)}
	w.inUse = func() bool { return s.services.hasKey(key.Name) }
	w.look(context.Background())
	return component{"key " + key.Name, w.run}, true
}

// needing returns the services whose sections name a key, the transparency log for
// those of its shards.
func (s *Stack) needing(name string) (services []string) {
	switch {
	case s.shards.has(name):
		return []string{"tlog"}
	case s.services.ctlog.hasKey(name):
		return []string{"ctlog"}
	case name == s.ca.key.Name:
		return []string{"ca"}
	case name == s.tsa.key.Name:
		return []string{"tsa"}
	}
	for _, k := range s.conf.Keys() {
		service, _, _ := strings.Cut(k.Field, ".")
		if k.Name == name && !k.Secret && !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	return services
}

func (w *keyWatch) run(ctx context.Context) error {
	ticks := time.NewTicker(keyTick)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			w.tick(ctx)
		}
	}
}

// tick makes a signature if the last one failed or nobody asked for one for a
// while: a key in use needs none of ours to be known to work.
func (w *keyWatch) tick(ctx context.Context) {
	if !w.inUse() {
		return
	}
	signatures, failure := w.key.Use()
	if signatures != w.signatures {
		w.signatures, w.idle = signatures, 0
	}
	w.idle++
	w.look(ctx) // before a try that may take its time
	if failure != nil || w.idle >= keyIdlest {
		_ = w.key.Test() // which the key remembers
		w.idle = 0
		w.look(ctx)
	}
}

// look reports how the last signature went, and logs when that has changed.
func (w *keyWatch) look(ctx context.Context) {
	_, failure := w.key.Use()
	status, detail := httpd.OK, "key "+w.key.Name+" signs"
	if failure != nil {
		status, detail = httpd.Down, "key "+w.key.Name+" is unavailable"
	}
	for _, service := range w.services {
		w.ready.SetPart(service, "key "+w.key.Name, status, detail)
	}
	w.up.Set(map[bool]float64{true: 1}[failure == nil])
	switch {
	case failure != nil && !w.failing:
		w.log.ErrorContext(ctx, "key is unavailable: signing with it is refused until it is back",
			slog.String("key", w.key.Name), slog.String("uri", w.key.URI()), slog.Any("error", failure))
	case failure == nil && w.failing:
		w.log.InfoContext(ctx, "key is back", slog.String("key", w.key.Name))
	}
	w.failing = failure != nil
}
