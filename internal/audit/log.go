package audit

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
)

// AnchorFunc enters a statement, signed with the audit key, in a transparency log
// and returns the proof of it: a Sigstore bundle, compact JSON of at most 64 KiB.
// It retries as it sees fit and returns soon after ctx ends.
type AnchorFunc func(ctx context.Context, statement []byte) (bundle []byte, err error)

// Options configures Open. Dir, Now and Log are required.
type Options struct {
	// Dir holds the record and nothing else. It exists; one process at a time
	// writes there, which is the caller's to see to.
	Dir string
	// Signer is the audit key, ECDSA P-256. nil: heads are not signed, and there
	// are no anchors.
	Signer crypto.Signer
	// Chain is the chain that Dir must hold, in hex. Empty: whichever is there, or
	// a new one.
	Chain string
	// Anchor and AnchorEvery: see AnchorFunc; nil: no anchors. Every 0: an hour.
	Anchor      AnchorFunc
	AnchorEvery time.Duration
	// Report is told when something stops working, or works again. It must not
	// call back. nil: nobody is told.
	Report func(Health)
	// FileSize is about the most bytes of one file; 0: 16 MiB, of which reading
	// at the start takes some 0.2 s.
	FileSize int64

	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none

	fs fileSystem // nil: the disk
}

// Log is an open audit record. It is safe for concurrent use.
type Log struct {
	opts    Options
	key     *ecdsa.PublicKey // nil without a signer
	chain   [32]byte
	metrics *metrics

	mu    sync.Mutex
	queue []*pending // guarded by mu

	// turn has room for one: who put a value in owns what follows, and takes it
	// out again.
	turn    chan struct{}
	out     file // the newest file of records
	path    string
	size    int64 // bytes of out that were acknowledged; what is behind is not
	heads   *headFile
	failure *failure // why the last commit failed; nil: it did not

	newest  atomic.Pointer[Head]
	broken  atomic.Bool // failure != nil
	folds   folds
	anchors anchors
	health  health
}

// pending is an event on its way to the disk.
type pending struct {
	event Event
	raw   bool   // made by this package, and longer than others may be
	probe bool   // nothing to write: only to see whether writing works
	seq   uint64 // once it is written
	done  chan error
}

// Bounds of the queue and of a commit.
const (
	maxQueue      = 16384 // events
	maxBatch      = 512   // events
	maxBatchBytes = 1 << 20
)

// Head returns the newest record: all up to it is on disk.
func (l *Log) Head() Head { return *l.newest.Load() }

// Chain returns the chain's id in hex.
func (l *Log) Chain() string { return hexString(l.chain) }

// Record writes e and returns when it is on disk, with the head over it. An error,
// of kind fault.Unavailable, means that nothing vouches for e: what it tells of
// must not be answered. The log heals by itself: each later call tries again.
//
// Of refusals only so many are records of their own, fewer of those without a
// subject, which anybody can cause; the others are counted, and one record a minute
// holds the counts.
func (l *Log) Record(ctx context.Context, e Event) error {
	e = e.clean()
	if l.folds.take(e, l.opts.Now()) {
		l.metrics.folded.Inc()
		return nil
	}
	return l.write(ctx, &pending{event: e})
}

// Ready reports whether records can be written, without writing one if the last
// one could be. It is asked before what cannot be taken back.
func (l *Log) Ready(ctx context.Context) error {
	if !l.broken.Load() {
		return nil
	}
	return l.write(ctx, &pending{probe: true})
}

// write waits until p is on disk. It takes no notice of ctx's end: the act
// happened, whoever waits for it.
func (l *Log) write(ctx context.Context, p *pending) error {
	p.done = make(chan error, 1)
	if err := l.enqueue(p); err != nil {
		return err
	}
	for {
		select {
		case err := <-p.done:
			return err
		case l.turn <- struct{}{}:
			// Whoever waits writes for all: whatever queued while the last commit ran
			// is one batch.
			l.commit(context.WithoutCancel(ctx))
			<-l.turn
		}
	}
}

func (l *Log) enqueue(p *pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueue {
		return fault.Wrap(fault.Unavailable, errors.New("audit queue is full"), unavailable)
	}
	l.queue = append(l.queue, p)
	return nil
}

// take returns the next batch.
func (l *Log) take() []*pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.queue) && n < maxBatch && bytes < maxBatchBytes {
		bytes += l.queue[n].event.size()
		n++
	}
	batch := l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return batch
}

// size is about what e takes on disk, in bytes.
func (e *Event) size() int {
	n := 256 + len(e.RequestID) + len(e.Address) + len(e.Issuer) + len(e.Subject)
	for name, text := range e.Detail {
		n += len(name) + len(text)
	}
	return n
}

// Close ends the log. Later records fail.
func (l *Log) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.out == nil {
		return nil
	}
	err := errors.Join(l.out.Close(), l.heads.Close())
	l.out = nil
	l.failure = &failure{since: l.opts.Now(), first: errors.New("the audit record is closed"), closed: true}
	l.broken.Store(true)
	return err
}

type metrics struct {
	written, folded, failed prometheus.Counter
	commit                  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sigstack_audit_records_total", Help: "Audit records written.",
		}),
		folded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sigstack_audit_folded_total", Help: "Refusals that are in the audit record as counts.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sigstack_audit_failed_total", Help: "Events that could not be recorded, and were not answered.",
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sigstack_audit_commit_seconds",
			Help:    "Time to write a batch of audit records and its head.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14), // 0.1 ms to 0.8 s
		}),
	}
	if reg != nil {
		reg.MustRegister(m.written, m.folded, m.failed, m.commit)
	}
	return m
}
