package tlogtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// What a Ledger finds is one of these, or an answer that is wrong by itself.
var (
	ErrLost = errors.New("an acknowledged entry is missing")
	ErrFork = errors.New("the log is not the one that was shown before")
)

// Ask sends a request to a log and reads the answer whole.
type Ask func(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)

// Ledger keeps every answer that a log has acknowledged an entry with, and every
// checkpoint that it ever showed, and holds the log to them. It is safe for
// concurrent use.
type Ledger struct {
	Host string // that signs checkpoints

	mu       sync.Mutex // guards the rest
	fresh    []noted    // not looked at since they came
	shown    []string   // checkpoints, likewise
	promises []*promise // the oldest first
	byID     map[string]*promise
	byIndex  map[uint64]string // entry IDs
	heads    map[int64]*lineage
	trees    []Log // the oldest first
}

type noted struct {
	answer    []byte
	questions []Object
}

// promise is an entry that was acknowledged, with the searches that must find it.
type promise struct {
	Entry
	questions []Object
}

// lineage is every head of one tree that was ever seen.
type lineage struct {
	bySize  map[uint64]Head
	proved  map[[2]uint64]bool // pairs of sizes whose consistency was proved
	newest  Head               // as the log says now
	retired bool               // it was seen among the inactive ones: newest is its last
}

// NewLedger returns a Ledger of a log whose checkpoints host signs.
func NewLedger(host string) *Ledger {
	return &Ledger{Host: host, byID: map[string]*promise{}, byIndex: map[uint64]string{}, heads: map[int64]*lineage{}}
}

// Note keeps an answer that acknowledges an entry, to be verified by Check. The
// questions, bodies of searches, must find it from now on.
func (l *Ledger) Note(answer []byte, questions ...Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh = append(l.fresh, noted{bytes.Clone(answer), questions})
}

// NoteCheckpoint keeps a checkpoint that the log has shown, to be verified by Check.
func (l *Ledger) NoteCheckpoint(note string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = append(l.shown, note)
}

// Copy returns a ledger of the same answers, that goes its own way.
func (l *Ledger) Copy() *Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := NewLedger(l.Host)
	for _, p := range l.promises {
		c.promises = append(c.promises, p)
		c.byID[p.ID], c.byIndex[p.LogIndex] = p, p.ID
	}
	c.fresh, c.shown = append(c.fresh, l.fresh...), append(c.shown, l.shown...)
	c.trees = append(c.trees, l.trees...)
	for id, line := range l.heads {
		mine := c.line(id)
		for size, head := range line.bySize {
			mine.bySize[size] = head
		}
		mine.newest, mine.retired = line.newest, line.retired
	}
	return c
}

// Size returns how many entries were acknowledged, and how many checkpoints seen.
func (l *Ledger) Size() (entries, heads int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.heads {
		heads += len(line.bySize)
	}
	return len(l.promises) + len(l.fresh), heads
}

// Trees returns how many trees the log has had that take or took entries.
func (l *Ledger) Trees() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.trees)
}

func (l *Ledger) line(tree int64) *lineage {
	line := l.heads[tree]
	if line == nil {
		line = &lineage{bySize: map[uint64]Head{}, proved: map[[2]uint64]bool{}}
		l.heads[tree] = line
	}
	return line
}

// take verifies the answers that came since the last Check, and makes promises
// of them.
func (l *Ledger) take() error {
	var errs []error
	for _, n := range l.fresh {
		if err := l.takeOne(n); err != nil {
			errs = append(errs, err)
		}
	}
	for _, note := range l.shown {
		if err := l.takeCheckpoint(note); err != nil {
			errs = append(errs, err)
		}
	}
	l.fresh, l.shown = nil, nil
	return errors.Join(errs...)
}

func (l *Ledger) takeCheckpoint(note string) error {
	origin, _, _ := strings.Cut(note, "\n")
	for _, log := range l.trees {
		if origin != fmt.Sprintf("%s - %d", log.Host, log.TreeID) {
			continue
		}
		head, err := log.CheckCheckpoint(note)
		if err != nil {
			return fmt.Errorf("a checkpoint was wrong when it came: %w", err)
		}
		return l.see(log.TreeID, head)
	}
	return fmt.Errorf("%w: a checkpoint is of %q, a tree that the log does not name", ErrFork, origin)
}

func (l *Ledger) takeOne(n noted) error {
	log, err := l.logOf(n.answer)
	if err != nil {
		return err
	}
	e, err := log.CheckEntry(n.answer)
	if err != nil {
		return fmt.Errorf("an answer was wrong when it came: %w", err)
	}
	if err := l.see(log.TreeID, e.Head); err != nil {
		return err
	}
	if old := l.byID[e.ID]; old != nil { // a duplicate
		return same(old.Entry, e)
	}
	if other, taken := l.byIndex[e.LogIndex]; taken {
		return fmt.Errorf("%w: index %d is that of %s and of %s", ErrFork, e.LogIndex, other, e.ID)
	}
	p := &promise{e, n.questions}
	l.promises, l.byID[e.ID], l.byIndex[e.LogIndex] = append(l.promises, p), p, e.ID
	return nil
}

// logOf finds the tree that an answer names.
func (l *Ledger) logOf(answer []byte) (Log, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(answer, &m); err != nil {
		return Log{}, fmt.Errorf("decode %q: %w", answer, err)
	}
	for id := range m {
		for _, log := range l.trees {
			if len(id) == 80 && id[:16] == fmt.Sprintf("%016x", log.TreeID) {
				return log, nil
			}
		}
		return Log{}, fmt.Errorf("%w: entry %s is in a tree that the log does not name", ErrFork, id)
	}
	return Log{}, errors.New("an answer without an entry")
}

// see keeps a head; two of one size must be the same.
func (l *Ledger) see(tree int64, h Head) error {
	line := l.line(tree)
	if old, ok := line.bySize[h.Size]; ok && !bytes.Equal(old.Root, h.Root) {
		return fmt.Errorf("%w: tree %d has roots %x and %x over %d entries", ErrFork, tree, old.Root, h.Root, h.Size)
	}
	line.bySize[h.Size] = h
	return nil
}

// same compares an entry with what was acknowledged.
func same(was, is Entry) error {
	if was.ID != is.ID || was.LogIndex != is.LogIndex || was.IntegratedTime != is.IntegratedTime || !bytes.Equal(was.Body, is.Body) {
		return fmt.Errorf("%w: entry %s of index %d and time %d has become %s of index %d and time %d",
			ErrFork, was.ID, was.LogIndex, was.IntegratedTime, is.ID, is.LogIndex, is.IntegratedTime)
	}
	return nil
}
