package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
)

// TestMayAndDone: an act that may not be done is not begun, and one after which
// something fails has failed. Both are on record.
func TestMayAndDone(t *testing.T) {
	dir := t.TempDir()
	lock, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock() //nolint:errcheck // the test has ended
	var acts []admin.Act
	var ended []error
	after := errors.New("not everywhere")
	own := errors.New("its own error")
	s, err := admin.New(t.Context(), admin.Config{
		Lock: lock, Ready: func(context.Context) error { return nil },
		Record: func(_ context.Context, a admin.Act) error { acts = append(acts, a); return nil },
		May: func(_ context.Context, act string) error {
			if act == "refused" {
				return fault.New(fault.Conflict, "ask the leader")
			}
			return nil
		},
		Done: func(_ context.Context, act string, err error) error {
			ended = append(ended, err)
			if act == "half" {
				return after
			}
			return nil
		},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test has ended
	for name, tt := range map[string]struct {
		err     error // of the act
		want    error
		outcome string
	}{
		"refused": {nil, nil, admin.OutcomeRefused},
		"whole":   {nil, nil, admin.OutcomeOK},
		"half":    {nil, after, admin.OutcomeFailed},
		"failed":  {own, own, admin.OutcomeFailed},
	} {
		acts, ended = nil, nil
		began := false
		answer, err := s.Do(t.Context(), admin.Act{Name: name}, func(context.Context) (any, error) { began = true; return name, tt.err })
		if len(acts) != 1 || acts[0].Outcome != tt.outcome {
			t.Errorf("%s: on record %+v, want outcome %s", name, acts, tt.outcome)
		}
		if name == "refused" {
			if began || len(ended) > 0 || fault.KindOf(err) != fault.Conflict {
				t.Errorf("%s: begun %t, ended %v, %v", name, began, ended, err)
			}
			continue
		}
		if !errors.Is(err, tt.want) || (err == nil) != (answer != nil && tt.outcome == admin.OutcomeOK) || len(ended) != 1 || !errors.Is(ended[0], tt.err) {
			t.Errorf("%s: %v, %v, ended %v", name, answer, err, ended)
		}
	}
}
