package sct

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

var issuer = [32]byte{1, 2, 3}

// fakeLog signs as a CT log does, unless told otherwise.
type fakeLog struct {
	t     testing.TB
	key   crypto.Signer
	spki  []byte
	asked atomic.Int64

	mu     sync.Mutex
	submit func(context.Context) ([]byte, error) // guarded by mu; nil: sign
}

func newLog(t testing.TB, key crypto.Signer) *fakeLog {
	t.Helper()
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &fakeLog{t: t, key: key, spki: spki}
}

func newECDSA(t testing.TB) *fakeLog {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newLog(t, key)
}

// do makes the log answer by f from now on; nil: as it should.
func (l *fakeLog) do(f func(context.Context) ([]byte, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.submit = f
}

func (l *fakeLog) Submit(ctx context.Context, chain [][]byte) ([]byte, error) {
	l.asked.Add(1)
	l.mu.Lock()
	f := l.submit
	l.mu.Unlock()
	if f != nil {
		return f(ctx)
	}
	return l.answer(chain[0], uint64(time.Now().UnixMilli()), nil), nil
}

// answer is a good one for tbs, after change was let at what is signed.
func (l *fakeLog) answer(tbs []byte, at uint64, change func(*answer)) []byte {
	id := pki.LogID(l.spki)
	a := answer{ID: id[:], Timestamp: at, Extensions: []byte("x")}
	signed, err := a.signedBytes(issuer, tbs)
	if err != nil {
		l.t.Error(err)
	}
	sum := sha256.Sum256(signed)
	sig, err := l.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		l.t.Error(err)
	}
	algorithm := byte(signatureECDSA)
	if _, ok := l.key.(*rsa.PrivateKey); ok {
		algorithm = signatureRSA
	}
	a.Signature = append([]byte{hashSHA256, algorithm, byte(len(sig) >> 8), byte(len(sig))}, sig...)
	if change != nil {
		change(&a)
	}
	out, err := json.Marshal(a)
	if err != nil {
		l.t.Error(err)
	}
	return out
}

func (l *fakeLog) log(name string) Log { return Log{Name: name, Key: l.spki, Submit: l.Submit} }

var tbs = []byte("to be signed")

func precert() Precert {
	return Precert{Chain: [][]byte{tbs, {1}, {2}}, TBS: tbs, Issuer: issuer, NotAfter: time.Now().Add(10 * time.Minute)}
}

type reports struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (r *reports) add(log string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		log += " fails"
	}
	r.all = append(r.all, log)
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, ", ")
}

func newPool(t testing.TB, logs ...Log) (*Pool, *reports) {
	t.Helper()
	r := &reports{}
	p, err := New(Config{Logs: logs, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Report: r.add})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

// idIn reports whose SCT it is.
func idIn(sct []byte, l *fakeLog) bool {
	id := pki.LogID(l.spki)
	return len(sct) > 33 && sct[0] == 0 && bytes.Equal(sct[1:33], id[:])
}

func hang(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func failing(err error) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return nil, err }
}

// TestFailures: whatever one log does wrong, another one's timestamp is embedded and
// the report names the first; without another one there is no timestamp, in time.
func TestFailures(t *testing.T) {
	l := newECDSA(t)
	other := newECDSA(t)
	with := func(change func(*answer)) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			return l.answer(tbs, uint64(time.Now().UnixMilli()), change), nil
		}
	}
	for name, tt := range map[string]struct {
		do   func(context.Context) ([]byte, error)
		kind fault.Kind // without another log
	}{
		"hangs":             {hang, fault.Unavailable},
		"unavailable":       {failing(fault.New(fault.Unavailable, "busy")), fault.Unavailable},
		"times out":         {failing(fault.New(fault.Timeout, "slow")), fault.Unavailable},
		"rests":             {failing(restError{fault.New(fault.Unavailable, "busy"), time.Hour}), fault.Unavailable},
		"refuses":           {failing(fault.New(fault.Invalid, "unknown root")), fault.Internal},
		"forbids":           {failing(fault.New(fault.Forbidden, "read-only")), fault.Internal},
		"fails":             {failing(errors.New("dial")), fault.Internal},
		"garbage":           {func(context.Context) ([]byte, error) { return []byte("<html>"), nil }, fault.Internal},
		"nothing":           {func(context.Context) ([]byte, error) { return nil, nil }, fault.Internal},
		"another log's ID":  {with(func(a *answer) { a.ID = make([]byte, 32) }), fault.Internal},
		"another version":   {with(func(a *answer) { a.Version = 1 }), fault.Internal},
		"another time":      {with(func(a *answer) { a.Timestamp-- }), fault.Internal},
		"other extensions":  {with(func(a *answer) { a.Extensions = nil }), fault.Internal},
		"wrong signature":   {with(func(a *answer) { a.Signature[len(a.Signature)-1] ^= 1 }), fault.Internal},
		"no signature":      {with(func(a *answer) { a.Signature = nil }), fault.Internal},
		"another hash":      {with(func(a *answer) { a.Signature[0] = 2 }), fault.Internal},
		"another algorithm": {with(func(a *answer) { a.Signature[1] = signatureRSA }), fault.Internal},
		"bytes behind":      {with(func(a *answer) { a.Signature = append(a.Signature, 0) }), fault.Internal},
		"of the future": {func(context.Context) ([]byte, error) {
			return l.answer(tbs, uint64(time.Now().Add(time.Hour).UnixMilli()), nil), nil
		}, fault.Internal},
		"of another subject": {func(context.Context) ([]byte, error) { return l.answer([]byte("tbt"), 1, nil), nil }, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l.do(tt.do)
				for _, again := range []bool{false, true} {
					first := l.log("first")
					first.Again = again
					alone, said := newPool(t, first)
					start := time.Now()
					sct, err := alone.Get(t.Context(), precert())
					if fault.KindOf(err) != tt.kind || sct != nil {
						t.Errorf("alone: %x, %v of kind %v, want kind %v", sct, err, fault.KindOf(err), tt.kind)
					}
					if !strings.Contains(fault.Public(err), "Error entering certificate in CTL") {
						t.Errorf("alone: public sentence %q", fault.Public(err))
					}
					if took := time.Since(start); took >= 5*time.Second {
						t.Errorf("alone: answered after %v", took)
					}
					if said.String() != "first fails" {
						t.Errorf("reported %q", said)
					}
				}
				both, said := newPool(t, l.log("first"), other.log("second"))
				start := time.Now()
				sct, err := both.Get(t.Context(), precert())
				if err != nil || !idIn(sct, other) {
					t.Errorf("with another: %x, %v, want the other's", sct, err)
				}
				if took := time.Since(start); took > 1500*time.Millisecond {
					t.Errorf("with another: answered after %v", took)
				}
				// From now on the failing one is asked last.
				n := l.asked.Load()
				if _, err := both.Get(t.Context(), precert()); err != nil || l.asked.Load() != n {
					t.Errorf("next: %v, and the failing log was asked %d times", err, l.asked.Load()-n)
				}
				if said.String() != "first fails" {
					t.Errorf("reported %q", said)
				}
			})
		})
	}
}

// TestRecovers: a log that has failed is asked again after a while, by one caller,
// and is the first one again when it answers.
func TestRecovers(t *testing.T) {
	a, b := newECDSA(t), newECDSA(t)
	synctest.Test(t, func(t *testing.T) {
		p, said := newPool(t, a.log("a"), b.log("b"))
		a.do(failing(fault.New(fault.Unavailable, "down")))
		get := func(want *fakeLog) {
			t.Helper()
			if sct, err := p.Get(t.Context(), precert()); err != nil || !idIn(sct, want) {
				t.Fatalf("%x, %v", sct, err)
			}
		}
		get(b)
		time.Sleep(firstRest)
		get(b) // found out that it is still down
		if n := a.asked.Load(); n != 2 {
			t.Errorf("the failing log was asked %d times, want 2", n)
		}
		time.Sleep(firstRest)
		get(b)
		if n := a.asked.Load(); n != 2 {
			t.Errorf("it was asked %d times, want 2: its rest is longer now", n)
		}
		a.do(nil)
		time.Sleep(firstRest)
		get(a)
		get(a)
		if said.String() != "a fails, a" {
			t.Errorf("reported %q", said)
		}
	})
}

// TestComesBack: one remote log that is away for less than the wait fails nobody.
func TestComesBack(t *testing.T) {
	a := newECDSA(t)
	synctest.Test(t, func(t *testing.T) {
		l := a.log("a")
		l.Again = true
		p, _ := newPool(t, l)
		since := time.Now()
		a.do(func(context.Context) ([]byte, error) {
			if time.Since(since) > 2500*time.Millisecond {
				return a.answer(tbs, 1, nil), nil
			}
			return nil, restError{fault.New(fault.Unavailable, "busy"), time.Second}
		})
		if sct, err := p.Get(t.Context(), precert()); err != nil || !idIn(sct, a) {
			t.Errorf("%x, %v", sct, err)
		}
		if n := a.asked.Load(); n < 3 || n > 5 {
			t.Errorf("asked %d times in 3 s, and it wants to be asked once a second", n)
		}
	})
}

// TestFailoverUnderLoad: a log goes and comes while many submit: nobody notices.
func TestFailoverUnderLoad(t *testing.T) {
	a, b := newECDSA(t), newECDSA(t)
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPool(t, a.log("a"), b.log("b"))
		var load sync.WaitGroup
		stop := make(chan struct{})
		var served atomic.Int64
		for range 8 {
			load.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := p.Get(t.Context(), precert()); err != nil {
						t.Errorf("an error under failover: %v", err)
						return
					}
					served.Add(1)
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		for _, bad := range []func(context.Context) ([]byte, error){hang, failing(fault.New(fault.Unavailable, "x")), failing(errors.New("x"))} {
			for _, l := range []*fakeLog{a, b} {
				l.do(bad)
				time.Sleep(5 * time.Second)
				l.do(nil)
				time.Sleep(40 * time.Second)
			}
		}
		close(stop)
		load.Wait()
		if served.Load() < 1000 || a.asked.Load() < 100 || b.asked.Load() < 10 {
			t.Errorf("%d served, a asked %d times, b %d", served.Load(), a.asked.Load(), b.asked.Load())
		}
	})
}

// TestRanges: a log is asked for what it takes.
func TestRanges(t *testing.T) {
	y26, y27 := newECDSA(t), newECDSA(t)
	cut := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	first, second := y26.log("2026"), y27.log("2027")
	first.NotAfterLimit, second.NotAfterStart, second.NotAfterLimit = cut, cut, cut.AddDate(1, 0, 0)
	p, _ := newPool(t, first, second)
	for _, tt := range []struct {
		at   time.Time
		want *fakeLog
	}{{cut.Add(-time.Second), y26}, {cut, y27}, {cut.AddDate(1, 0, 0), nil}} {
		pre := precert()
		pre.NotAfter = tt.at
		sct, err := p.Get(t.Context(), pre)
		switch {
		case tt.want == nil:
			if fault.KindOf(err) != fault.Internal || sct != nil {
				t.Errorf("%v: %x, %v, want fault.Internal", tt.at, sct, err)
			}
		case err != nil || !idIn(sct, tt.want):
			t.Errorf("%v: %x, %v", tt.at, sct, err)
		}
	}
}

// TestClientLeaves: that says nothing of the log.
func TestClientLeaves(t *testing.T) {
	a := newECDSA(t)
	a.do(hang)
	p, said := newPool(t, a.log("a"), newECDSA(t).log("b"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Get(ctx, precert()); fault.KindOf(err) != fault.Canceled || said.String() != "" {
		t.Errorf("%v, reported %q", err, said)
	}
}

// TestRSALog: an SCT signed by an RSA key verifies, and only as such.
func TestRSALog(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t, key)
	v, err := newVerifier(l.spki)
	if err != nil {
		t.Fatal(err)
	}
	good := l.answer(tbs, 5, nil)
	if _, err := v.verify(good, issuer, tbs, time.Now()); err != nil {
		t.Errorf("SCT of an RSA log: %v", err)
	}
	if _, err := v.verify(good, [32]byte{2}, tbs, time.Now()); err == nil {
		t.Error("SCT for another issuer verifies")
	}
	if _, err := v.verify(l.answer(tbs, 5, func(a *answer) { a.Signature[1] = signatureECDSA }), issuer, tbs, time.Now()); err == nil {
		t.Error("an RSA signature that says it is ECDSA verifies")
	}
}

func TestNewRefuses(t *testing.T) {
	a, b := newECDSA(t), newECDSA(t)
	empty := a.log("a")
	empty.NotAfterStart = time.Unix(2, 0)
	empty.NotAfterLimit = time.Unix(2, 0)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		logs []Log
		want string
	}{
		"none":       {nil, "no CT log"},
		"no key":     {[]Log{{Name: "a", Submit: a.Submit}}, "parse CT log key"},
		"no way":     {[]Log{{Name: "a", Key: a.spki}}, "no way to it"},
		"same name":  {[]Log{a.log("a"), b.log("a")}, "twice"},
		"same key":   {[]Log{a.log("a"), a.log("b")}, "twice"},
		"no range":   {[]Log{empty}, "range"},
		"every one":  {[]Log{{Name: "a"}, {Name: "b", Key: b.spki}}, `"b"`},
		"other size": {[]Log{newLog(t, p384).log("a")}, ""},
	} {
		_, err := New(Config{Logs: tt.logs, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if tt.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// FuzzVerify: what verifies says of itself exactly what the log signed.
func FuzzVerify(f *testing.F) {
	l := newECDSA(f)
	v, err := newVerifier(l.spki)
	if err != nil {
		f.Fatal(err)
	}
	good := l.answer(tbs, 1234, nil)
	want, err := v.verify(good, issuer, tbs, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"sct_version":0,"id":null,"timestamp":1e3}`))
	f.Fuzz(func(t *testing.T, response []byte) {
		got, err := v.verify(response, issuer, tbs, time.Now())
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q is taken as %x, and the log signed %x alone", response, got, want)
		}
	})
}
