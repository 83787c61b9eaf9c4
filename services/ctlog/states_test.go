package ctlog_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/services/ctlog"
)

// refusesChains checks that a log takes nothing any more, however it is asked.
func refusesChains(t *testing.T, r *running, ca *authority) {
	t.Helper()
	size := r.tree.Head().Size
	plain := ca.leaf(t, true, nil)
	for endpoint, body := range map[string][]byte{
		"add-pre-chain": submission(t, ca.chain(t)...),
		"add-chain":     submission(t, plain, ca.inter.Raw),
	} {
		if rec := r.do(t, http.MethodPost, prefix+endpoint, body); rec.Code != http.StatusForbidden {
			t.Errorf("%s: answer %d %q, want 403", endpoint, rec.Code, rec.Body)
		}
	}
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("within the process: %v, want fault.Forbidden", err)
	}
	if got := r.tree.Head().Size; got != size {
		t.Errorf("the tree grew from %d to %d entries", size, got)
	}
}

func filled(t *testing.T, d *disk, ca *authority, n int) {
	t.Helper()
	r := d.open(t, ca, nil)
	for range n {
		d.clock.move(time.Second)
		if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
}

// TestReadOnly: nothing comes in, everything is read, and tree heads stay fresh.
func TestReadOnly(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	filled(t, d, ca, 3)
	d.adjust = func(c *ctlog.Config) { c.State = ctlog.ReadOnly }
	r := d.open(t, ca, nil)
	refusesChains(t, r, ca)
	checkLog(t, r, 3)
	if r.Takes(d.clock.now()) {
		t.Error("a read-only log says that it takes certificates")
	}
}

// TestFrozen: one tree head for ever, whenever the log is asked and however often
// it is started.
func TestFrozen(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	filled(t, d, ca, 3)
	r := d.open(t, ca, nil)
	before, err := r.client.GetSTH(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	final, err := ctlog.SignHead(r.tree.Head(), d.key)
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	d.adjust = func(c *ctlog.Config) { c.State, c.FinalHead = ctlog.Frozen, final }
	var want []byte
	for range 2 {
		d.clock.move(48 * time.Hour)
		r = d.open(t, ca, nil)
		refusesChains(t, r, ca)
		checkLog(t, r, 3)
		got := r.get(t, "get-sth").Body.Bytes()
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) || !bytes.Equal(got, final) {
			t.Errorf("tree head %s, want %s", got, final)
		}
		after, err := r.client.GetSTH(t.Context())
		if err != nil || after.TreeSize != before.TreeSize || after.Timestamp != before.Timestamp || after.SHA256RootHash != before.SHA256RootHash {
			t.Errorf("frozen at %+v, %v, want %+v", after, err, before)
		}
		r.stop()
	}
}

// TestFrozenRefuses: a final tree head that is not the tree's own, or of a log that
// is not frozen any more, is never served.
func TestFrozenRefuses(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	filled(t, d, ca, 2)
	r := d.open(t, ca, nil)
	head := r.tree.Head()
	sign := func(d *disk, change func(*merkle.Head)) []byte {
		h := head
		change(&h)
		final, err := ctlog.SignHead(h, d.key)
		if err != nil {
			t.Fatal(err)
		}
		return final
	}
	good := sign(d, func(*merkle.Head) {})
	for name, tt := range map[string]struct {
		state ctlog.State
		final []byte
		want  string
	}{
		"active again":    {ctlog.Active, good, "stays so"},
		"read-only again": {ctlog.ReadOnly, good, "stays so"},
		"none":            {ctlog.Frozen, nil, "final tree head"},
		"garbage":         {ctlog.Frozen, []byte("{}"), "final tree head"},
		"two":             {ctlog.Frozen, append(slices.Clone(good), good...), "more than one"},
		"another size":    {ctlog.Frozen, sign(d, func(h *merkle.Head) { h.Size++ }), "is not the tree's"},
		"another root":    {ctlog.Frozen, sign(d, func(h *merkle.Head) { h.Root[0] ^= 1 }), "is not the tree's"},
		"another time":    {ctlog.Frozen, sign(d, func(h *merkle.Head) { h.Time = h.Time.Add(time.Second) }), "is not the tree's"},
		"another key":     {ctlog.Frozen, sign(newDisk(t), func(*merkle.Head) {}), "signature"},
		"unknown state":   {"closed", nil, "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, d, ca, r.tree)
			cfg.State, cfg.FinalHead = tt.state, tt.final
			if _, err := ctlog.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestTemporalShard: certificates that end outside the range are refused, by both
// ways in, and the log's description tells the range.
func TestTemporalShard(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	from, to := start.Add(time.Hour).Truncate(time.Second), start.Add(2*time.Hour).Truncate(time.Second)
	d.adjust = func(c *ctlog.Config) { c.NotAfterStart, c.NotAfterLimit = from, to }
	r := d.open(t, ca, nil)
	ending := func(at time.Time) [][]byte {
		return [][]byte{ca.leaf(t, false, func(c *x509.Certificate) { c.NotAfter = at }), ca.inter.Raw, ca.root.Raw}
	}
	// The first goes through ctfe, later ones may be recognized.
	for round := range 2 {
		for _, tt := range []struct {
			name   string
			at     time.Time
			status int
		}{
			{"first moment", from, 200},
			{"last moment", to.Add(-time.Second), 200},
			{"too early", from.Add(-time.Second), 400},
			{"at the limit", to, 400},
			{"too late", to.Add(time.Hour), 400},
		} {
			if rec := r.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, ending(tt.at)...)); rec.Code != tt.status {
				t.Errorf("%s: answer %d %s, want %d", tt.name, rec.Code, rec.Body, tt.status)
			}
			_, err := r.AddPreChain(t.Context(), ending(tt.at))
			if (err == nil) != (tt.status == 200) || err != nil && fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s, round %d, within the process: %v", tt.name, round, err)
			}
			if got := r.Takes(tt.at); got != (tt.status == 200) {
				t.Errorf("%s: Takes says %v", tt.name, got)
			}
		}
	}
	checkLog(t, r, 8)
	if w := r.Trust().Window; !w.Start.Equal(d.key.Created) || !w.End.Equal(to) {
		t.Errorf("trusted from %v to %v, want %v to %v", w.Start, w.End, d.key.Created, to)
	}
	rec := r.do(t, http.MethodGet, "/ctlog/log.v3.json", nil)
	var got struct {
		Key, URL string
		LogID    string `json:"log_id"`
		MMD      int
		Interval struct {
			From time.Time `json:"start_inclusive"`
			To   time.Time `json:"end_exclusive"`
		} `json:"temporal_interval"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	if got.Key != base64.StdEncoding.EncodeToString(d.key.SPKI()) || got.URL != "http://sigstack.test/ctlog/" ||
		got.MMD != 86400 || !got.Interval.From.Equal(from) || !got.Interval.To.Equal(to) {
		t.Errorf("description %s", rec.Body)
	}
}

func TestMergeDelay(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	d.adjust = func(c *ctlog.Config) { c.MergeDelay = 90 * time.Second }
	r := d.open(t, ca, nil)
	if rec := r.do(t, http.MethodGet, "/ctlog/log.v3.json", nil); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"mmd":90,`) {
		t.Errorf("answer %d %s, want an mmd of 90", rec.Code, rec.Body)
	}
}

func TestEntriesAtOnce(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	filled(t, d, ca, 5)
	d.adjust = func(c *ctlog.Config) { c.Entries = 2 }
	r := d.open(t, ca, nil)
	for _, tt := range []struct{ from, to, want int64 }{{0, 4, 2}, {3, 4, 2}, {4, 4, 1}, {4, 900, 1}, {1, 1, 1}} {
		got, err := r.client.GetRawEntries(t.Context(), tt.from, tt.to)
		if err != nil || int64(len(got.Entries)) != tt.want {
			t.Errorf("entries %d to %d: %d, %v, want %d", tt.from, tt.to, len(got.Entries), err, tt.want)
		}
	}
}

// TestSetRoots: a CA is taken from the moment it is a root on, and no longer than
// it is, while chains are being added.
func TestSetRoots(t *testing.T) {
	d, ca, other := newDisk(t), newAuthority(t), newAuthority(t)
	r := d.open(t, ca, nil)
	shown := func() (roots []ct.ASN1Cert) {
		roots, err := r.client.GetAcceptedRoots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return roots
	}
	if _, err := r.AddPreChain(t.Context(), other.chain(t)); fault.KindOf(err) != fault.Invalid {
		t.Errorf("another CA: %v, want fault.Invalid", err)
	}
	for name, roots := range map[string][]*x509.Certificate{
		"none": nil, "no certificate": {other.root, nil}, "twice": {ca.root, ca.root},
		"no CA": {ca.root, mustParse(t, ca.leaf(t, true, nil))},
	} {
		if err := r.SetRoots(roots); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := shown(); len(got) != 1 || !bytes.Equal(got[0].Data, ca.root.Raw) {
		t.Errorf("after refusals: %d roots, want the one of before", len(got))
	}
	both := [][][]byte{}
	for range 40 {
		both = append(both, ca.chain(t), other.chain(t))
	}
	if err := r.SetRoots([]*x509.Certificate{ca.root, other.root}); err != nil {
		t.Fatal(err)
	}
	var adding sync.WaitGroup
	for w := range 4 {
		adding.Go(func() {
			for i := w; i < len(both); i += 4 {
				if _, err := r.AddPreChain(t.Context(), both[i]); err != nil {
					t.Errorf("while roots change: %v", err)
				}
			}
		})
	}
	adding.Go(func() {
		for i := range 10 {
			roots := []*x509.Certificate{ca.root, other.root, newAuthority(t).root}
			if err := r.SetRoots(roots[:2+i%2]); err != nil {
				t.Error(err)
			}
		}
	})
	adding.Wait()
	checkLog(t, r, len(both))

	if err := r.SetRoots([]*x509.Certificate{other.root}); err != nil {
		t.Fatal(err)
	}
	if got := shown(); len(got) != 1 || !bytes.Equal(got[0].Data, other.root.Raw) {
		t.Errorf("%d roots are shown, want the new one", len(got))
	}
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); fault.KindOf(err) != fault.Invalid {
		t.Errorf("the CA of before: %v, want fault.Invalid", err)
	}
	if rec := r.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, other.chain(t)...)); rec.Code != 200 {
		t.Errorf("the CA of now: %d %s", rec.Code, rec.Body)
	}
}

// TestStatesWhileServing: a log is closed, opened, closed and frozen while it is asked;
// every timestamp that it gave is under its last tree head.
func TestStatesWhileServing(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	var mu sync.Mutex
	taken := 0 // guarded by mu
	var wg sync.WaitGroup
	adding := func() {
		for {
			_, err := r.AddPreChain(t.Context(), ca.chain(t))
			switch {
			case fault.KindOf(err) == fault.Forbidden:
				return
			case err != nil:
				t.Error(err)
				return
			}
			mu.Lock()
			taken++
			mu.Unlock()
		}
	}
	for _, state := range []ctlog.State{ctlog.ReadOnly, ctlog.Active, ctlog.ReadOnly} {
		if state == ctlog.ReadOnly {
			for range 4 {
				wg.Go(adding)
			}
			for before := r.tree.Head().Size; r.tree.Head().Size < before+5; {
				time.Sleep(time.Millisecond)
			}
		}
		if err := r.SetState(state); err != nil || r.State() != state {
			t.Fatalf("state %q: %v, is %q", state, err, r.State())
		}
		if state == ctlog.ReadOnly {
			wg.Wait()
			refusesChains(t, r, ca)
		}
	}
	if err := r.Freeze(t.Context(), []byte("{}")); err == nil || r.State() != ctlog.ReadOnly {
		t.Errorf("a head that is none: %v, state %q", err, r.State())
	}
	head, err := r.tree.Settle(t.Context())
	if err != nil || head.Size != uint64(taken) {
		t.Fatalf("settled at %d entries, %v, want the %d that were answered", head.Size, err, taken)
	}
	final, err := ctlog.SignHead(head, d.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Freeze(t.Context(), final); err != nil {
		t.Fatal(err)
	}
	refusesChains(t, r, ca)
	checkLog(t, r, taken)
	d.clock.move(48 * time.Hour)
	if got := r.get(t, "get-sth").Body.Bytes(); !bytes.Equal(got, final) {
		t.Errorf("tree head %s, want %s", got, final)
	}
	if err := r.SetRoots([]*x509.Certificate{ca.root, newAuthority(t).root}); err != nil {
		t.Error(err)
	}
	if got := r.get(t, "get-sth").Body.Bytes(); !bytes.Equal(got, final) {
		t.Errorf("with other roots the tree head is %s, want %s", got, final)
	}
	for _, state := range []ctlog.State{ctlog.Active, ctlog.ReadOnly} {
		if err := r.SetState(state); err == nil || r.State() != ctlog.Frozen {
			t.Errorf("frozen, then %q: %v, is %q", state, err, r.State())
		}
	}
}
