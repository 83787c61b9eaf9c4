package rekorv1_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

// TestAddThenRead: contract rekor-v1.md §14, checks 1 to 3 and 5.
func TestAddThenRead(t *testing.T) {
	r := start(t)
	s := tlogtest.NewSigner(t)
	var bodies [][]byte
	for i, proposal := range []tlogtest.Object{
		blob(t, s, "one"), attestation(t, s, "two"), blob(t, s, "three"), attestation(t, s, "four"), blob(t, s, "five"),
	} {
		added := r.add(t, proposal)
		if added.LogIndex != uint64(i) || added.Head.Size != uint64(i+1) {
			t.Errorf("entry %d of %d, want %d of %d", added.LogIndex, added.Head.Size, i, i+1)
		}
		if proposal["kind"] == "hashedrekord" { // its canonical form is the client's own
			want, err := jsoncanonicalizer.Transform(tlogtest.JSON(t, proposal))
			if err != nil || !bytes.Equal(added.Body, want) {
				t.Errorf("body %s, want %s, %v", added.Body, want, err)
			}
		}
		bodies = append(bodies, added.Body)
		if got := tlogtest.RootOf(bodies); !bytes.Equal(got, added.Head.Root) {
			t.Errorf("root %x, the bodies so far hash to %x", added.Head.Root, got)
		}
		for how, a := range map[string]answer{
			"64 hex":         r.get(t, "/api/v1/log/entries/"+added.ID[16:]),
			"80 hex":         r.get(t, "/api/v1/log/entries/"+added.ID),
			"80 hex, tree 0": r.get(t, "/api/v1/log/entries/"+strings.Repeat("0", 16)+added.ID[16:]),
			"in capitals":    r.get(t, "/api/v1/log/entries/"+strings.ToUpper(added.ID)),
			"index":          r.get(t, fmt.Sprintf("/api/v1/log/entries?logIndex=%d", i)),
			"final slash":    r.get(t, "/api/v1/log/entries/"+added.ID+"/"),
		} {
			got := r.check(t, a)
			if a.status != http.StatusOK || got.ID != added.ID || !bytes.Equal(got.Body, added.Body) ||
				got.IntegratedTime != added.IntegratedTime || got.LogIndex != added.LogIndex {
				t.Errorf("by %s: %d %+v, want %+v", how, a.status, got, added)
			}
			if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
				t.Errorf("by %s: Cache-Control %q", how, a.header.Get("Cache-Control"))
			}
		}
		// The same entry proposed in a search.
		found := r.search(t, map[string]any{"entries": []any{proposal}})
		if len(found) != 1 || found[0].ID != added.ID {
			t.Errorf("searched by content: %+v, want %s", found, added.ID)
		}
	}
}

// search retrieves, checking every entry of the answer.
func (r *rig) search(t *testing.T, query any) []tlogtest.Entry {
	t.Helper()
	return r.found(t, r.post(t, "/api/v1/log/entries/retrieve/", query)) // the slash is sigstore-python's
}

func (r *rig) found(t *testing.T, a answer) []tlogtest.Entry {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal(a.body, &list); err != nil || a.status != http.StatusOK || list == nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	var out []tlogtest.Entry
	for _, one := range list {
		e, err := r.log.CheckEntry(append(one, '\n'))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestRetrieve(t *testing.T) {
	r := start(t)
	s := tlogtest.NewSigner(t)
	one, two, three := r.add(t, blob(t, s, "one")), r.add(t, blob(t, s, "two")), attestation(t, s, "three")
	third := r.add(t, three)
	none := strings.Repeat("ab", 32)
	env := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(`{"subject":[]}`), s)
	twins := []any{tlogtest.DSSE(t, env, s), tlogtest.InTotoV001(t, env, s)} // of one envelope
	asDSSE := r.add(t, twins[0].(tlogtest.Object))
	rpm := tlogtest.Object{"apiVersion": "0.0.1", "kind": "rpm", "spec": tlogtest.Object{}}
	type query = map[string]any
	for name, tt := range map[string]struct {
		query any
		want  []tlogtest.Entry
	}{
		"by IDs, in order":   {query{"entryUUIDs": []string{two.ID, one.ID[16:]}}, []tlogtest.Entry{two, one}},
		"by indexes":         {query{"logIndexes": []int{1, 0}}, []tlogtest.Entry{two, one}},
		"by everything":      {query{"logIndexes": []int{0}, "entryUUIDs": []string{two.ID}, "entries": []any{three}}, []tlogtest.Entry{two, third, one}},
		"misses left out":    {query{"entryUUIDs": []string{none, one.ID, "00000000000000ff" + none, strings.Repeat("f", 80)}, "logIndexes": []int{99}}, []tlogtest.Entry{one}},
		"other tree":         {query{"entryUUIDs": []string{"00000000000000ff" + one.ID[16:]}}, nil},
		"nothing":            {query{"entries": []any{blob(t, s, "one")}}, nil}, // signed anew, so another entry
		"empty question":     {query{}, nil},
		"nulls":              {query{"entryUUIDs": nil, "logIndexes": nil, "entries": nil}, nil},
		"as cosign does":     {query{"entries": twins}, []tlogtest.Entry{asDSSE}},
		"kind not enabled":   {query{"entries": []any{three, rpm}}, []tlogtest.Entry{third}},
		"ten, one of them":   {query{"logIndexes": []int{9, 8, 7, 6, 5, 4, 32, 33, 34, 1}}, []tlogtest.Entry{two}},
		"unknown ones, too":  {query{"email": "x", "logIndexes": []int{0}}, []tlogtest.Entry{one}},
		"twice is two hits ": {query{"logIndexes": []int{0, 0}}, []tlogtest.Entry{one, one}},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.search(t, tt.query)
			if len(got) != len(tt.want) {
				t.Fatalf("%d hits, want %d: %+v", len(got), len(tt.want), got)
			}
			for i := range got {
				if got[i].ID != tt.want[i].ID {
					t.Errorf("hit %d is %s, want %s", i, got[i].ID, tt.want[i].ID)
				}
			}
		})
	}
	asInToto := r.add(t, twins[1].(tlogtest.Object))
	if got := r.search(t, query{"entries": twins}); len(got) != 2 || got[0].ID != asDSSE.ID || got[1].ID != asInToto.ID {
		t.Errorf("one envelope logged in two kinds: %+v, want %s and %s", got, asDSSE.ID, asInToto.ID)
	}
	if a := r.post(t, "/api/v1/log/entries/retrieve", query{}); string(a.body) != "[]\n" {
		t.Errorf("no hits: %q, want []", a.body)
	}
}

func TestDuplicate(t *testing.T) {
	r := start(t)
	proposal := blob(t, tlogtest.NewSigner(t), "artifact")
	first := r.add(t, proposal)
	r.add(t, blob(t, tlogtest.NewSigner(t), "other"))
	again := r.add(t, proposal)
	if again.ID != first.ID || again.LogIndex != first.LogIndex || again.IntegratedTime != first.IntegratedTime || again.Head.Size != 2 {
		t.Errorf("again: %+v, want the entry %+v in a tree of 2", again, first)
	}
}

func TestStrictDuplicate(t *testing.T) {
	r := start(t, func(c *rekorv1.Config) { c.StrictDuplicates = true })
	proposal := attestation(t, tlogtest.NewSigner(t), "statement")
	first := r.add(t, proposal)
	a := r.post(t, "/api/v1/log/entries", proposal)
	r.wantError(t, a, http.StatusConflict, 409, "already exists in the transparency log with UUID "+first.ID)
	got := r.check(t, r.get(t, a.header.Get("Location")))
	if got.ID != first.ID {
		t.Errorf("Location leads to %s, want %s", got.ID, first.ID)
	}
	if a.header.Get("ETag") != "" {
		t.Errorf("ETag %q on a conflict", a.header.Get("ETag"))
	}
}

// TestConcurrent: many writers, each entry from two at once. One leaf each, and
// every answer is readable; contract rekor-v1.md §14, check 4.
func TestConcurrent(t *testing.T) {
	r := start(t)
	s := tlogtest.NewSigner(t)
	const entries, each = 24, 2
	got := make([]tlogtest.Entry, entries*each)
	var wg sync.WaitGroup
	for i := range entries {
		proposal := blob(t, s, fmt.Sprint(i))
		for j := range each {
			wg.Go(func() {
				a := r.post(t, "/api/v1/log/entries", proposal)
				e, err := r.log.CheckEntry(a.body)
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("%d %s: %v", a.status, a.body, err)
					return
				}
				if read := r.get(t, a.header.Get("Location")); read.status != http.StatusOK {
					t.Errorf("reading %s at once: %d", e.ID, read.status)
				}
				got[i*each+j] = e
			})
		}
	}
	wg.Wait()
	info := r.info(t)
	if info.TreeSize != entries {
		t.Errorf("tree of %d, want %d", info.TreeSize, entries)
	}
	for i := range entries {
		a, b := got[i*each], got[i*each+1]
		if a.ID != b.ID || a.LogIndex != b.LogIndex || a.IntegratedTime != b.IntegratedTime {
			t.Errorf("one entry, two answers: %+v and %+v", a, b)
		}
		r.wantExtended(t, a.Head, info.head)
	}
}

type logInfo struct {
	InactiveShards []struct{} `json:"inactiveShards"`
	RootHash       string     `json:"rootHash"`
	SignedTreeHead string     `json:"signedTreeHead"`
	TreeID         string     `json:"treeID"`
	TreeSize       uint64     `json:"treeSize"`
	head           tlogtest.Head
}

func (r *rig) info(t *testing.T) logInfo {
	t.Helper()
	a := r.get(t, "/api/v1/log")
	var info logInfo
	if err := json.Unmarshal(a.body, &info); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	var err error
	if info.head, err = r.log.CheckCheckpoint(info.SignedTreeHead); err != nil {
		t.Fatal(err)
	}
	if info.head.Size != info.TreeSize || hex.EncodeToString(info.head.Root) != info.RootHash || info.TreeID != fmt.Sprint(r.log.TreeID) {
		t.Errorf("%s: checkpoint is of %d, %x", a.body, info.head.Size, info.head.Root)
	}
	want := fmt.Sprintf(`{"inactiveShards":[],"rootHash":%q,"signedTreeHead":%s,"treeID":%q,"treeSize":%d}`+"\n",
		info.RootHash, strings.ReplaceAll(fmt.Sprintf("%q", info.SignedTreeHead), `\u2014`, "\u2014"), info.TreeID, info.TreeSize)
	if string(a.body) != want {
		t.Errorf("log info %s, want %s", a.body, want)
	}
	return info
}

func (r *rig) wantExtended(t *testing.T, older, newer tlogtest.Head) {
	t.Helper()
	a := r.get(t, fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", older.Size, newer.Size))
	var p struct {
		Hashes   []string `json:"hashes"`
		RootHash string   `json:"rootHash"`
	}
	if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusOK || p.Hashes == nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, h := range p.Hashes {
		var err error
		if hashes[i], err = hex.DecodeString(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tlogtest.CheckConsistency(older.Size, newer.Size, older.Root, newer.Root, hashes); err != nil {
		t.Errorf("from %d to %d: %v", older.Size, newer.Size, err)
	}
	if !strings.HasPrefix(string(a.body), `{"hashes":[`) || !strings.HasSuffix(string(a.body), fmt.Sprintf(`],"rootHash":%q}`+"\n", p.RootHash)) {
		t.Errorf("spelling of %s", a.body)
	}
}

func TestLogInfoAndProof(t *testing.T) {
	r := start(t)
	empty := r.info(t)
	if want := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; empty.RootHash != want || empty.TreeSize != 0 {
		t.Errorf("empty log: root %s of %d, want %s of 0", empty.RootHash, empty.TreeSize, want)
	}
	r.wantError(t, r.get(t, "/api/v1/log/proof?lastSize=1"), 400, 400, "lastSize(1) is more than the log has now (0)")

	s := tlogtest.NewSigner(t)
	var heads []tlogtest.Head
	for i := range 9 {
		r.add(t, blob(t, s, fmt.Sprint(i)))
		heads = append(heads, r.info(t).head)
	}
	newest := heads[len(heads)-1]
	for i, older := range heads {
		r.wantExtended(t, older, newest)
		r.wantExtended(t, older, heads[i+(len(heads)-1-i)/2])
	}
	// firstSize defaults to 1; the tree may be named.
	for _, query := range []string{"lastSize=9", fmt.Sprintf("lastSize=9&treeID=%d", r.log.TreeID), "lastSize=9&treeID=0&firstSize=1"} {
		a, b := r.get(t, "/api/v1/log/proof?"+query), r.get(t, "/api/v1/log/proof?firstSize=1&lastSize=9")
		if a.status != 200 || !bytes.Equal(a.body, b.body) {
			t.Errorf("%s: %d %s, want %s", query, a.status, a.body, b.body)
		}
	}
	// The root hash is the newest one even when an older size is asked for.
	if a := r.get(t, "/api/v1/log/proof?lastSize=4"); !strings.Contains(string(a.body), hex.EncodeToString(newest.Root)) {
		t.Errorf("proof to size 4: %s, want root %x", a.body, newest.Root)
	}
}

func TestPublicKey(t *testing.T) {
	r := start(t)
	for _, query := range []string{"", fmt.Sprintf("?treeID=%d", r.log.TreeID), "?treeID=0", "?treeID="} {
		a := r.get(t, "/api/v1/log/publicKey"+query)
		block, rest := pem.Decode(a.body)
		if a.status != 200 || block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 || !bytes.Equal(block.Bytes, r.log.Key) {
			t.Errorf("%q: %d %q", query, a.status, a.body)
		}
		if got := a.header.Get("Content-Type"); got != "application/x-pem-file" {
			t.Errorf("%q: Content-Type %q", query, got)
		}
	}
}

// TestIntegratedTimeIsFixed: reading later and proving anew changes nothing that
// was signed, though the signature is another.
func TestIntegratedTimeIsFixed(t *testing.T) {
	r := start(t)
	s := tlogtest.NewSigner(t)
	first := r.add(t, blob(t, s, "artifact"))
	r.add(t, blob(t, s, "another"))
	again := r.check(t, r.get(t, "/api/v1/log/entries/"+first.ID))
	if again.IntegratedTime != first.IntegratedTime || !bytes.Equal(again.Body, first.Body) {
		t.Errorf("read back %+v, want %+v", again, first)
	}
	if bytes.Equal(again.SET, first.SET) {
		t.Error("the signature is the same: is its nonce random?")
	}
}

// TestAnswerIsWhatClientsCut: sigstore-rs takes the value of the one key by
// counting bytes; contract rekor-v1.md §2.
func TestAnswerIsWhatClientsCut(t *testing.T) {
	r := start(t)
	a := r.post(t, "/api/v1/log/entries", blob(t, tlogtest.NewSigner(t), "artifact"))
	body := string(a.body)
	id := a.header.Get("ETag")
	for at, want := range map[int]string{0: `{"`, 2: id, 82: `":{"body":"`} {
		if !strings.HasPrefix(body[at:], want) {
			t.Errorf("at %d: %q, want %q", at, body[at:at+len(want)], want)
		}
	}
	if !strings.HasSuffix(body, "\"}}}\n") || strings.Contains(body, `\u`) || !strings.Contains(body, "\\n\u2014 log.example ") {
		t.Errorf("answer %q", body)
	}
	order := []string{`{"body":`, `,"integratedTime":`, `,"logID":`, `,"logIndex":`, `,"verification":{"inclusionProof":{"checkpoint":`, `,"hashes":[],"logIndex":0,"rootHash":`, `,"treeSize":1},"signedEntryTimestamp":`}
	for rest, i := body, 0; i < len(order); i++ {
		at := strings.Index(rest, order[i])
		if at < 0 {
			t.Fatalf("no %s after the members before it in %s", order[i], body)
		}
		rest = rest[at:]
	}
}

// FuzzSearch: a question is understood within its bounds, or refused as the
// caller's fault.
func FuzzSearch(f *testing.F) {
	s := tlogtest.NewSigner(f)
	id := strings.Repeat("ab", 32)
	for _, q := range []any{
		map[string]any{"entryUUIDs": []string{id, "00000000000000ff" + id}, "logIndexes": []int{0}},
		map[string]any{"entries": []any{blob(f, s, "x"), attestation(f, s, "y")}},
		map[string]any{"logIndexes": []any{1, nil}},
		map[string]any{"entries": []any{}},
		map[string]any{},
		nil,
		[]int{},
	} {
		f.Add(tlogtest.JSON(f, q))
	}
	p := entry.Parser{Types: entry.DefaultTypes(), Algorithms: entry.DefaultAlgorithms()}
	f.Fuzz(func(t *testing.T, question []byte) {
		byID, byIndex, err := rekorv1.ParseSearch(p, question)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Unprocessable {
				t.Fatalf("refused as %v: %v", k, err)
			}
			return
		}
		if !json.Valid(question) || byID+len(byIndex) > 10 {
			t.Fatalf("%s: %d look-ups by ID, %d by index", question, byID, len(byIndex))
		}
		for _, index := range byIndex {
			if !bytes.ContainsAny(question, "0123456789") {
				t.Fatalf("%s: index %d from nowhere", question, index)
			}
		}
	})
}

// FuzzParameters: no path or query makes a read fail on our side, and a digit
// changed in an entry's ID never finds it.
func FuzzParameters(f *testing.F) {
	r := start(f)
	e := r.add(f, blob(f, tlogtest.NewSigner(f), "one"))
	f.Add(e.ID, "logIndex=0")
	f.Add(e.ID[16:], "firstSize=1&lastSize=1&treeID=1")
	f.Add("zz", "lastSize=%zz")
	f.Add(strings.Repeat("f", 80), fmt.Sprintf("treeID=%d", rand.Uint64()))
	f.Fuzz(func(t *testing.T, id, query string) {
		paths := []string{"/api/v1/log/entries", "/api/v1/log/proof", "/api/v1/log/publicKey"}
		for _, path := range paths {
			if a := r.serve("GET", path+"?"+pathSafe(query, "?&=%"), nil); a.status >= 500 {
				t.Fatalf("%s?%s: %d %s", path, query, a.status, a.body)
			}
		}
		id = pathSafe(id, "")
		a := r.serve("GET", "/api/v1/log/entries/"+id, nil)
		lower := strings.ToLower(id)
		known := lower == e.ID || lower == e.ID[16:] || lower == strings.Repeat("0", 16)+e.ID[16:]
		if a.status >= 500 || (a.status == 200 && id != "") != known {
			t.Fatalf("%s: %d %s", id, a.status, a.body)
		}
	})
}

// pathSafe keeps what may stand in a request line unescaped.
func pathSafe(s, also string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || strings.ContainsRune(also, c) {
			return c
		}
		return -1
	}, s)
}
