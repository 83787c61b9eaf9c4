package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Anchor is a head that is in a transparency log.
type Anchor struct {
	Seq    uint64   // of the newest record that it covers
	Hash   [32]byte // that record's
	Bundle []byte   // a Sigstore bundle over the head's statement
}

// maxBundle bounds Anchor.Bundle, in bytes.
const maxBundle = 64 << 10

func (a Anchor) event() Event {
	return Event{Action: ActionAnchor, Outcome: OK, Service: "audit", Detail: map[string]string{
		"seq": strconv.FormatUint(a.Seq, 10), "hash": hexString(a.Hash), "bundle": string(a.Bundle),
	}}
}

// parseAnchor reads what event wrote.
func parseAnchor(r *Record) (a Anchor, err error) {
	if a.Seq, err = strconv.ParseUint(r.Detail["seq"], 10, 64); err != nil {
		return a, fmt.Errorf("anchor without a record: %w", err)
	}
	if a.Seq == 0 || a.Seq >= r.Seq {
		return a, fmt.Errorf("anchor of record %d in record %d", a.Seq, r.Seq)
	}
	if a.Hash, err = parseHash(r.Detail["hash"]); err != nil {
		return a, fmt.Errorf("anchor without a hash: %w", err)
	}
	if a.Bundle = []byte(r.Detail["bundle"]); len(a.Bundle) == 0 {
		return a, errors.New("anchor without a bundle")
	}
	return a, nil
}

// anchors is what the log knows of them.
type anchors struct {
	mu   sync.Mutex    // held while one is made
	done atomic.Uint64 // the newest record that is anchored, as far as known
	own  atomic.Uint64 // the record that says so
}

// Pauses after anchors that failed.
const (
	firstPause   = 2 * time.Second
	longestPause = 5 * time.Minute
)

// ErrLeftToNext is the error of an AnchorFunc while the record is about to be opened
// again, which anchors it.
var ErrLeftToNext = errors.New("the record is about to be opened again")

// stopTimeout bounds the last anchor, while everything else is stopping.
const stopTimeout = 3 * time.Second

// healEvery is how often a record that cannot be written is tried again when nobody
// asks for it: readiness says no meanwhile, and requests may be kept away for that.
const healEvery = 2 * time.Second

// Anchored returns the newest record that is anchored, 0 if none is known.
func (l *Log) Anchored() uint64 { return l.anchors.done.Load() }

// Anchor enters the head in the transparency log, unless nothing was recorded
// since the last time, and records it. It returns the newest anchored record.
func (l *Log) Anchor(ctx context.Context) (seq uint64, err error) {
	if l.opts.Anchor == nil || l.opts.Signer == nil {
		return 0, errors.New("anchor audit record: this record has no audit key or no transparency log")
	}
	l.anchors.mu.Lock()
	defer l.anchors.mu.Unlock()
	head := l.Head()
	if own := l.anchors.own.Load(); own != 0 && own == head.Seq {
		return l.Anchored(), nil
	}
	bundle, err := l.opts.Anchor(ctx, head.Statement())
	if err == nil && len(bundle) > maxBundle {
		err = fmt.Errorf("its bundle has %d bytes", len(bundle))
	}
	if err != nil {
		return 0, fmt.Errorf("anchor audit record: %w", err)
	}
	// A crash here leaves an entry in the log that no record knows: Verify finds
	// that it is over a head of this record.
	p := &pending{raw: true, event: Anchor{head.Seq, head.Hash, bundle}.event()}
	if err := l.write(ctx, p); err != nil {
		return 0, err
	}
	l.anchors.done.Store(head.Seq)
	l.anchors.own.Store(p.seq)
	return head.Seq, nil
}

// Run anchors the record at once, every AnchorEvery and at the end, records what
// was folded, and tries again what could not be written. It returns soon after ctx ends. An anchor that fails is tried
// again, and reported meanwhile; it stops nothing, since the log that is not
// reached may be a network away, and the next anchor covers all that this one
// would have.
func (l *Log) Run(ctx context.Context) error {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	heal := time.NewTicker(healEvery)
	defer heal.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	if l.opts.Anchor == nil || l.opts.Signer == nil {
		next.Stop()
	}
	pause := firstPause
	for {
		select {
		case <-flush.C:
			l.flush(ctx)
		case <-heal.C:
			_ = l.Ready(ctx) // whose failure is known
		case <-next.C:
			if l.tryAnchor(ctx) {
				pause = firstPause
				next.Reset(l.opts.AnchorEvery)
				continue
			}
			next.Reset(pause)
			pause = min(2*pause, longestPause)
		case <-ctx.Done():
			return l.finish(context.WithoutCancel(ctx))
		}
	}
}

// tryAnchor reports how it went.
func (l *Log) tryAnchor(ctx context.Context) (ok bool) {
	_, err := l.Anchor(ctx)
	if ctx.Err() != nil || errors.Is(err, ErrLeftToNext) {
		return false
	}
	l.health.anchored(err)
	if err != nil {
		l.opts.Log.WarnContext(ctx, "audit record could not be anchored; it will be tried again", slog.Any("error", err))
	}
	return err == nil
}

// flush records what was folded, once it can.
func (l *Log) flush(ctx context.Context) {
	if l.Ready(ctx) != nil {
		return // whose failure is known
	}
	for _, e := range l.folds.drain() {
		if err := l.write(ctx, &pending{event: e}); err != nil {
			l.opts.Log.ErrorContext(ctx, "refusals could not be recorded", slog.String("count", e.Detail["count"]), slog.Any("error", err))
		}
	}
}

// finish leaves nothing to be done.
func (l *Log) finish(ctx context.Context) error {
	l.flush(ctx)
	if l.opts.Anchor == nil || l.opts.Signer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if _, err := l.Anchor(ctx); err != nil && !errors.Is(err, ErrLeftToNext) {
		l.opts.Log.WarnContext(ctx, "the last audit records are not anchored; the next start will", slog.Any("error", err))
	}
	return nil
}

// Health is what works of a Log.
type Health struct {
	Write  error // why nothing can be recorded, nil if all can
	Anchor error // why the newest try to anchor failed, nil if it did not
}

// health tells of changes. It is safe for concurrent use.
type health struct {
	report func(Health)
	mu     sync.Mutex
	now    Health // guarded by mu
}

func (h *health) wrote(err error)    { h.set(func(now *Health) { now.Write = err }) }
func (h *health) anchored(err error) { h.set(func(now *Health) { now.Anchor = err }) }

func (h *health) set(change func(*Health)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.now)
	if h.report != nil {
		h.report(h.now)
	}
}
