package rekorv1_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/services/tlog"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

// TestDisabledOperations: each can be switched off by its ID, and then it alone.
func TestDisabledOperations(t *testing.T) {
	requests := map[string][2]string{
		"createLogEntry":     {"POST", "/api/v1/log/entries"},
		"getLogEntryByIndex": {"GET", "/api/v1/log/entries?logIndex=0"},
		"getLogEntryByUUID":  {"GET", "/api/v1/log/entries/" + strings.Repeat("ab", 32)},
		"searchLogQuery":     {"POST", "/api/v1/log/entries/retrieve"},
		"searchIndex":        {"POST", "/api/v1/index/retrieve"},
		"getLogInfo":         {"GET", "/api/v1/log"},
		"getLogProof":        {"GET", "/api/v1/log/proof?lastSize=1"},
		"getPublicKey":       {"GET", "/api/v1/log/publicKey"},
	}
	if got := len(rekorv1.Operations()); got != len(requests) {
		t.Fatalf("%d operations, want %d", got, len(requests))
	}
	for _, off := range rekorv1.Operations() {
		r := start(t, func(c *rekorv1.Config) { c.Disabled = []string{off} })
		for id, req := range requests {
			a := r.do(t, req[0], req[1], []byte("{}"))
			if id == off {
				r.wantError(t, a, http.StatusNotImplemented, 501, "switched off")
			} else if a.status == http.StatusNotImplemented {
				t.Errorf("without %s: %s answers 501", off, id)
			}
		}
	}
	svc := newService(t, startTree(t, memFS(), "db"))
	for name, c := range map[string]rekorv1.Config{
		"operation": {Log: svc, Disabled: []string{"searchindex"}},
		"kind":      {Log: svc, Kinds: []string{"rekort"}},
	} {
		if _, err := rekorv1.New(c); err == nil || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("%s: got %v, want that it is not known", name, err)
		}
	}
}

// TestEveryAnswer: any web page may call every operation, is told so for what
// fails, too, and each answer has the request's ID (contract: rekor-v1.md §1).
func TestEveryAnswer(t *testing.T) {
	r := start(t)
	r.add(t, blob(t, tlogtest.NewSigner(t), "x"))
	for _, req := range [][2]string{
		{"GET", "/api/v1/log"},
		{"GET", "/api/v1/log/publicKey"},
		{"GET", "/api/v1/log/proof?lastSize=1"},
		{"GET", "/api/v1/log/proof?lastSize=9"},
		{"GET", "/api/v1/log/entries?logIndex=0"},
		{"GET", "/api/v1/log/entries?logIndex=9"},
		{"GET", "/api/v1/log/entries/zz"},
		{"POST", "/api/v1/log/entries"},
		{"POST", "/api/v1/log/entries/retrieve"},
		{"POST", "/api/v1/log/entries/retrieve/"},
		{"POST", "/api/v1/index/retrieve"},
		{"DELETE", "/api/v1/log/entries"},
		{"GET", "/api/v1/log/nothing"},
	} {
		out := httptest.NewRequestWithContext(t.Context(), req[0], req[1], strings.NewReader("{}"))
		out.Header.Set("Origin", "https://page.example")
		out.Header.Set("X-Request-Id", "mine")
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, out)
		if w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("X-Request-Id") != "mine" {
			t.Errorf("%s %s: headers %v", req[0], req[1], w.Header())
		}
		var e struct {
			Code    int
			Message string
		}
		if w.Code >= 400 && w.Code != 404 && (json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Code == 0 || e.Message == "") {
			t.Errorf("%s %s: %d %s, want an error in JSON", req[0], req[1], w.Code, w.Body)
		}
		ask := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, req[1], nil)
		ask.Header.Set("Origin", "https://page.example")
		ask.Header.Set("Access-Control-Request-Method", req[0])
		w = httptest.NewRecorder()
		r.mux.ServeHTTP(w, ask)
		if w.Code >= 300 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("preflight of %s %s: %d %v", req[0], req[1], w.Code, w.Header())
		}
	}
}

// TestKinds: what is not named is refused, and is no mistake in a search.
func TestKinds(t *testing.T) {
	r := start(t, func(c *rekorv1.Config) { c.Kinds = []string{"hashedrekord", "cose"} })
	s := tlogtest.NewSigner(t)
	r.add(t, blob(t, s, "x"))
	r.wantError(t, r.post(t, "/api/v1/log/entries", attestation(t, s, "x")), 400, 400, "kind dsse is not enabled")
	if a := r.post(t, "/api/v1/log/entries/retrieve", tlogtest.Object{"entries": []any{attestation(t, s, "x")}}); string(a.body) != "[]\n" {
		t.Errorf("search for a kind that is not taken: %d %s, want []", a.status, a.body)
	}
}

// startAttesting serves a log that stores attestations of up to limit bytes.
func startAttesting(t *testing.T, fs vfs.FS, limit int) *rig {
	t.Helper()
	key := pinnedKey(t)
	svc, err := tlog.New(tlog.Config{
		Shard: tlog.Shard{Tree: startTree(t, fs, "db"), Signer: key}, URL: "http://log.example", Host: "log.example",
		Now: now, AttestationLimit: limit,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{mux: newMux(t, svc), svc: svc, log: tlogtest.Log{Host: "log.example", TreeID: svc.TreeID(), Key: key.SPKI()}}
}

// stored returns the attestation in an answer, nil if it has none.
func stored(t *testing.T, body []byte) []byte {
	t.Helper()
	var entries map[string]struct{ Attestation *struct{ Data *[]byte } }
	if err := json.Unmarshal(body, &entries); err != nil || len(entries) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	for _, e := range entries {
		if e.Attestation != nil {
			return *e.Attestation.Data
		}
	}
	return nil
}

// TestAttestations: contract rekor-v1.md §11.
func TestAttestations(t *testing.T) {
	const limit = 100
	s := tlogtest.NewSigner(t)
	env := func(n int) tlogtest.Object {
		return tlogtest.Envelope(t, "application/vnd.in-toto+json", bytes.Repeat([]byte("s"), n), s)
	}
	fits, large := env(limit), env(limit+1)
	for name, tt := range map[string]struct {
		limit    int
		proposal tlogtest.Object
		want     int // bytes
	}{
		"intoto 0.0.1":           {limit, tlogtest.InTotoV001(t, fits, s), limit},
		"intoto 0.0.2":           {limit, tlogtest.InTotoV002(t, fits, s), limit},
		"intoto 0.0.1 too large": {limit, tlogtest.InTotoV001(t, large, s), 0},
		"intoto 0.0.2 too large": {limit, tlogtest.InTotoV002(t, large, s), 0},
		"dsse":                   {limit, tlogtest.DSSE(t, fits, s), 0},
		"hashedrekord":           {limit, blob(t, s, "x"), 0},
		"switched off":           {0, tlogtest.InTotoV001(t, fits, s), 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := startAttesting(t, memFS(), tt.limit)
			created := r.serve("POST", "/api/v1/log/entries", tlogtest.JSON(t, tt.proposal))
			id := r.created(t, created).ID
			if stored(t, created.body) != nil {
				t.Errorf("the answer to a POST has an attestation: %s", created.body)
			}
			query := tlogtest.JSON(t, tlogtest.Object{"logIndexes": []int{0}})
			found := r.serve("POST", "/api/v1/log/entries/retrieve", query).body
			for path, body := range map[string][]byte{
				"by ID":    r.serve("GET", "/api/v1/log/entries/"+id, nil).body,
				"by hash":  r.serve("GET", "/api/v1/log/entries/"+id[16:], nil).body,
				"by index": r.serve("GET", "/api/v1/log/entries?logIndex=0", nil).body,
				"searched": bytes.TrimSuffix(bytes.TrimPrefix(found, []byte("[")), []byte("]\n")),
			} {
				if got := stored(t, body); string(got) != strings.Repeat("s", tt.want) || (got != nil) != (tt.want > 0) {
					t.Errorf("%s: attestation %q, want %d bytes", path, got, tt.want)
				}
				if has := bytes.Contains(body, []byte(`{"attestation":{"data":"`)); has != (tt.want > 0) {
					t.Errorf("%s: spelt %s", path, body)
				}
			}
		})
	}
}

// TestAttestationIsShared: entries with one payload share what is stored, a
// duplicate changes nothing, and one that was logged without stays without.
func TestAttestationIsShared(t *testing.T) {
	fs := memFS()
	s := tlogtest.NewSigner(t)
	env := tlogtest.Envelope(t, "text/plain", []byte("payload"), s)
	v1, v2 := tlogtest.JSON(t, tlogtest.InTotoV001(t, env, s)), tlogtest.JSON(t, tlogtest.InTotoV002(t, env, s))
	r := startAttesting(t, fs, 100)
	for _, proposed := range [][]byte{v1, v1, v2} {
		id := r.created(t, r.serve("POST", "/api/v1/log/entries", proposed)).ID
		if got := stored(t, r.serve("GET", "/api/v1/log/entries/"+id, nil).body); string(got) != "payload" {
			t.Errorf("attestation %q, want the payload", got)
		}
	}
	if head, err := r.svc.Checkpoint(t.Context()); err != nil || head.Size != 2 {
		t.Errorf("%d entries, %v, want 2", head.Size, err)
	}
}

// TestDamagedAttestation: bytes that the entry does not vouch for are not shown.
func TestDamagedAttestation(t *testing.T) {
	svc, err := tlog.New(tlog.Config{
		Shard: tlog.Shard{Tree: falseRows{startTree(t, memFS(), "db")}, Signer: pinnedKey(t)}, URL: "http://h", Host: "h",
		Now: now, AttestationLimit: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{mux: newMux(t, svc)}
	s := tlogtest.NewSigner(t)
	proposed := tlogtest.JSON(t, tlogtest.InTotoV001(t, tlogtest.Envelope(t, "text/plain", []byte("payload"), s), s))
	if a := r.serve("POST", "/api/v1/log/entries", proposed); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.wantError(t, r.serve("GET", "/api/v1/log/entries?logIndex=0", nil), 500, 500, "")
}

// TestRetrievePair: what cosign asks for without a bundle: one envelope as dsse
// and as intoto, both spellings of the path, and misses left out.
func TestRetrievePair(t *testing.T) {
	s := tlogtest.NewSigner(t)
	env := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte("{}"), s)
	dsse, intoto := tlogtest.DSSE(t, env, s), tlogtest.InTotoV001(t, env, s)
	for name, logged := range map[string][]tlogtest.Object{
		"none": {}, "dsse": {dsse}, "intoto": {intoto}, "both": {dsse, intoto},
	} {
		r := start(t)
		var want []string
		for _, proposal := range logged {
			want = append(want, r.add(t, proposal).ID)
		}
		query := tlogtest.Object{"entries": []any{dsse, intoto}, "entryUUIDs": []string{strings.Repeat("0", 64)}, "logIndexes": []int{7}}
		for _, path := range []string{"/api/v1/log/entries/retrieve", "/api/v1/log/entries/retrieve/"} {
			var found []map[string]json.RawMessage
			a := r.post(t, path, query)
			if err := json.Unmarshal(a.body, &found); err != nil || a.status != http.StatusOK || found == nil {
				t.Fatalf("%s: %d %s: %v", name, a.status, a.body, err)
			}
			var got []string
			for _, e := range found {
				for id := range e {
					got = append(got, id)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s at %s: found %q, want %q", name, path, got, want)
			}
		}
	}
}

// TestKeyFormats: the index takes keys of every format (contract: rekor-v1.md
// §10).
func TestKeyFormats(t *testing.T) {
	ed := "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" // the example of minisign's manual
	r := start(t)
	for format, content := range map[string]string{
		"minisign": ed,
		"ssh":      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b.test",
		"tuf":      `{"signed":{"_type":"root"},"signatures":[{"keyid":"a","sig":"00"}]}`,
	} {
		query := tlogtest.Object{"publicKey": tlogtest.Object{"format": format, "content": base64.StdEncoding.EncodeToString([]byte(content))}}
		if got := r.lookUp(t, query); len(got) != 0 {
			t.Errorf("%s: found %q", format, got)
		}
	}
	digest := sha256.Sum256([]byte(ed))
	terms, err := rekorv1.ParseIndexQuery(tlogtest.JSON(t, tlogtest.Object{
		"publicKey": tlogtest.Object{"format": "minisign", "content": base64.StdEncoding.EncodeToString([]byte("untrusted comment: x\n" + ed + "\n"))},
	}))
	if want := []string{"sha256:" + hex.EncodeToString(digest[:])}; err != nil || !slices.Equal(terms, want) {
		t.Errorf("terms %q, %v, want %q", terms, err, want)
	}
}

// falseRows is a tree whose rows hold something else than what was put in them.
type falseRows struct{ *merkle.Tree }

func (f falseRows) Row(context.Context, []byte) ([]byte, error) { return []byte("other"), nil }
