// Package ctlog is a certificate transparency log (RFC 6962): chains of the
// stack's own CA, and of others that it is told of, in; signed certificate
// timestamps and proofs out. certificate-transparency-go's ctfe speaks the
// protocol; storing, sequencing and proving is the merkle engine's work.
package ctlog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// State says what a log still does.
type State string

// States of a log.
const (
	Active   State = ""         // it takes chains
	ReadOnly State = "readonly" // it takes none; tree heads are signed on
	Frozen   State = "frozen"   // its last tree head is signed for ever
)

const (
	// DefaultMergeDelay is the maximum merge delay of logs that clients know.
	DefaultMergeDelay = 24 * time.Hour
	// DefaultEntries and MaxEntries are how many entries get-entries answers at
	// once, of about 5 KB each; RFC 6962 §4.6 lets a log return fewer than asked
	// for.
	DefaultEntries = 256
	MaxEntries     = 1000
)

// Config configures New. What is not said to have a default is required.
type Config struct {
	// Tree holds the entries. Its roots must differ by whole milliseconds
	// (merkle.Config.TimeStep), because RFC 6962 §3.5 wants each tree head later
	// than the one before and ctfe drops what is below a millisecond. Its root must
	// be made anew well within MergeDelay (merkle.Config.RefreshEvery), and not at
	// all in a frozen log.
	Tree Tree
	// Signer signs timestamps and tree heads: ECDSA P-256 (RFC 6962 §2.1.4).
	Signer keys.Key
	// Roots are the CAs whose certificates are logged. SetRoots replaces them.
	Roots []*x509.Certificate
	// Prefix is the path before /ct/v1/, without slashes at its ends.
	Prefix string
	// URL is the base URL of the stack, absolute and without final slash.
	URL string
	// State: a log that is not active refuses chains with 403. SetState and Freeze
	// change it. Default: Active.
	State State
	// FinalHead is the tree head of a frozen log, as SignHead made it; others have
	// none.
	FinalHead []byte
	// NotAfterStart and NotAfterLimit bound the log to certificates that end at
	// NotAfterStart or later, and before NotAfterLimit. Default, each: no bound.
	NotAfterStart, NotAfterLimit time.Time
	// MergeDelay is published as the log's maximum merge delay, in whole seconds.
	// Entries are in the tree when their timestamp is signed, so that it bounds the
	// age of tree heads alone. Default: DefaultMergeDelay.
	MergeDelay time.Duration
	// Entries is how many entries are answered at once, to MaxEntries. Default:
	// DefaultEntries.
	Entries int
	// TempDir is where ctfe's roots file lives while New and SetRoots run; empty:
	// the system's directory for temporary files, which a bare container lacks.
	TempDir string
	// Now is the stack's clock.
	Now func() time.Time
	Log *slog.Logger
	// Metrics must have no other log's of the same Prefix.
	Metrics prometheus.Registerer
}

// Service is one log. It is safe for concurrent use. It owns no goroutine: the
// tree batches adds and refreshes an idle head by itself.
type Service struct {
	cfg     Config
	id      [32]byte // RFC 6962 §3.2
	backend *backend
	bulk    *semaphore.Weighted // of answers of many entries

	swap    sync.Mutex // held while current or the state is replaced
	current atomic.Pointer[instance]
}

// New checks cfg and sets up the log. It writes nothing to the tree.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.MergeDelay == 0 {
		cfg.MergeDelay = DefaultMergeDelay
	}
	if cfg.Entries == 0 {
		cfg.Entries = DefaultEntries
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("ct log: %w", err)
	}
	s := &Service{cfg: cfg, id: pki.LogID(cfg.Signer.SPKI()), bulk: semaphore.NewWeighted(maxBulk)}
	var err error
	if s.backend, err = newBackend(cfg); err != nil {
		return nil, fmt.Errorf("ct log: %w", err)
	}
	first, err := s.newInstance(ctx, cfg.Roots, cfg.FinalHead)
	if err != nil {
		s.backend.unregister(cfg.Metrics)
		return nil, fmt.Errorf("ct log: set up: %w", err)
	}
	s.current.Store(first)
	return s, nil
}

func (c Config) check() error {
	if c.Tree == nil || c.Signer.Signer == nil || c.URL == "" || c.Now == nil || c.Log == nil || c.Metrics == nil {
		return errors.New("tree, signer, URL, clock, log and metrics are required")
	}
	if err := CheckKey(c.Signer); err != nil {
		return err
	}
	if c.Prefix == "" || strings.Trim(c.Prefix, "/") != c.Prefix {
		return fmt.Errorf("prefix %q: want a path without slashes at its ends", c.Prefix)
	}
	if !c.NotAfterStart.IsZero() && !c.NotAfterLimit.IsZero() && !c.NotAfterStart.Before(c.NotAfterLimit) {
		return fmt.Errorf("no certificate ends from %v on and before %v", c.NotAfterStart, c.NotAfterLimit)
	}
	if c.MergeDelay < time.Second || c.MergeDelay%time.Second != 0 {
		return fmt.Errorf("merge delay %v is not in whole seconds", c.MergeDelay)
	}
	if c.Entries < 1 || c.Entries > MaxEntries {
		return fmt.Errorf("%d entries at once: want 1 to %d", c.Entries, MaxEntries)
	}
	return errors.Join(c.checkState(), checkRoots(c.Roots))
}

// CheckKey refuses what cannot be a log's key.
func CheckKey(key keys.Key) error {
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return fmt.Errorf("key %s is not ECDSA P-256", key.Name)
	}
	return nil
}

// Trust returns the log's public half. A log with an end promises nothing behind
// it: what it gave timestamps for has ended by then.
func (s *Service) Trust() trust.Log {
	return trust.Log{
		BaseURL:    s.base(),
		PublicKey:  s.cfg.Signer.SPKI(),
		APIVersion: 1,
		Window:     trust.Window{Start: s.cfg.Signer.Created, End: s.cfg.NotAfterLimit},
	}
}

// Takes reports whether the log takes certificates that end at notAfter.
func (s *Service) Takes(notAfter time.Time) bool {
	from, to := s.cfg.NotAfterStart, s.cfg.NotAfterLimit
	return s.State() == Active && (from.IsZero() || !notAfter.Before(from)) && (to.IsZero() || notAfter.Before(to))
}

// base is the log's URL, below which RFC 6962 has ct/v1/.
func (s *Service) base() string { return s.cfg.URL + s.prefix() }

func (s *Service) prefix() string { return "/" + s.cfg.Prefix }
