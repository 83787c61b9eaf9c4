package rotate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"time"

	"sigstack/internal/durable"
)

// Runner runs rotations of one directory.
type Runner struct {
	// Dir holds the journals. Whoever may read it learns names and times, no secret.
	Dir string
	Now func() time.Time
	// Wait returns when until has come, or with an error, which ends the run: it goes
	// on when the rotation is run again.
	Wait func(ctx context.Context, s Step, until time.Time) error
	// Before is called before each step; its error ends the run as Wait's does. nil:
	// nothing is.
	Before func(context.Context, Step) error
	// Note is told of each step as it begins and when it is done. nil: nobody is.
	Note func(s Step, done bool)
	// Kept is called when the journal was written, or put away, and before anything that
	// it says is relied on: whoever has copies of it takes another one. Its error ends the
	// run as Wait's does. nil: there are no copies.
	Kept func(context.Context) error

	point func() error // of tests, before and after each change of a file: an error is the end of the process
}

// Run starts a rotation, with those facts to begin with, or goes on with the one that
// is under way, whose facts are those it has. It returns how far that came, and on
// error why no further. A step is begun only when all before it are done and noted;
// one that is noted as done never is again. Two runs in one directory are refused: the
// error matches durable.ErrLocked.
func (r Runner) Run(ctx context.Context, rot Rotation, facts Facts) (j *Journal, err error) {
	if err := rot.check(); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := durable.LockDir(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("another rotation is running: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	w := writer{dir: r.Dir, point: r.point, kept: func() error { return nil }}
	if w.point == nil {
		w.point = func() error { return nil }
	}
	if r.Kept != nil {
		w.kept = func() error { return r.Kept(context.WithoutCancel(ctx)) } // an interrupted step is noted, too
	}
	if j, err = Read(r.Dir, rot.What); err != nil {
		return nil, err
	}
	if j == nil {
		j = rot.journal(r.Now(), facts)
		if err := w.write(j); err != nil {
			return nil, err
		}
	}
	if err := rot.goesOnWith(j); err != nil {
		return j, err
	}
	for i := j.Next(); i < len(rot.Steps); i++ {
		if err := r.step(ctx, w, j, rot.Steps[i], &j.Steps[i]); err != nil {
			return j, err
		}
	}
	if j.Finished.IsZero() {
		j.Finished = r.stamp()
		if err := w.write(j); err != nil {
			return j, err
		}
	}
	return j, w.archive(j)
}

// ErrBegun is matched by the error of Abandon for a rotation that has gone too far.
var ErrBegun = errors.New("it has gone too far")

// Abandon forgets a rotation that is under way, as long as the step of that name was
// not begun. The error matches fs.ErrNotExist if there is none.
func Abandon(dir, what, before string) (err error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		return fmt.Errorf("another rotation is running: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	j, err := Read(dir, what)
	if err != nil {
		return err
	}
	if j == nil {
		return fmt.Errorf("no rotation of %s is under way: %w", what, fs.ErrNotExist)
	}
	for _, s := range j.Steps {
		if s.Name == before && !s.Begun.IsZero() {
			return fmt.Errorf("%w: step %s was begun at %s", ErrBegun, before, s.Begun.Format(time.RFC3339))
		}
	}
	if err := os.Remove(File(dir, what)); err != nil {
		return fmt.Errorf("abandon the rotation: %w", err)
	}
	return durable.SyncDir(dir)
}

// journal is that of a rotation which starts now.
func (r Rotation) journal(now time.Time, facts Facts) *Journal {
	j := &Journal{Version: journalVersion, What: r.What, Started: now.UTC(), Facts: Facts{}}
	maps.Copy(j.Facts, facts)
	for _, s := range r.Steps {
		j.Steps = append(j.Steps, Record{Name: s.Name})
	}
	return j
}

func (r Runner) stamp() time.Time { return r.Now().UTC() }

// step waits for a step's time, does it and notes it.
func (r Runner) step(ctx context.Context, w writer, j *Journal, s Step, rec *Record) error {
	if err := r.await(ctx, w, j, s, rec); err != nil {
		return err
	}
	if r.Before != nil {
		if err := r.Before(ctx, s); err != nil {
			return fmt.Errorf("before step %s: %w", s.Name, err)
		}
	}
	rec.Begun, rec.Failure = r.stamp(), ""
	if err := w.write(j); err != nil {
		return err
	}
	r.note(s, false)
	if err := s.once(ctx, j.Facts); err != nil {
		if ctx.Err() == nil {
			rec.Failure = bounded(err.Error())
		}
		return errors.Join(fmt.Errorf("step %s: %w", s.Name, err), w.write(j))
	}
	rec.Done = r.stamp()
	if err := w.write(j); err != nil {
		rec.Done = time.Time{}
		return err
	}
	r.note(s, true)
	return nil
}

// bounded cuts a text to what a journal has room for.
func bounded(text string) string {
	const most = 4 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}

// await waits for the time of a step, which is noted for whoever looks meanwhile.
func (r Runner) await(ctx context.Context, w writer, j *Journal, s Step, rec *Record) error {
	from, err := s.from(j.Facts)
	if err != nil {
		return err
	}
	if !rec.From.Equal(from) {
		rec.From = from.UTC()
		if err := w.write(j); err != nil {
			return err
		}
	}
	for r.Now().Before(from) {
		if err := r.Wait(ctx, s, from); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// once does what was not done yet.
func (s Step) once(ctx context.Context, facts Facts) error {
	if s.Did != nil {
		did, err := s.Did(ctx, facts)
		if did || err != nil {
			return err
		}
	}
	return s.Do(ctx, facts)
}

func (r Runner) note(s Step, done bool) {
	if r.Note != nil {
		r.Note(s, done)
	}
}
