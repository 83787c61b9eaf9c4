package rekorv1_test

import (
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/pki"
	"sigstack/services/tlog"
	"sigstack/services/tlog/tlogtest"
)

// sharded is a log that gets further shards while it is served.
type sharded struct {
	*rig
	store  *pebblelog.Store
	shards []tlog.Shard
	logs   []tlogtest.Log // what a client knows of each shard
}

func startSharded(t *testing.T) *sharded {
	t.Helper()
	s := &sharded{store: openStore(t, "db", pebblelog.Options{FS: vfs.NewMem(), Now: time.Now})}
	s.shards = []tlog.Shard{s.shard(t, 0)}
	svc := s.service(t)
	s.rig = &rig{mux: newMux(t, svc), svc: svc, log: s.known(s.shards[0], 0)}
	s.logs = []tlogtest.Log{s.log}
	server := httptest.NewServer(s.mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// service is one with the shards that there are, as after a restart.
func (s *sharded) service(t *testing.T) *tlog.Service {
	t.Helper()
	last := len(s.shards) - 1
	svc, err := tlog.New(tlog.Config{
		Shard: s.shards[last], Earlier: s.shards[:last], URL: "https://log.example:3000/base", Host: "log.example", Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (s *sharded) known(sh tlog.Shard, first uint64) tlogtest.Log {
	return tlogtest.Log{Host: "log.example", TreeID: sh.Tree.ID(), Key: sh.Signer.SPKI(), First: first}
}

// shard opens a tree, or makes the first one if id is 0, and runs it.
func (s *sharded) shard(t *testing.T, id int64) tlog.Shard {
	t.Helper()
	tree := treeIn(t, s.store, id, 0)
	runTree(t, tree)
	return newShard(t, tree)
}

// succeed gives the log its next shard.
func (s *sharded) succeed(t *testing.T) {
	t.Helper()
	id, err := merkle.PrepareTree(t.Context(), s.store, fmt.Sprint(len(s.shards)+1))
	if err != nil {
		t.Fatal(err)
	}
	next, old := s.shard(t, id), s.shards[len(s.shards)-1]
	err = s.svc.Succeed(next, func() error { return old.Tree.(*merkle.Tree).HandOver(t.Context(), next.Tree.(*merkle.Tree)) })
	if err != nil {
		t.Fatal(err)
	}
	s.log = s.known(next, s.log.First+old.Tree.Head().Size)
	s.shards, s.logs = append(s.shards, next), append(s.logs, s.log)
}

// in makes shard i the one by which answers are judged.
func (s *sharded) in(i int) *rig {
	r := *s.rig
	r.log = s.logs[i]
	return &r
}

// TestThreeShards: contract rekor-v1.md §12 and §14, number 2, 3 and 6.
func TestThreeShards(t *testing.T) {
	s := startSharded(t)
	signer := certified(t)
	var added [3][]tlogtest.Entry
	for i, n := range []int{3, 1, 2} {
		if i > 0 {
			s.succeed(t)
		}
		for j := range n {
			added[i] = append(added[i], s.add(t, blob(t, signer, fmt.Sprintf("%d in %d", j, i))))
		}
	}
	again := s.add(t, blob(t, signer, "0 in 1")) // equal but for the signature: another entry
	added[2] = append(added[2], again)
	for _, served := range []*sharded{s, s.restarted(t)} {
		served.checkReads(t, added)
		served.checkInfo(t)
		served.checkSearch(t, signer, added)
	}
}

// TestLoggedAgainInALaterShard: what anybody logs again does not hide the first,
// which clients need: with a certificate of minutes only that proves a signature.
// Contract rekor-v1.md §9: one hit for each shard.
func TestLoggedAgainInALaterShard(t *testing.T) {
	s := startSharded(t)
	signer := certified(t)
	proposal := blob(t, signer, "twice")
	first := s.add(t, proposal)
	s.succeed(t)
	again := s.add(t, proposal)
	if first.ID[16:] != again.ID[16:] || first.ID == again.ID {
		t.Fatalf("got %s and %s, want one leaf in two trees", first.ID, again.ID)
	}
	for name, tt := range map[string]struct {
		query tlogtest.Object
		want  []string
	}{
		"by content":  {tlogtest.Object{"entries": []any{proposal}}, []string{again.ID, first.ID}},
		"by UUID":     {tlogtest.Object{"entryUUIDs": []string{first.ID[16:]}}, []string{again.ID, first.ID}},
		"by entry ID": {tlogtest.Object{"entryUUIDs": []string{first.ID}}, []string{first.ID}},
	} {
		var found []map[string]json.RawMessage
		a := s.post(t, "/api/v1/log/entries/retrieve", tt.query)
		if err := json.Unmarshal(a.body, &found); err != nil {
			t.Fatalf("%s: %d %s: %v", name, a.status, a.body, err)
		}
		var got []string
		for _, e := range found {
			for id := range e {
				got = append(got, id)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// restarted is the same log, built anew from its shards.
func (s *sharded) restarted(t *testing.T) *sharded {
	t.Helper()
	after, r := *s, *s.rig
	r.svc = s.service(t)
	r.mux = newMux(t, r.svc)
	server := httptest.NewServer(r.mux)
	t.Cleanup(server.Close)
	r.url = server.URL
	after.rig = &r
	return &after
}

func (s *sharded) checkReads(t *testing.T, added [3][]tlogtest.Entry) {
	t.Helper()
	index := uint64(0)
	for i, entries := range added {
		r := s.in(i)
		for _, want := range entries {
			if want.LogIndex != index {
				t.Errorf("entry has index %d, want %d", want.LogIndex, index)
			}
			leaf := want.ID[16:]
			for _, path := range []string{"?logIndex=" + fmt.Sprint(index), "/" + leaf, "/" + want.ID} {
				got := r.check(t, r.get(t, "/api/v1/log/entries"+path))
				if got.ID != want.ID || got.LogIndex != index || got.IntegratedTime != want.IntegratedTime {
					t.Errorf("%s: got %+v, want %+v", path, got, want)
				}
				if got.Head.Size != uint64(len(entries)) {
					t.Errorf("%s: proved in a tree of %d, want %d", path, got.Head.Size, len(entries))
				}
			}
			for other := range s.logs {
				if other == i {
					continue
				}
				if a := s.get(t, fmt.Sprintf("/api/v1/log/entries/%016x%s", s.logs[other].TreeID, leaf)); a.status != http.StatusNotFound || len(a.body) > 0 {
					t.Errorf("entry of shard %d in shard %d: %d %s, want 404", i, other, a.status, a.body)
				}
			}
			found := r.found(t, s.post(t, "/api/v1/log/entries/retrieve", tlogtest.Object{"logIndexes": []uint64{index}}))
			if len(found) != 1 || found[0].ID != want.ID {
				t.Errorf("retrieve %d: %+v, want %s", index, found, want.ID)
			}
			index++
		}
	}
	if a := s.get(t, fmt.Sprintf("/api/v1/log/entries?logIndex=%d", index)); a.status != http.StatusNotFound {
		t.Errorf("index behind the last: %d %s, want 404", a.status, a.body)
	}
	if a := s.get(t, "/api/v1/log/entries/"+strings.Repeat("0", 15)+"7"+added[0][0].ID[16:]); a.status != http.StatusNotFound {
		t.Errorf("unknown tree: %d %s, want 404", a.status, a.body)
	}
}

// wireShard is a shard in log info.
type wireShard struct {
	RootHash       string `json:"rootHash"`
	SignedTreeHead string `json:"signedTreeHead"`
	TreeID         string `json:"treeID"`
	TreeSize       uint64 `json:"treeSize"`
}

func (s *sharded) checkInfo(t *testing.T) {
	t.Helper()
	a := s.get(t, "/api/v1/log")
	var info struct {
		Inactive []wireShard `json:"inactiveShards"`
		wireShard
	}
	if err := json.Unmarshal(a.body, &info); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	heads := append(info.Inactive, info.wireShard)
	if len(heads) != len(s.logs) {
		t.Fatalf("%s: %d shards, want %d", a.body, len(heads), len(s.logs))
	}
	for i, got := range heads {
		head, err := s.logs[i].CheckCheckpoint(got.SignedTreeHead)
		if err != nil {
			t.Fatalf("shard %d: %v", i, err)
		}
		if got.TreeID != fmt.Sprint(s.logs[i].TreeID) || got.TreeSize != head.Size || got.RootHash != hex.EncodeToString(head.Root) {
			t.Errorf("shard %d: %+v, its checkpoint is of %d, %x", i, got, head.Size, head.Root)
		}
		path := "/api/v1/log/proof?firstSize=1&lastSize=%d&treeID=" + got.TreeID
		if a := s.get(t, fmt.Sprintf(path, head.Size)); a.status != http.StatusOK || !strings.Contains(string(a.body), got.RootHash) {
			t.Errorf("proof in shard %d: %d %s", i, a.status, a.body)
		}
		s.wantError(t, s.get(t, fmt.Sprintf(path, head.Size+1)), 400, 400, "lastSize")
		if a := s.get(t, "/api/v1/log/publicKey?treeID="+got.TreeID); string(a.body) != string(pki.PublicKeyPEM(s.logs[i].Key)) {
			t.Errorf("key of shard %d: %d %s", i, a.status, a.body)
		}
		if i < len(heads)-1 {
			if again := s.get(t, "/api/v1/log"); !strings.Contains(string(again.body), strings.ReplaceAll(got.SignedTreeHead, "\n", `\n`)) {
				t.Errorf("the checkpoint of frozen shard %d was signed anew", i)
			}
		}
	}
	if a := s.get(t, "/api/v1/log/publicKey"); string(a.body) != string(pki.PublicKeyPEM(s.log.Key)) {
		t.Errorf("key: %d %s, want that of the active shard", a.status, a.body)
	}
	s.wantError(t, s.get(t, "/api/v1/log/publicKey?treeID=7"), 400, 400, "no such tree")
	s.wantError(t, s.get(t, "/api/v1/log/proof?lastSize=1&treeID=7"), 400, 400, "no such tree")
}

// checkSearch demands the newest first, across shards.
func (s *sharded) checkSearch(t *testing.T, signer tlogtest.Signer, added [3][]tlogtest.Entry) {
	t.Helper()
	var want []string
	for _, entries := range added {
		for _, e := range entries {
			want = append(want, e.ID)
		}
	}
	slices.Reverse(want)
	key := map[string]string{"format": "x509", "content": base64.StdEncoding.EncodeToString(signer.Material)}
	for name, query := range map[string]any{
		"email": tlogtest.Object{"email": "demo@log.example"},
		"key":   tlogtest.Object{"publicKey": key},
		"both":  tlogtest.Object{"email": "demo@log.example", "publicKey": key, "operator": "and"},
	} {
		if got := s.lookUp(t, query); !slices.Equal(got, want) {
			t.Errorf("by %s: %q, want %q", name, got, want)
		}
	}
}

// TestProposedAgainAfterSuccession: deduplication is per tree, and the entry with
// only a leaf hash is that of the newest one.
func TestProposedAgainAfterSuccession(t *testing.T) {
	s := startSharded(t)
	body := tlogtest.JSON(t, tlogtest.HashedRekord(t, tlogtest.NewSigner(t), crypto.SHA256, []byte("again")))
	first := s.created(t, s.do(t, "POST", "/api/v1/log/entries", body))
	s.succeed(t)
	second := s.created(t, s.do(t, "POST", "/api/v1/log/entries", body))
	third := s.created(t, s.do(t, "POST", "/api/v1/log/entries", body))
	if first.ID == second.ID || second.ID != third.ID || second.LogIndex != 1 {
		t.Errorf("IDs %s, %s, %s (index %d), want one per tree", first.ID, second.ID, third.ID, second.LogIndex)
	}
	if got := s.check(t, s.get(t, "/api/v1/log/entries/"+first.ID[16:])); got.ID != second.ID {
		t.Errorf("by leaf hash: %s, want that of the active tree %s", got.ID, second.ID)
	}
	if got := s.in(0).check(t, s.get(t, "/api/v1/log/entries/"+first.ID)); got.LogIndex != 0 {
		t.Errorf("in the frozen tree: index %d, want 0", got.LogIndex)
	}
}

// TestSuccessionUnderLoad: every proposal is answered 201, with an entry of one of
// the trees, and the indexes have no gap and no twin.
func TestSuccessionUnderLoad(t *testing.T) {
	s := startSharded(t)
	const writers, each = 16, 25
	proposals := make([][]byte, writers*each)
	for i := range proposals {
		proposals[i] = tlogtest.JSON(t, blob(t, tlogtest.NewSigner(t), fmt.Sprint(i)))
	}
	answers := make([]answer, len(proposals))
	done := make(chan struct{}, len(proposals))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < len(proposals); i += writers {
				answers[i] = s.do(t, "POST", "/api/v1/log/entries", proposals[i])
				done <- struct{}{}
			}
		})
	}
	for range 2 {
		for range len(proposals) / 3 {
			<-done
		}
		s.succeed(t)
	}
	wg.Wait()
	ids := make([]string, len(answers))
	for i, a := range answers {
		if a.status != http.StatusCreated {
			t.Fatalf("proposal %d: %d %s", i, a.status, a.body)
		}
		id := a.header.Get("ETag")
		at := slices.IndexFunc(s.logs, func(l tlogtest.Log) bool { return strings.HasPrefix(id, fmt.Sprintf("%016x", l.TreeID)) })
		if at < 0 {
			t.Fatalf("proposal %d: %s is in no tree", i, id)
		}
		e := s.in(at).created(t, a)
		if ids[e.LogIndex] != "" {
			t.Errorf("index %d was given to %s and %s", e.LogIndex, ids[e.LogIndex], id)
		}
		ids[e.LogIndex] = id
		if got := s.in(at).check(t, s.get(t, fmt.Sprintf("/api/v1/log/entries?logIndex=%d", e.LogIndex))); got.ID != id {
			t.Errorf("index %d: %s, want %s", e.LogIndex, got.ID, id)
		}
	}
	for i, sh := range s.shards {
		if sh.Tree.Head().Size == 0 {
			t.Errorf("tree %d has no entry: nothing raced", i)
		}
	}
}
