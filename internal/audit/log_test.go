package audit_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sigstack/internal/audit"
)

func TestWhatIsRecordedIsReadAndVerified(t *testing.T) {
	o := sample(t, 40)
	rep := mustVerify(t, o)
	if rep.Records != 43 || rep.FirstSeq != 1 || rep.LastSeq != 43 || rep.Anchors != 2 || !rep.Signed || rep.Chain != o.Chain {
		t.Errorf("report: got %+v, want 43 records with 2 anchors of chain %s", rep, o.Chain)
	}
	if rep.Files < 3 || rep.Files != len(files(t, o.Dir)) {
		t.Errorf("got %d files, want some, and as many as there are: %d", rep.Files, len(files(t, o.Dir)))
	}
	if rep.Anchored != 40 || rep.LogIndex != 7 {
		t.Errorf("newest anchor: got record %d at %d, want 40 at 7", rep.Anchored, rep.LogIndex)
	}
	var subjects []string
	for _, r := range records(t, o.Dir) {
		if r.Action == audit.ActionCertificate {
			subjects = append(subjects, r.Subject)
		}
	}
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("user%d@example.com", i))
	}
	if !slices.Equal(subjects, want) {
		t.Errorf("subjects: got %v, want %v", subjects, want)
	}
}

func TestEveryStartGoesOnWithTheChain(t *testing.T) {
	o := options(t)
	for i := range 5 {
		l := open(t, o)
		record(t, l, issued(i))
		o.Chain = l.Chain()
		closeLog(t, l)
	}
	if rep := mustVerify(t, o); rep.Records != 6 {
		t.Errorf("got %d records, want 6", rep.Records)
	}
}

func TestWithoutAKeyHeadsAreNotSigned(t *testing.T) {
	o := options(t)
	o.Signer = nil
	l := open(t, o)
	record(t, l, issued(0))
	closeLog(t, l)
	if rep := mustVerify(t, o); rep.Signed || rep.Records != 2 {
		t.Errorf("got %+v, want two records, unsigned", rep)
	}
	signed := o
	signed.Signer = newKey(t)
	if _, err := verify(t, signed); err == nil {
		t.Error("an unsigned head passes where a key is demanded")
	}
	if _, err := audit.Open(t.Context(), signed); err == nil {
		t.Error("an unsigned record is gone on with under a key")
	}
}

// TestManyWriters: every event that was acknowledged is in the record once, in an
// order in which each writer's events are as it made them.
func TestManyWriters(t *testing.T) {
	o := options(t)
	o.FileSize, o.Anchor = 32<<10, anchorAlways
	l := open(t, o)
	const writers, each = 16, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := issued(i)
				e.Subject = fmt.Sprint("writer-", w)
				if err := l.Record(t.Context(), e); err != nil {
					t.Error(err)
				}
				if head := l.Head(); head.Seq < uint64(i)+2 {
					t.Errorf("head is at %d after %d records of one writer", head.Seq, i+1)
				}
			}
		})
	}
	stop, verified := make(chan struct{}), make(chan int)
	go func() { verified <- verifyUntil(t, o, stop) }()
	wg.Wait()
	close(stop)
	if n := <-verified; n == 0 {
		t.Error("nobody verified meanwhile")
	}
	closeLog(t, l)
	mustVerify(t, o)
	next := map[string]int{}
	for _, r := range records(t, o.Dir) {
		if r.Action != audit.ActionCertificate {
			continue
		}
		if got, want := r.Detail["serial"], fmt.Sprint(next[r.Subject]); got != want {
			t.Fatalf("%s: got its event %s, want %s", r.Subject, got, want)
		}
		next[r.Subject]++
	}
	for w := range writers {
		if got := next[fmt.Sprint("writer-", w)]; got != each {
			t.Errorf("writer %d: got %d records, want %d", w, got, each)
		}
	}
}

// verifyUntil verifies a record that is being written, at least once.
func verifyUntil(t *testing.T, o audit.Options, stop chan struct{}) (n int) {
	for {
		if _, err := audit.Verify(context.WithoutCancel(t.Context()), verifyConfig(o)); err != nil {
			t.Errorf("verify while it is written: %v", err)
		}
		n++
		select {
		case <-stop:
			return n
		default:
		}
	}
}

func TestAClosedLogRecordsNothing(t *testing.T) {
	l := open(t, options(t))
	closeLog(t, l)
	closeLog(t, l)
	if err := l.Record(t.Context(), issued(0)); err == nil {
		t.Error("an event was recorded after Close")
	}
	if err := l.Ready(t.Context()); err == nil {
		t.Error("a closed record is ready")
	}
}
