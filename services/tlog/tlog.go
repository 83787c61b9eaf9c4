// Package tlog is the transparency log of signatures: it appends canonical
// entries to a Merkle tree and signs what clients need to believe that they are
// there (contract: rekor-v1.md §3-§5). Which entries are admitted is entry's
// part, the spelling of answers that of the APIs, rekorv1 for one.
package tlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
)

// Tree is the append-only tree under the log; *merkle.Tree is one. It is safe
// for concurrent use. What Add returned is durable and readable. Head never goes
// back; Newest is the head even where other processes write. Absence is fault.NotFound.
type Tree interface {
	ID() int64
	Head() merkle.Head
	Newest(ctx context.Context) (merkle.Head, error)
	Add(ctx context.Context, leaf merkle.Leaf) (merkle.Added, error)
	Entry(ctx context.Context, index uint64) (merkle.Entry, error)
	EntryByHash(ctx context.Context, leafHash [32]byte) (merkle.Entry, error)
	Inclusion(ctx context.Context, index, size uint64) (merkle.Proof, error)
	Consistency(ctx context.Context, first, second uint64) ([][]byte, error)
	RowsBefore(ctx context.Context, key []byte, before uint64, limit int) ([]merkle.IndexRow, error)
	Row(ctx context.Context, key []byte) ([]byte, error)
}

// DefaultAddTimeout bounds an Add: half of what Go clients wait.
const DefaultAddTimeout = 15 * time.Second

// Config of a Service.
type Config struct {
	// Shard is the one that takes entries.
	Shard
	// Earlier are the frozen shards before it, the oldest first.
	Earlier []Shard
	// URL is the log's base URL; Host, its host without port, is the name that
	// signs checkpoints, for which clients look in the URL.
	URL, Host string
	// AddTimeout bounds an Add. Zero: DefaultAddTimeout.
	AddTimeout time.Duration
	// AttestationLimit is how long an attestation may be that is stored with its
	// entry, in bytes. Zero: none is stored, nor returned.
	AttestationLimit int
	// Now is the clock. Times in entries are the tree's; this one only tells
	// how old the log's key is.
	Now func() time.Time
	// Log receives what no caller is told; nil: discarded.
	Log *slog.Logger
	// Metrics registers the log's metrics; nil: none.
	Metrics prometheus.Registerer
}

// Service is the log. It is safe for concurrent use.
type Service struct {
	cfg     Config
	metrics *metrics

	// The oldest first; the last one takes entries. Replaced with succession held.
	shards     atomic.Pointer[[]*shard]
	succession sync.Mutex
}

// New checks the configuration and returns the log.
func New(c Config) (*Service, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("transparency log: %w", err)
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("transparency log: %w", err)
	}
	s := &Service{cfg: c, metrics: m}
	var shards []*shard
	for _, sh := range slices.Concat(c.Earlier, []Shard{c.Shard}) {
		if shards, err = s.follow(shards, sh); err != nil {
			return nil, fmt.Errorf("transparency log: %w", err)
		}
	}
	s.shards.Store(&shards)
	return s, nil
}

func (c *Config) check() error {
	switch {
	case c.Now == nil:
		return errors.New("no clock given")
	case c.AddTimeout < 0:
		return errors.New("add timeout is negative")
	case c.AttestationLimit < 0:
		return errors.New("attestation limit is negative")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.AddTimeout == 0 {
		c.AddTimeout = DefaultAddTimeout
	}
	return c.checkName()
}

// checkName: js clients look for the name in the URL, java clients compare it
// with the URL's host, and a note has a grammar of its own.
func (c *Config) checkName() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return fmt.Errorf("URL %q is not an http or https URL with a host", c.URL)
	}
	if c.Host != u.Hostname() || strings.ContainsAny(c.Host, " +\n") {
		return fmt.Errorf("name %q is not the host of %q", c.Host, c.URL)
	}
	return nil
}

// Trust returns the log's public half: one log for each shard, the oldest first, of
// which the last one is not idle.
func (s *Service) Trust() []trust.Log {
	var logs []trust.Log
	for _, sh := range *s.shards.Load() {
		logs = append(logs, s.TrustIn(sh.signer))
	}
	logs[len(logs)-1].Idle = false
	return logs
}

// TrustIn returns what Trust says of an idle shard that signs with key, such as the
// next one. A key is trusted from its creation.
func (s *Service) TrustIn(key keys.Key) trust.Log {
	return trust.Log{BaseURL: s.cfg.URL, PublicKey: key.SPKI(), APIVersion: 1, Window: trust.Window{Start: key.Created}, Idle: true}
}

// metrics carry the upstream server's names, for its dashboards.
type metrics struct {
	entries    prometheus.Counter
	duplicates prometheus.Counter
	stored     *prometheus.SummaryVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rekor_new_entries", Help: "The total number of new log entries",
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sigstack_tlog_duplicates_total", Help: "Entries that were proposed again.",
		}),
		stored: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "rekor_index_storage_latency_summary",
			Help: "Nanoseconds until an entry was stored with its rows in the search index, which are one write, by whether it was.",
		}, []string{"success"}),
	}
	if reg == nil {
		return m, nil
	}
	if err := errors.Join(reg.Register(m.entries), reg.Register(m.duplicates), reg.Register(m.stored)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}
