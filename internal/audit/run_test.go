package audit_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/audit"
)

// refused is an event that anybody can cause.
func refused(i int, cause string) audit.Event {
	return audit.Event{
		Action: audit.ActionCertificate, Outcome: audit.Refused, Service: "ca",
		Address: fmt.Sprint("192.0.2.", i%20), Detail: map[string]string{"cause": cause},
	}
}

// TestRefusalsOfStrangersAreBounded: of as many as come, each is in the record, alone
// or in a count, and the record grows by a bounded number of lines.
func TestRefusalsOfStrangersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		l := open(t, o)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		const perSecond, seconds = 50, 300
		for range seconds {
			for i := range perSecond {
				// Every other one has a cause of its own, as strangers can make them.
				cause := "the token has expired"
				if i%2 == 1 {
					cause = fmt.Sprint("cause ", i)
				}
				record(t, l, refused(i, cause))
			}
			time.Sleep(time.Second)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closeLog(t, l)
		single, counts, counted := tally(t, o.Dir)
		if single+counted != perSecond*seconds {
			t.Errorf("%d records and counts of %d, want %d refusals in all", single, counted, perSecond*seconds)
		}
		if single < 100 || single > 100+seconds/10+1 || counts > (seconds/60+1)*9 {
			t.Errorf("%d records and %d counts of %d refusals in %d s", single, counts, perSecond*seconds, seconds)
		}
	})
}

// tally counts what is recorded of refusals.
func tally(t *testing.T, dir string) (single, counts, counted int) {
	t.Helper()
	for _, r := range records(t, dir) {
		switch {
		case r.Action != audit.ActionCertificate || r.Outcome != audit.Refused:
		case r.Detail["count"] == "":
			single++
		default:
			n, err := strconv.Atoi(r.Detail["count"])
			if err != nil || len(strings.Fields(r.Detail["addresses"])) > 8 || r.Detail["first"] == "" || r.Detail["cause"] == "" {
				t.Errorf("count: %v", r.Detail)
			}
			counts, counted = counts+1, counted+n
		}
	}
	return single, counts, counted
}

// TestWhatIsNotFolded: what was done, and each administrative act, has a record of
// its own however often; of somebody who is known many refusals have.
func TestWhatIsNotFolded(t *testing.T) {
	o := options(t)
	l := open(t, o)
	known := refused(1, "no proof of the key")
	known.Subject = "ann@example.com"
	act := audit.Event{Action: "admin.reload", Outcome: audit.Failed, Service: "admin"}
	for range 200 {
		record(t, l, issued(1), known, act, refused(1, "x"))
	}
	for range 1200 {
		record(t, l, known)
	}
	closeLog(t, l)
	got := map[string]int{}
	for _, r := range records(t, o.Dir) {
		got[r.Action+r.Outcome+r.Subject]++
	}
	for name, want := range map[string]int{
		"ca.certificateokuser1@example.com": 200,
		"admin.reloadfailed":                200,
	} {
		if got[name] != want {
			t.Errorf("%s: got %d, want %d", name, got[name], want)
		}
	}
	if n := got["ca.certificaterefused"]; n < 100 || n > 110 {
		t.Errorf("refusals of strangers: got %d records, want some 100", n)
	}
	if n := got["ca.certificaterefusedann@example.com"]; n < 1000 || n > 1050 {
		t.Errorf("refusals of somebody known: got %d records, want some 1000", n)
	}
}

// awayKey is an audit key in a token or key service that can be away.
type awayKey struct {
	crypto.Signer
	away atomic.Bool
}

func (k *awayKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.away.Load() {
		return nil, errors.New("the token is away")
	}
	return k.Signer.Sign(random, digest, opts)
}

// TestHealsUnasked: when the key is back, so is the record, within seconds and
// though nobody asks for anything.
func TestHealsUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		key := &awayKey{Signer: o.Signer}
		var mu sync.Mutex
		var last audit.Health
		o.Signer = key
		o.Report = func(h audit.Health) {
			mu.Lock()
			defer mu.Unlock()
			last = h
		}
		l := open(t, o)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		health := func() error {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return last.Write
		}
		record(t, l, issued(1))
		key.away.Store(true)
		if err := l.Record(ctx, issued(2)); err == nil {
			t.Error("an event was recorded without the key")
		}
		time.Sleep(30 * time.Second)
		if health() == nil {
			t.Error("the record says it is well without its key")
		}
		key.away.Store(false)
		time.Sleep(3 * time.Second)
		if err := health(); err != nil {
			t.Errorf("3 s after the key is back: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closeLog(t, l)
		mustVerify(t, o)
	})
}

// anchorLog stands in for a transparency log that can be down.
type anchorLog struct {
	mu    sync.Mutex
	down  bool // guarded by mu, as is what follows
	tries int
	kept  []string
}

func (a *anchorLog) submit(_ context.Context, statement []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	if a.down {
		return nil, errors.New("the log is down")
	}
	a.kept = append(a.kept, string(statement))
	return proofOf(statement), nil
}

func (a *anchorLog) set(down bool) (tries, kept int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
	return a.tries, len(a.kept)
}

// TestAnchors: at the start, every interval when something was recorded, and at the
// end; with pauses that grow while the log is down, which stops nothing.
func TestAnchors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &anchorLog{}
		var health []audit.Health
		o := options(t)
		o.Anchor, o.AnchorEvery = log.submit, time.Hour
		o.Report = func(h audit.Health) { health = append(health, h) }
		l := open(t, o)
		ctx, stop := context.WithCancel(t.Context())
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		wantAnchors(t, log, "at the start", 1)
		pass(3 * time.Hour)
		wantAnchors(t, log, "after hours without a record", 1)
		record(t, l, issued(0))
		pass(time.Hour)
		wantAnchors(t, log, "after a record and an hour", 2)

		before, _ := log.set(true)
		record(t, l, issued(1))
		pass(2 * time.Hour)
		tries, kept := log.set(true)
		if kept != 2 || tries-before < 10 || tries-before > 40 {
			t.Errorf("while the log is down: %d anchors, %d tries, want some 20", kept, tries-before)
		}
		if last := health[len(health)-1]; last.Anchor == nil || last.Write != nil {
			t.Errorf("reported %+v while the log is down", last)
		}
		record(t, l, issued(2))
		log.set(false)
		pass(5 * time.Minute)
		wantAnchors(t, log, "when it is back", 3)
		if last := health[len(health)-1]; last.Anchor != nil {
			t.Errorf("reported %+v when it is back", last)
		}
		record(t, l, issued(3))
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		wantAnchors(t, log, "at the end", 4)
		last := l.Anchored()
		closeLog(t, l)
		if rep := mustVerify(t, o); rep.Anchors != 4 || rep.Anchored != last || rep.Anchored != rep.LastSeq-1 {
			t.Errorf("got %+v, want 4 anchors, all but the last one's own record anchored", rep)
		}
	})
}

func wantAnchors(t *testing.T, log *anchorLog, when string, want int) {
	t.Helper()
	if _, got := log.set(false); got != want {
		t.Errorf("%s: got %d anchors, want %d", when, got, want)
	}
}

// TestStopDoesNotWaitForTheLog: an end with a log that does not answer.
func TestStopDoesNotWaitForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Anchor = func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		l := open(t, o)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		stop()
		start := time.Now()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		closeLog(t, l)
		mustVerify(t, o)
	})
}

// TestAnchorOnDemand is what an administrative act does.
func TestAnchorOnDemand(t *testing.T) {
	log := &anchorLog{}
	o := options(t)
	o.Anchor = log.submit
	l := open(t, o)
	record(t, l, issued(0))
	for range 2 { // the second finds nothing new
		if seq, err := l.Anchor(t.Context()); err != nil || seq != 2 {
			t.Errorf("got %d, %v; want record 2", seq, err)
		}
	}
	wantAnchors(t, log, "after both", 1)
	log.set(true)
	record(t, l, issued(1))
	if _, err := l.Anchor(t.Context()); err == nil {
		t.Error("anchored in a log that is down")
	}
	closeLog(t, l)
	o.Signer = nil
	o.Dir = t.TempDir()
	if _, err := open(t, o).Anchor(t.Context()); err == nil {
		t.Error("anchored without a key")
	}
}
