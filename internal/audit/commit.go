package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/fault"
)

// unavailable is what strangers are told while nothing can be recorded.
const unavailable = "the audit record cannot be written, so nothing is signed; try again later"

// failure is a time in which nothing can be recorded.
type failure struct {
	since  time.Time
	first  error
	events int // that were not recorded
	closed bool
}

// commit writes what is queued and answers it. The caller has the turn.
//
// What a crash leaves behind, step by step:
//
//   - during the write of records: some of the batch, perhaps a torn line; nobody
//     was answered, and the next Open keeps what is whole and cuts the rest.
//   - records written, head not: the same, all of it whole.
//   - head written: what was answered, or is about to be.
func (l *Log) commit(ctx context.Context) {
	batch := l.take()
	if len(batch) == 0 {
		return
	}
	start := l.opts.Now()
	err := caught(func() error { return l.persist(ctx, batch) })
	if err != nil {
		l.fail(ctx, err)
		l.failure.events += events(batch)
		l.metrics.failed.Add(float64(events(batch)))
		err = fault.Wrap(fault.Unavailable, err, unavailable)
	}
	l.metrics.commit.Observe(l.opts.Now().Sub(start).Seconds())
	for _, p := range batch {
		p.done <- err
	}
}

// caught makes a panic in f a failure like others: it must not leave the turn
// taken, and everybody waiting for ever.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("write audit records: panic: %v", p)
		}
	}()
	return f()
}

// events counts those of a batch that are to be written.
func events(batch []*pending) (n int) {
	for _, p := range batch {
		if !p.probe {
			n++
		}
	}
	return n
}

// persist writes a batch, after what has to come before it.
func (l *Log) persist(ctx context.Context, batch []*pending) error {
	if l.failure != nil {
		if err := l.repair(); err != nil {
			return err
		}
		batch = append([]*pending{{event: l.failure.event(l.opts.Now()), raw: true}}, batch...)
	}
	if events(batch) == 0 {
		return nil
	}
	if err := l.untouched(); err != nil {
		return err
	}
	lines, head, err := l.render(batch)
	if err != nil {
		return err
	}
	if err := l.store(lines, head); err != nil {
		return err
	}
	l.newest.Store(&head)
	l.metrics.written.Add(float64(events(batch)))
	if l.failure != nil {
		l.opts.Log.InfoContext(ctx, "audit records can be written again", slog.Int("lost_events", l.failure.events))
		l.failure = nil
		l.broken.Store(false)
		l.health.wrote(nil)
	}
	return nil
}

// event is the record of f's end.
func (f *failure) event(now time.Time) Event {
	cause := strings.ReplaceAll(f.first.Error(), "\n", "; ") // of several errors
	return Event{Action: ActionResume, Outcome: OK, Service: "audit", Detail: map[string]string{
		"since":       f.since.UTC().Format(timeLayout),
		"until":       now.UTC().Format(timeLayout),
		"cause":       cleanText(cause, MaxText),
		"lost_events": strconv.Itoa(f.events),
	}}
}

// render returns the lines of a batch and the head over them.
func (l *Log) render(batch []*pending) ([]byte, Head, error) {
	var buf bytes.Buffer
	head := l.Head()
	now := l.opts.Now().UTC().Truncate(time.Millisecond)
	for _, p := range batch {
		if p.probe {
			continue
		}
		r := Record{Seq: head.Seq + 1, Time: now, Prev: head.Hash, Event: p.event}
		if err := r.appendTo(&buf); err != nil {
			return nil, head, err
		}
		head.Seq, head.Hash = r.Seq, r.Hash
		p.seq = r.Seq
	}
	return buf.Bytes(), head, nil
}

// store makes lines durable, and then the head over them.
func (l *Log) store(lines []byte, head Head) error {
	slot, err := signHead(head, l.opts.Signer)
	if err != nil {
		return err // nothing was written yet
	}
	if l.size > 0 && l.size+int64(len(lines)) > l.opts.FileSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if _, err := l.out.WriteAt(lines, l.size); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	if err := l.out.Sync(); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	if err := l.heads.put(slot); err != nil {
		return err
	}
	l.size += int64(len(lines))
	return nil
}

// rotate begins the next file. A crash leaves an empty one, which the next Open
// goes on with.
func (l *Log) rotate() error {
	path := filepath.Join(l.opts.Dir, fileName(l.Head().Seq+1))
	next, err := l.opts.fs.Open(path)
	if err != nil {
		return fmt.Errorf("begin audit file: %w", err)
	}
	if err := next.Truncate(0); err != nil { // what a failed commit left there
		return errors.Join(fmt.Errorf("begin audit file: %w", err), next.Close())
	}
	old := l.out
	l.out, l.path, l.size = next, path, 0
	if err := old.Close(); err != nil {
		return fmt.Errorf("end audit file: %w", err)
	}
	return nil
}

// untouched refuses to go on with a file that somebody else removed, replaced,
// cut or added to.
func (l *Log) untouched() error {
	open, err := l.out.Stat()
	if err != nil {
		return fmt.Errorf("look at audit file: %w", err)
	}
	named, err := l.opts.fs.Stat(l.path)
	if err != nil {
		return fmt.Errorf("look at audit file: %w", err)
	}
	if !os.SameFile(open, named) {
		return fmt.Errorf("%s was replaced by another file: put it back, or restore the directory from a backup", l.path)
	}
	if open.Size() != l.size {
		return fmt.Errorf("%s has %d bytes, %d were written: somebody else wrote to it", l.path, open.Size(), l.size)
	}
	return nil
}

// fail notes that nothing can be recorded now, and takes back what can be.
func (l *Log) fail(ctx context.Context, err error) {
	if l.failure != nil {
		return
	}
	l.failure = &failure{since: l.opts.Now(), first: err}
	l.broken.Store(true)
	l.health.wrote(err)
	l.opts.Log.ErrorContext(ctx, "audit record cannot be written: nothing is signed until it can", slog.Any("error", err))
	if repairErr := caught(l.repair); repairErr != nil {
		l.opts.Log.ErrorContext(ctx, "audit file cannot be repaired yet", slog.Any("error", repairErr))
	}
}

// repair brings the files back to what was acknowledged: first the head, for a
// head ahead of the records would look like records removed, then the records.
func (l *Log) repair() error {
	if l.failure.closed {
		return l.failure.first
	}
	slot, err := signHead(l.Head(), l.opts.Signer)
	if err != nil {
		return err
	}
	for range 2 { // each slot durably: the failed commit's head may be in either
		if err := l.heads.put(slot); err != nil {
			return err
		}
	}
	if err := l.reopen(); err != nil {
		return err
	}
	info, err := l.out.Stat()
	if err != nil {
		return fmt.Errorf("look at audit file: %w", err)
	}
	if info.Size() < l.size {
		return fmt.Errorf("%s has %d bytes, %d were written: restore it from a backup", l.path, info.Size(), l.size)
	}
	if err := l.makeRoom(); err != nil {
		return fmt.Errorf("repair audit file: %w", err)
	}
	return l.acknowledgedIsThere()
}

// room is what has to be free before records are written again: were it less than
// some records need, a full disk would take one now and then, and what was signed
// for the others would be in vain.
const room = 128 << 10

// makeRoom cuts what was not acknowledged and tries whether there is room behind
// it. A crash leaves zeros there, which the next Open cuts.
func (l *Log) makeRoom() error {
	if err := l.out.Truncate(l.size); err != nil {
		return err
	}
	_, err := l.out.WriteAt(make([]byte, room), l.size)
	return errors.Join(err, l.out.Truncate(l.size), l.out.Sync())
}

// reopen opens the newest file again: what a handle is good for after a failed
// sync differs between systems.
func (l *Log) reopen() error {
	if _, err := l.opts.fs.Stat(l.path); err != nil {
		return fmt.Errorf("reopen audit file: %w", err)
	}
	again, err := l.opts.fs.Open(l.path)
	if err != nil {
		return fmt.Errorf("reopen audit file: %w", err)
	}
	old := l.out
	l.out = again
	if err := old.Close(); err != nil {
		return fmt.Errorf("reopen audit file: %w", err)
	}
	return nil
}

// acknowledgedIsThere reads the last line that was acknowledged.
func (l *Log) acknowledgedIsThere() error {
	if l.size == 0 {
		return nil // the file is new
	}
	line, err := lineBefore(l.out, l.size)
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	r, err := ParseLine(line)
	if err != nil {
		return fmt.Errorf("last record of %s: %w", l.path, err)
	}
	if head := l.Head(); r.Seq != head.Seq || r.Hash != head.Hash {
		return fmt.Errorf("last record of %s is not record %d as it was written: restore it from a backup", l.path, head.Seq)
	}
	return nil
}
