package rotate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigstack/internal/rotate"
)

// TestKept: who copies the journal has each step before it begins, and its end before the
// next one does; a copy that fails ends the run, which goes on when it is run again; and
// the last copy is of a rotation that is finished.
func TestKept(t *testing.T) {
	errAway := errors.New("nobody takes copies")
	for fail := 0; ; fail++ {
		dir, copies := t.TempDir(), t.TempDir()
		w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), killAt: -1}
		rot := w.rotation()
		for i := range rot.Steps {
			do := rot.Steps[i].Do
			rot.Steps[i].Do = func(ctx context.Context, f rotate.Facts) error {
				j, err := rotate.Read(copies, "ca")
				if err != nil || j == nil {
					t.Fatalf("step %d begins, and the copy is %+v (%v)", i, j, err)
				}
				if j.Steps[i].Begun.IsZero() || j.Next() != i {
					t.Errorf("step %d begins, and the copy says that %d is next: %+v", i, j.Next(), j.Steps)
				}
				return do(ctx, f)
			}
		}
		calls := 0
		r := w.runner(dir)
		r.Kept = func(context.Context) error {
			calls++
			if calls == fail+1 {
				return errAway
			}
			if err := os.RemoveAll(copies); err != nil {
				return err
			}
			return os.CopyFS(copies, os.DirFS(dir))
		}
		_, err := r.Run(t.Context(), rot, rotate.Facts{"key": "ca-2"})
		if failed := calls > fail; failed != errors.Is(err, errAway) {
			t.Fatalf("copy %d fails (%v): the run ends with %v", fail, failed, err)
		}
		if err == nil {
			if calls < 8 { // two for each step, the beginning and the end
				t.Errorf("%d copies were taken", calls)
			}
			return
		}
		if j, err := rotate.Read(dir, "ca"); err != nil || j == nil {
			continue // it was put away: whoever has an older copy does the last step again
		}
		if _, err := r.Run(t.Context(), rot, nil); err != nil {
			t.Fatalf("copy %d failed, and once more: %v", fail, err)
		}
		all, err := rotate.List(copies)
		if err != nil || !slices.ContainsFunc(all, func(j *rotate.Journal) bool { return !j.Finished.IsZero() }) {
			done, _ := filepath.Glob(filepath.Join(copies, "done", "*")) // the pattern is right
			t.Errorf("copy %d failed: in the end the copies are %v, %v (%v)", fail, all, done, err)
		}
		checkWorld(t, w, dir, "a copy failed")
	}
}
