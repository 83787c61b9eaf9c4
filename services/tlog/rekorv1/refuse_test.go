package rekorv1_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

func memFS() vfs.FS { return vfs.NewMem() }

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func pinnedKey(t *testing.T) keys.Key {
	t.Helper()
	key, err := keys.Ephemeral("rekor", keys.ECDSAP256, now())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// serve answers without a network.
func (r *rig) serve(method, path string, body []byte) answer {
	rec := httptest.NewRecorder()
	r.mux.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), method, path, bytes.NewReader(body)))
	return answer{rec.Code, rec.Header(), rec.Body.Bytes()}
}

// TestRefusals: what HTTP adds to entry's own refusals. Each case is valid but
// for one fact.
func TestRefusals(t *testing.T) {
	r := start(t, func(c *rekorv1.Config) { c.MaxBody = 8 << 10 })
	e := r.add(t, blob(t, tlogtest.NewSigner(t), "one"))
	good := blob(t, tlogtest.NewSigner(t), "two")
	change := func(name string, v any) []byte {
		o := blob(t, tlogtest.NewSigner(t), "two")
		o[name] = v
		return tlogtest.JSON(t, o)
	}
	const entries, retrieve, proof = "/api/v1/log/entries", "/api/v1/log/entries/retrieve", "/api/v1/log/proof"
	const index = "/api/v1/index/retrieve"
	key := func(format, content string) []byte {
		return tlogtest.JSON(t, tlogtest.Object{"publicKey": tlogtest.Object{"format": format, "content": content}})
	}
	none := strings.Repeat("ab", 32)
	list := func(n int, s string) string { return "[" + strings.TrimSuffix(strings.Repeat(s+",", n), ",") + "]" }
	tests := []struct {
		name, method, path string
		body               []byte
		status, code       int
		message            string
	}{
		{"not JSON", "POST", entries, []byte("{"), 400, 400, "not valid JSON"},
		{"no body", "POST", entries, nil, 400, 400, "not valid JSON"},
		{"unknown kind", "POST", entries, change("kind", "nosuch"), 422, 606, "kind"},
		{"kind not enabled", "POST", entries, change("kind", "cose"), 400, 400, "kind cose is not enabled"},
		{"no kind", "POST", entries, change("kind", nil), 422, 602, "kind is missing"},
		{"unknown version", "POST", entries, change("apiVersion", "0.0.2"), 400, 400, "version"},
		{"over-size", "POST", entries, change("padding", strings.Repeat("x", 8<<10)), 413, 413, "limit of 8192 bytes"},
		{"wrong method", "PUT", entries, tlogtest.JSON(t, good), 405, 405, "method PUT"},
		{"no index", "GET", entries, nil, 422, 602, "logIndex is missing"},
		{"index a word", "GET", entries + "?logIndex=x", nil, 422, 601, "logIndex is not an index"},
		{"index negative", "GET", entries + "?logIndex=-1", nil, 422, 601, "logIndex is not an index"},
		{"index beyond numbers", "GET", entries + "?logIndex=9223372036854775808", nil, 422, 601, "logIndex is not an index"},
		{"index badly escaped", "GET", entries + "?logIndex=%zz", nil, 400, 400, "query could not be parsed"},
		{"index beyond the log", "GET", entries + "?logIndex=1", nil, 404, 0, ""},
		{"index far beyond the log", "GET", entries + "?logIndex=9223372036854775807", nil, 404, 0, ""},
		{"ID not hex", "GET", entries + "/" + none[1:] + "g", nil, 422, 605, "64 or 80 hex digits"},
		{"ID too short", "GET", entries + "/" + none[1:], nil, 422, 605, "64 or 80 hex digits"},
		{"tree not hex", "GET", entries + "/000000000000000g" + none, nil, 422, 605, "64 or 80 hex digits"},
		{"unknown hash", "GET", entries + "/" + none, nil, 404, 0, ""},
		{"unknown tree", "GET", entries + "/00000000000000ff" + e.ID[16:], nil, 404, 0, ""},
		{"tree beyond int64", "GET", entries + "/f" + e.ID[1:], nil, 404, 0, ""},
		{"search not JSON", "POST", retrieve, []byte("{"), 400, 400, "search query could not be parsed"},
		{"search with no UUID", "POST", retrieve, []byte(`{"entryUUIDs":["x"]}`), 400, 400, "entryUUIDs[0] is not"},
		{"search with a null index", "POST", retrieve, []byte(`{"logIndexes":[null]}`), 400, 400, "logIndexes[0] is null"},
		{"search with a negative index", "POST", retrieve, []byte(`{"logIndexes":[-1]}`), 422, 601, "logIndexes holds a value of another type"},
		{"search with an index in words", "POST", retrieve, []byte(`{"logIndexes":["1"]}`), 422, 601, "logIndexes holds a value of another type"},
		{"search in a list", "POST", retrieve, []byte(`[]`), 400, 400, "search query could not be parsed"},
		{"search with a bad entry", "POST", retrieve, []byte(`{"entries":[{}]}`), 400, 400, "entries[0]: kind is missing"},
		{"search with an empty list", "POST", retrieve, []byte(`{"logIndexes":[]}`), 422, 604, "logIndexes is empty"},
		{"search for eleven", "POST", retrieve, []byte(`{"logIndexes":` + list(11, "0") + `}`), 422, 603, "max allowed 10"},
		{"search for eleven in two lists", "POST", retrieve, []byte(`{"logIndexes":` + list(6, "0") + `,"entryUUIDs":` + list(5, `"`+none+`"`) + `}`), 422, 603, "max allowed 10"},
		{"search over-size", "POST", retrieve, []byte(`{"logIndexes":[0]}` + strings.Repeat(" ", 8<<10)), 413, 413, "limit of 8192 bytes"},
		{"index not JSON", "POST", index, []byte("{"), 400, 400, "index query could not be parsed"},
		{"index in a list", "POST", index, []byte(`[]`), 400, 400, "index query could not be parsed"},
		{"index email a number", "POST", index, []byte(`{"email":1}`), 422, 601, "email holds a value of another type"},
		{"index email that is none", "POST", index, []byte(`{"email":"x"}`), 422, 601, "email is not an e-mail address"},
		{"index email with a name", "POST", index, []byte(`{"email":"a@b.test> <c@d.test"}`), 422, 601, "email is not an e-mail address"},
		{"index subject too long", "POST", index, []byte(`{"subject":"` + strings.Repeat("x", 513) + `"}`), 422, 603, "subject is longer than 512 characters"},
		{"index hash too short", "POST", index, []byte(`{"hash":"` + none[1:] + `"}`), 422, 605, "hash is not a SHA-1"},
		{"index hash not hex", "POST", index, []byte(`{"hash":"` + none[1:] + `g"}`), 422, 605, "hash is not a SHA-1"},
		{"index hash of another length", "POST", index, []byte(`{"hash":"sha512:` + none + `"}`), 422, 605, "hash is not a SHA-1"},
		{"index hash of another algorithm", "POST", index, []byte(`{"hash":"md5:` + none[32:] + `"}`), 422, 605, "hash is not a SHA-1"},
		{"index hash and more", "POST", index, []byte(`{"hash":"` + none + `\n"}`), 422, 605, "hash is not a SHA-1"},
		{"index operator unknown", "POST", index, []byte(`{"operator":"xor"}`), 422, 606, "operator is neither and nor or"},
		{"index key without format", "POST", index, key("", "eA=="), 422, 602, "publicKey.format is missing"},
		{"index key of unknown format", "POST", index, key("pkcs1", "eA=="), 422, 606, "publicKey.format is none that is known"},
		{"index key not PGP", "POST", index, key("pgp", "eA=="), 400, 400, "PGP public key"},
		{"index key not minisign's", "POST", index, key("minisign", "eA=="), 400, 400, "minisign public key"},
		{"index key not SSH's", "POST", index, key("ssh", "eA=="), 400, 400, "no key found"},
		{"index key not TUF's", "POST", index, key("tuf", "e30="), 400, 400, "not a TUF root"},
		{"index key not base64", "POST", index, key("x509", "!"), 400, 400, "publicKey.content is not standard padded base64"},
		{"index key not PEM", "POST", index, key("x509", "eA=="), 400, 400, "public key is not PEM"},
		{"index key missing", "POST", index, key("x509", ""), 400, 400, "public key is not PEM"},
		{"index over-size", "POST", index, []byte(`{}` + strings.Repeat(" ", 128<<10)), 413, 413, "limit of 131072 bytes"},
		{"index by GET", "GET", index, nil, 405, 405, "method GET"},
		{"proof without size", "GET", proof, nil, 400, 400, "lastSize is missing"},
		{"proof of size 0", "GET", proof + "?lastSize=0", nil, 400, 400, "lastSize is not a tree size"},
		{"proof from size 0", "GET", proof + "?firstSize=0&lastSize=1", nil, 400, 400, "firstSize is not a tree size"},
		{"proof backwards", "GET", proof + "?firstSize=2&lastSize=1", nil, 400, 400, "firstSize(2) must be"},
		{"proof beyond the log", "GET", proof + "?lastSize=2", nil, 400, 400, "lastSize(2) is more than the log has now (1)"},
		{"proof of another tree", "GET", proof + "?lastSize=1&treeID=7", nil, 400, 400, "no such tree"},
		{"proof of a tree in hex", "GET", proof + "?lastSize=1&treeID=ff", nil, 400, 400, "treeID is not a decimal number"},
		{"key of another tree", "GET", "/api/v1/log/publicKey?treeID=7", nil, 400, 400, "no such tree"},
		{"key of a tree in hex", "GET", "/api/v1/log/publicKey?treeID=0x1", nil, 400, 400, "treeID is not a decimal number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do(t, tt.method, tt.path, tt.body)
			if tt.status == http.StatusNotFound {
				if a.status != tt.status || len(a.body) != 0 {
					t.Errorf("answered %d %q, want 404 without a body", a.status, a.body)
				}
				return
			}
			r.wantError(t, a, tt.status, tt.code, tt.message)
		})
	}
	if size := r.info(t).TreeSize; size != 1 {
		t.Errorf("a refused entry was logged: tree of %d, want 1", size)
	}
	r.add(t, good)
}

// TestConfiguredParser: what the operator switched off is refused.
func TestConfiguredParser(t *testing.T) {
	r := start(t, func(c *rekorv1.Config) {
		types := entry.DefaultTypes()
		delete(types, entry.Type{Kind: "dsse", Version: "0.0.1"})
		c.Parser = entry.Parser{Types: types, Algorithms: entry.Algorithms{entry.ECDSAP384}}
	})
	s := tlogtest.NewSigner(t)
	r.wantError(t, r.post(t, "/api/v1/log/entries", attestation(t, s, "x")), 400, 400, "kind dsse is not enabled")
	r.wantError(t, r.post(t, "/api/v1/log/entries", blob(t, s, "x")), 400, 400, "type or size that is not permitted")
}

// TestCrossOrigin: any web page may read.
func TestCrossOrigin(t *testing.T) {
	r := start(t)
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/log", nil)
	req.Header.Set("Origin", "https://example.test")
	rec := httptest.NewRecorder()
	r.mux.ServeHTTP(rec, req)
	if rec.Header().Get("Access-Control-Allow-Origin") != "*" || rec.Header().Get("X-Request-Id") == "" {
		t.Errorf("headers %v", rec.Header())
	}
}

// brokenTree fails as a tree does whose disk or caller is gone.
type brokenTree struct {
	tlog.Tree
	err error
}

func (b brokenTree) Add(ctx context.Context, _ merkle.Leaf) (merkle.Added, error) {
	if b.err == nil { // wait for the deadline
		<-ctx.Done()
		return merkle.Added{}, ctx.Err()
	}
	return merkle.Added{}, b.err
}

func (b brokenTree) Entry(context.Context, uint64) (merkle.Entry, error) {
	return merkle.Entry{}, b.err
}

func TestBackendFaults(t *testing.T) {
	tree := startTree(t, memFS(), "db")
	proposed := tlogtest.JSON(t, blob(t, tlogtest.NewSigner(t), "x"))
	for name, tt := range map[string]struct {
		err    error
		status int
		method string
		path   string
	}{
		"client gone":      {context.Canceled, 499, "POST", "/api/v1/log/entries"},
		"too late":         {nil, 504, "POST", "/api/v1/log/entries"},
		"queue full":       {fault.New(fault.Unavailable, "full"), 503, "POST", "/api/v1/log/entries"},
		"unknown":          {http.ErrAbortHandler, 500, "POST", "/api/v1/log/entries"},
		"unknown, reading": {http.ErrAbortHandler, 500, "GET", "/api/v1/log/entries?logIndex=0"},
		"late, reading":    {context.DeadlineExceeded, 504, "GET", "/api/v1/log/entries?logIndex=0"},
	} {
		t.Run(name, func(t *testing.T) {
			svc, err := tlog.New(tlog.Config{
				Shard: tlog.Shard{Tree: brokenTree{tree, tt.err}, Signer: pinnedKey(t)}, URL: "http://h", Host: "h", Now: now, AddTimeout: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{mux: newMux(t, svc)}
			r.wantError(t, r.serve(tt.method, tt.path, proposed), tt.status, tt.status, "")
		})
	}
}

func TestNewRefusesConfig(t *testing.T) {
	svc := newService(t, startTree(t, memFS(), "db"))
	for name, c := range map[string]rekorv1.Config{
		"no log":         {},
		"negative limit": {Log: svc, MaxBody: -1},
	} {
		if _, err := rekorv1.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
