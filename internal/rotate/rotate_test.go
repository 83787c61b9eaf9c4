package rotate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/rotate"
)

var errKilled = errors.New("killed")

// world is what a rotation acts on: it outlives the processes that run it.
type world struct {
	t    *testing.T
	now  time.Time
	made []string // what steps have done, in order

	points int // so far in this process
	killAt int // the point at which this process ends; -1: none
	dead   bool
}

// point is a moment at which a process may end. After it nothing of that process happens.
func (w *world) point() error {
	if w.dead || w.points == w.killAt {
		w.dead = true
		return errKilled
	}
	w.points++
	return nil
}

// do makes something, with a moment before and after it.
func (w *world) do(what string) error {
	if err := w.point(); err != nil {
		return err
	}
	w.made = append(w.made, what)
	return w.point()
}

func (w *world) has(what string) bool {
	for _, m := range w.made {
		if m == what {
			return true
		}
	}
	return false
}

func (w *world) count(what string) (n int) {
	for _, m := range w.made {
		if m == what {
			n++
		}
	}
	return n
}

const window = time.Hour

// rotation publishes, waits, switches and closes. Publishing twice would be a mistake;
// switching may be repeated.
func (w *world) rotation() rotate.Rotation {
	return rotate.Rotation{What: "ca", Steps: []rotate.Step{
		{
			Name: "publish", Does: "publish the next key",
			Did: func(_ context.Context, f rotate.Facts) (bool, error) {
				if err := w.point(); err != nil || !w.has("published") {
					return false, err
				}
				f.SetTime("distributed", w.now.Add(window))
				return true, nil
			},
			Do: func(_ context.Context, f rotate.Facts) error {
				if err := w.do("published"); err != nil {
					return err
				}
				f.SetTime("distributed", w.now.Add(window))
				return nil
			},
		},
		{
			Name: "switch", Does: "go over to it",
			From: func(f rotate.Facts) (time.Time, error) { return f.Time("distributed") },
			Do: func(_ context.Context, f rotate.Facts) error {
				if from, err := f.Time("distributed"); err != nil || from.IsZero() || w.now.Before(from) {
					w.t.Errorf("switched at %v, before %v (%v)", w.now, from, err)
				}
				return w.do("switched")
			},
		},
		{
			Name: "close", Does: "close the one before",
			Did: func(context.Context, rotate.Facts) (bool, error) { return w.has("closed"), w.point() },
			Do:  func(context.Context, rotate.Facts) error { return w.do("closed") },
		},
	}}
}

func (w *world) runner(dir string) rotate.Runner {
	return rotate.Runner{
		Dir: dir, Now: func() time.Time { return w.now },
		Wait: func(_ context.Context, _ rotate.Step, until time.Time) error {
			if err := w.point(); err != nil {
				return err
			}
			w.now = until
			return nil
		},
		Before: func(context.Context, rotate.Step) error { return w.point() },
	}.WithPoint(w.point)
}

// TestKilledAnywhere ends the process at each moment there is, once and then again at
// each moment of the next one, and lets a third finish: each step has taken effect, in
// order, and those that may not be repeated have once.
func TestKilledAnywhere(t *testing.T) {
	total := 0
	for first := 0; ; first++ {
		firstEnded := false
		for second := 0; ; second++ {
			w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
			dir := t.TempDir()
			var killed []bool
			for _, at := range []int{first, second, -1} {
				w.points, w.killAt, w.dead = 0, at, false
				_, err := w.runner(dir).Run(t.Context(), w.rotation(), rotate.Facts{"key": "ca-2"})
				if err != nil && !errors.Is(err, errKilled) || at < 0 && err != nil {
					t.Fatalf("killed at %d and %d: %v", first, second, err)
				}
				killed = append(killed, w.dead)
				all, err := rotate.List(dir)
				if err != nil {
					t.Fatalf("killed at %d and %d: %v", first, second, err)
				}
				if _, err := os.Stat(rotate.File(dir, "ca")); len(all) > 0 && err != nil {
					break // it is finished and kept: a further run would be another rotation
				}
			}
			checkWorld(t, w, dir, fmt.Sprintf("killed at %d and %d", first, second))
			total++
			firstEnded = killed[0]
			if len(killed) < 2 || !killed[1] {
				break
			}
		}
		if !firstEnded {
			break
		}
	}
	if total < 100 {
		t.Errorf("%d pairs of moments, want a hundred and more", total)
	}
	t.Logf("%d pairs of moments", total)
}

func checkWorld(t *testing.T, w *world, dir, when string) {
	t.Helper()
	if got := strings.Join(w.made, " "); w.count("published") < 1 || w.count("switched") < 1 || w.count("closed") < 1 ||
		strings.Index(got, "published") > strings.Index(got, "switched") || strings.Index(got, "switched") > strings.Index(got, "closed") ||
		strings.LastIndex(got, "switched") > strings.Index(got, "closed") {
		t.Fatalf("%s: made %q, want published, switched and closed in this order", when, got)
	}
	all, err := rotate.List(dir)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if len(all) != 1 || w.count("published") != 1 || w.count("closed") != 1 || w.count("switched") > 3 {
		t.Fatalf("%s: %d rotations made %q", when, len(all), w.made)
	}
	if j := all[0]; j.Finished.IsZero() || j.Facts["key"] != "ca-2" || j.Next() != len(j.Steps) {
		t.Errorf("%s: journal %+v, want it finished", when, j)
	}
	if _, err := os.Stat(rotate.File(dir, "ca")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: the journal is still there (%v)", when, err)
	}
}

// TestOnlyOneRuns: a second run is refused while the first waits, which then goes on.
func TestOnlyOneRuns(t *testing.T) {
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), killAt: -1}
	dir := t.TempDir()
	first := w.runner(dir)
	wait := first.Wait
	first.Wait = func(ctx context.Context, s rotate.Step, until time.Time) error {
		if _, err := w.runner(dir).Run(ctx, w.rotation(), nil); !errors.Is(err, durable.ErrLocked) {
			t.Errorf("second run: got %v, want it refused", err)
		}
		return wait(ctx, s, until)
	}
	if j, err := first.Run(t.Context(), w.rotation(), nil); err != nil || j.Finished.IsZero() {
		t.Errorf("first run: %+v, %v", j, err)
	}
}

// TestStopsAndGoesOn: what a wait, a check or a step refuses is told, noted, and tried
// again by the next run, with the facts of the first.
func TestStopsAndGoesOn(t *testing.T) {
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), killAt: -1}
	dir := t.TempDir()
	run := func(change func(*rotate.Runner, *rotate.Rotation)) (*rotate.Journal, error) {
		r, rot := w.runner(dir), w.rotation()
		change(&r, &rot)
		return r.Run(t.Context(), rot, rotate.Facts{"key": w.now.String()})
	}
	no := errors.New("no")
	j, err := run(func(_ *rotate.Runner, rot *rotate.Rotation) {
		rot.Steps[0].Do = func(context.Context, rotate.Facts) error { return no }
	})
	if !errors.Is(err, no) || j.Next() != 0 || j.Steps[0].Failure != "no" {
		t.Errorf("step fails: got %v, %+v", err, j)
	}
	key := j.Facts["key"]
	w.now = w.now.Add(time.Minute)
	j, err = run(func(r *rotate.Runner, _ *rotate.Rotation) {
		r.Wait = func(context.Context, rotate.Step, time.Time) error { return no }
	})
	if !errors.Is(err, no) || j.Next() != 1 || j.Steps[0].Failure != "" || j.Steps[1].From.IsZero() || j.Facts["key"] != key {
		t.Errorf("no wait: got %v, %+v", err, j)
	}
	plan, err := w.rotation().Plan(j, nil)
	if err != nil || plan[0].Done.IsZero() || !plan[1].From.Equal(j.Steps[1].From) {
		t.Errorf("plan %+v, %v, want the first step done and the second from %v on", plan, err, j.Steps[1].From)
	}
	j, err = run(func(r *rotate.Runner, _ *rotate.Rotation) {
		r.Before = func(_ context.Context, s rotate.Step) error { return fmt.Errorf("%w for %s", no, s.Name) }
	})
	if !errors.Is(err, no) || j.Next() != 1 || !j.Steps[1].Begun.IsZero() {
		t.Errorf("check fails: got %v, %+v", err, j)
	}
	if _, err = run(func(_ *rotate.Runner, rot *rotate.Rotation) { rot.Steps = rot.Steps[:2] }); !errors.Is(err, rotate.ErrOtherSteps) {
		t.Errorf("other steps: got %v, want it refused", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.runner(dir).Run(ctx, w.rotation(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %v", err)
	}
	if j, err = run(func(*rotate.Runner, *rotate.Rotation) {}); err != nil || j.Finished.IsZero() || w.count("published") != 1 {
		t.Errorf("gone on with: got %v, %+v", err, j)
	}
	info, err := os.Stat(filepath.Join(dir, "done"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder of finished rotations: %v, %v", info, err)
	}
}

// TestAbandon: a rotation is forgotten until a step was begun.
func TestAbandon(t *testing.T) {
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), killAt: -1}
	dir := t.TempDir()
	if err := rotate.Abandon(dir, "ca", "switch"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("abandon nothing: got %v", err)
	}
	stop := w.runner(dir)
	stop.Wait = func(context.Context, rotate.Step, time.Time) error { return errKilled }
	for range 2 {
		w.made = nil
		if _, err := stop.Run(t.Context(), w.rotation(), nil); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		if err := rotate.Abandon(dir, "ca", "publish"); !errors.Is(err, rotate.ErrBegun) {
			t.Errorf("abandon what was published: got %v, want it refused", err)
		}
		if err := rotate.Abandon(dir, "ca", "switch"); err != nil {
			t.Errorf("abandon: %v", err)
		}
		if j, err := rotate.Read(dir, "ca"); j != nil || err != nil {
			t.Errorf("abandoned, and there is %+v, %v", j, err)
		}
	}
}

// TestPlanAhead: a plan reckons with expected facts, and changes nothing.
func TestPlanAhead(t *testing.T) {
	w := &world{t: t, killAt: -1}
	at := time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)
	expected := rotate.Facts{}
	expected.SetTime("distributed", at)
	plan, err := w.rotation().Plan(nil, expected)
	later := at.Add(time.Second - 1).Truncate(time.Second)
	want := []rotate.Planned{
		{Name: "publish", Does: "publish the next key"},
		{Name: "switch", Does: "go over to it", From: later},
		{Name: "close", Does: "close the one before", From: later}, // since it comes after that
	}
	if err != nil || !reflect.DeepEqual(plan, want) {
		t.Errorf("got %+v, %v, want %+v", plan, err, want)
	}
	if _, err := w.rotation().Plan(nil, rotate.Facts{"distributed": "soon"}); err == nil {
		t.Error("a time that is none was planned with")
	}
	if len(w.made) > 0 {
		t.Errorf("a plan made %q", w.made)
	}
}

const sample = `{"version":1,"what":"ca","started":"2026-03-01T12:00:00Z","steps":[{"name":"publish","begun":"2026-03-01T12:00:00Z","done":"2026-03-01T12:00:01Z"},` +
	`{"name":"switch","from":"2026-03-01T13:00:00Z","begun":"2026-03-01T13:00:00Z","failure":"no"},{"name":"close"}],"facts":{"key":"ca-2"}}`

func TestDecode(t *testing.T) {
	if _, err := rotate.Decode([]byte(sample)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ old, next, want string }{
		"version":          {`"version":1`, `"version":2`, "version 2"},
		"member":           {`"what"`, `"whatever":1,"what"`, "unknown field"},
		"path":             {`"ca"`, `"../ca"`, "nothing that is rotated"},
		"never started":    {`"started":"2026-03-01T12:00:00Z",`, ``, "never started"},
		"no name":          {`{"name":"close"}`, `{"name":""}`, "no name"},
		"twice":            {`{"name":"close"}`, `{"name":"publish"}`, "no name of its own"},
		"skipped":          {`{"name":"close"}`, `{"name":"close","begun":"2026-03-01T12:00:00Z"}`, "before one that is not done"},
		"done, not begun":  {`"begun":"2026-03-01T12:00:00Z","done"`, `"done"`, "never begun"},
		"failed unbegun":   {`"begun":"2026-03-01T13:00:00Z","failure"`, `"failure"`, "never begun"},
		"finished early":   {`"steps"`, `"finished":"2026-03-01T12:00:00Z","steps"`, "a step is not done"},
		"no steps":         {sample[strings.Index(sample, `[`) : strings.Index(sample, `]`)+1], `[]`, "no step"},
		"fact's name":      {`"key"`, `"Key"`, "fact"},
		"two documents":    {`"ca-2"}}`, `"ca-2"}}{}`, "more than one"},
		"fact is too long": {`"ca-2"`, `"` + strings.Repeat("x", 70<<10) + `"`, "too long"},
	} {
		text := strings.Replace(sample, tt.old, tt.next, 1)
		if _, err := rotate.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestRead: a journal under another's name, or one that was cut, is refused.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"log": sample, "tsa": sample[:100], "ctlog": strings.Repeat(" ", 2<<20)} {
		if err := os.WriteFile(rotate.File(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := rotate.Read(dir, name); err == nil {
			t.Errorf("%s: got %+v, want it refused", name, j)
		}
	}
	if _, err := rotate.List(dir); err == nil {
		t.Error("a list with a journal that cannot be read")
	}
}

// FuzzDecode: what is taken is written again as the same, and says what comes next.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"version":1,"what":"log","started":"2026-03-01T12:00:00+02:00","finished":"2026-03-01T12:00:00Z","steps":[{"name":"a","begun":"2026-03-01T12:00:00Z","done":"2026-03-01T12:00:00Z"}],"facts":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := rotate.Decode(data)
		if err != nil {
			return
		}
		once, err := rotate.Encode(j)
		if err != nil {
			t.Skip() // a year that JSON has no form for
		}
		again, err := rotate.Decode(once)
		if err != nil {
			t.Fatalf("%q was taken, and not when it was written again: %v", data, err)
		}
		twice, err := rotate.Encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q was taken, and written as %q, then %q, %v", data, once, twice, err)
		}
		if n := j.Next(); n < 0 || n > len(j.Steps) || !j.Finished.IsZero() && n != len(j.Steps) {
			t.Errorf("%q: next step %d of %d", data, n, len(j.Steps))
		}
	})
}
