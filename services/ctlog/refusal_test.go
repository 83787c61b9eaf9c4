package ctlog_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/pki"
	"sigstack/services/ctlog"
)

// b64 is the base64 of n zero bytes.
func b64(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

// TestStatuses asks every endpoint for what it refuses (contract:
// tsa-and-others.md §2) and once for what it grants.
func TestStatuses(t *testing.T) {
	d, ca, other := newDisk(t), newAuthority(t), newAuthority(t)
	r := d.open(t, ca, nil)
	var hash [32]byte
	for range 3 {
		chain := ca.chain(t)
		answer, err := r.AddPreChain(t.Context(), chain)
		if err != nil {
			t.Fatal(err)
		}
		hash, _ = verifySCT(t, d.key.SPKI(), answer, chain)
	}
	leafHash := base64.StdEncoding.EncodeToString(hash[:])
	precert, plain := ca.leaf(t, false, nil), ca.leaf(t, true, nil)
	flipped := bytes.Clone(precert)
	flipped[len(flipped)-1] ^= 1
	tlsOnly := ca.leaf(t, false, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	notCritical := ca.leaf(t, false, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: pki.OIDPoison, Value: []byte{5, 0}}}
	})
	tests := []struct {
		endpoint string
		params   []string // of a GET
		body     []byte   // of a POST
		status   int
	}{
		{"add-pre-chain", nil, submission(t, precert, ca.inter.Raw), 200},
		{"add-pre-chain", nil, submission(t), 400},
		{"add-pre-chain", nil, nil, 400},
		{"add-pre-chain", nil, []byte(`{"chain":"x"}`), 400},
		{"add-pre-chain", nil, submission(t, []byte("junk")), 400},
		{"add-pre-chain", nil, submission(t, plain, ca.inter.Raw), 400},
		{"add-pre-chain", nil, submission(t, flipped, ca.inter.Raw, ca.root.Raw), 400},
		{"add-pre-chain", nil, submission(t, precert), 400},
		{"add-pre-chain", nil, submission(t, precert, ca.root.Raw, ca.inter.Raw), 400},
		{"add-pre-chain", nil, submission(t, other.chain(t)...), 400},
		{"add-pre-chain", nil, submission(t, tlsOnly, ca.inter.Raw), 400},
		{"add-pre-chain", nil, submission(t, notCritical, ca.inter.Raw), 400},
		{"add-pre-chain", nil, make([]byte, 500<<10+1), 413},

		{"add-chain", nil, submission(t, plain, ca.inter.Raw, ca.root.Raw), 200},
		{"add-chain", nil, submission(t, precert, ca.inter.Raw), 400},
		{"add-chain", nil, submission(t, other.leaf(t, true, nil), other.inter.Raw, other.root.Raw), 400},
		{"add-chain", nil, []byte("{"), 400},
		{"add-chain", nil, make([]byte, 500<<10+1), 413},

		{"get-sth", nil, nil, 200},
		{"get-roots", nil, nil, 200},

		{"get-sth-consistency", []string{"first", "1", "second", "3"}, nil, 200},
		{"get-sth-consistency", []string{"first", "3", "second", "3"}, nil, 200},
		{"get-sth-consistency", nil, nil, 400},
		{"get-sth-consistency", []string{"first", "x", "second", "3"}, nil, 400},
		{"get-sth-consistency", []string{"first", "-1", "second", "3"}, nil, 400},
		{"get-sth-consistency", []string{"first", "3", "second", "1"}, nil, 400},
		{"get-sth-consistency", []string{"first", "1", "second", "1000"}, nil, 404},

		{"get-proof-by-hash", []string{"hash", leafHash, "tree_size", "3"}, nil, 200},
		{"get-proof-by-hash", nil, nil, 400},
		{"get-proof-by-hash", []string{"hash", "!", "tree_size", "3"}, nil, 400},
		{"get-proof-by-hash", []string{"hash", leafHash, "tree_size", "0"}, nil, 400},
		{"get-proof-by-hash", []string{"hash", leafHash}, nil, 400},
		{"get-proof-by-hash", []string{"hash", b64(31), "tree_size", "3"}, nil, 400},
		{"get-proof-by-hash", []string{"hash", b64(33), "tree_size", "3"}, nil, 400},
		{"get-proof-by-hash", []string{"hash", b64(32), "tree_size", "3"}, nil, 404},
		{"get-proof-by-hash", []string{"hash", leafHash, "tree_size", "2"}, nil, 404},
		{"get-proof-by-hash", []string{"hash", leafHash, "tree_size", "1000"}, nil, 404},

		{"get-entries", []string{"start", "0", "end", "2"}, nil, 200},
		{"get-entries", []string{"start", "1", "end", "100000"}, nil, 200},
		{"get-entries", nil, nil, 400},
		{"get-entries", []string{"start", "2", "end", "1"}, nil, 400},
		{"get-entries", []string{"start", "-1", "end", "1"}, nil, 400},
		{"get-entries", []string{"start", "1000", "end", "1001"}, nil, 400},

		{"get-entry-and-proof", []string{"leaf_index", "2", "tree_size", "3"}, nil, 200},
		{"get-entry-and-proof", nil, nil, 400},
		{"get-entry-and-proof", []string{"leaf_index", "3", "tree_size", "3"}, nil, 400},
		{"get-entry-and-proof", []string{"leaf_index", "-1", "tree_size", "3"}, nil, 400},
		{"get-entry-and-proof", []string{"leaf_index", "0", "tree_size", "1000"}, nil, 404},
		{"get-entry-and-proof", []string{"leaf_index", "900", "tree_size", "1000"}, nil, 404},
	}
	covered := map[string]map[int]bool{}
	for _, tt := range tests {
		var rec *httptest.ResponseRecorder
		if strings.HasPrefix(tt.endpoint, "add-") {
			rec = r.do(t, http.MethodPost, prefix+tt.endpoint, tt.body)
		} else {
			rec = r.get(t, tt.endpoint, tt.params...)
		}
		if rec.Code != tt.status {
			t.Errorf("%s %v: answer %d %q, want %d", tt.endpoint, tt.params, rec.Code, rec.Body, tt.status)
		}
		if covered[tt.endpoint] == nil {
			covered[tt.endpoint] = map[int]bool{}
		}
		covered[tt.endpoint][tt.status] = true
	}
	// A route without a case would go unnoticed.
	routes := r.mux.Routes()
	for _, route := range routes {
		if route.Path == "/ctlog/log.v3.json" {
			continue // TestDescription
		}
		if !covered[strings.TrimPrefix(route.Path, prefix)][http.StatusOK] {
			t.Errorf("route %s %s has no case that is granted", route.Method, route.Path)
		}
	}
	if len(routes) != 9 {
		t.Errorf("%d routes, want the 8 of RFC 6962 §4 and the log's description", len(routes))
	}
}

func TestMethods(t *testing.T) {
	r := newDisk(t).open(t, newAuthority(t), nil)
	for _, route := range r.mux.Routes() {
		wrong := http.MethodPost
		if route.Method == http.MethodPost {
			wrong = http.MethodGet
		}
		if rec := r.do(t, wrong, route.Path, nil); rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: answer %d, want 405", wrong, route.Path, rec.Code)
		}
	}
	if rec := r.do(t, http.MethodHead, prefix+"get-sth", nil); rec.Code != http.StatusOK {
		t.Errorf("HEAD get-sth: answer %d, want 200", rec.Code)
	}
}

// TestOneEntryProofsAreArrays: RFC 6962 clients want [] where a path is empty.
func TestOneEntryProofsAreArrays(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	chain := ca.chain(t)
	answer, err := r.AddPreChain(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := verifySCT(t, d.key.SPKI(), answer, chain)
	for _, rec := range []*httptest.ResponseRecorder{
		r.get(t, "get-proof-by-hash", "hash", base64.StdEncoding.EncodeToString(hash[:]), "tree_size", "1"),
		r.get(t, "get-entry-and-proof", "leaf_index", "0", "tree_size", "1"),
		r.get(t, "get-sth-consistency", "first", "1", "second", "1"),
		r.get(t, "get-sth-consistency", "first", "0", "second", "1"),
	} {
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), ":[]") {
			t.Errorf("answer %d %s, want an empty array", rec.Code, rec.Body)
		}
	}
}

// broken is a tree whose every operation fails with err.
type broken struct {
	*merkle.Tree
	err error
}

func (b broken) Add(context.Context, merkle.Leaf) (merkle.Added, error) {
	return merkle.Added{}, b.err
}

func (b broken) Entries(context.Context, uint64, uint64) ([]merkle.Entry, error) { return nil, b.err }

func (b broken) EntryByHash(context.Context, [32]byte) (merkle.Entry, error) {
	return merkle.Entry{}, b.err
}

func (b broken) Inclusion(context.Context, uint64, uint64) (merkle.Proof, error) {
	return merkle.Proof{}, b.err
}

func (b broken) Consistency(context.Context, uint64, uint64) ([][]byte, error) { return nil, b.err }

// TestTreeFaults: statuses fit the fault, its cause stays inside, and the CA is
// told whether to retry.
func TestTreeFaults(t *testing.T) {
	secret := errors.New("secret: disk 3 of host db7 died")
	tests := []struct {
		name   string
		err    error
		status int
		kind   fault.Kind // of AddPreChain
	}{
		{"unclassified", secret, 500, fault.Unavailable},
		{"unavailable", fault.Wrap(fault.Unavailable, secret, "log is down"), 503, fault.Unavailable},
		{"overload", fault.Wrap(fault.Limited, secret, "too many"), 429, fault.Unavailable},
		{"timeout", fault.Wrap(fault.Timeout, secret, "too slow"), 504, fault.Unavailable},
		{"deadline", errors.Join(secret, context.DeadlineExceeded), 504, fault.Unavailable},
		{"canceled", errors.Join(secret, context.Canceled), 504, fault.Unavailable},
		{"invalid", fault.Wrap(fault.Invalid, secret, "no good"), 400, fault.Invalid},
	}
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	for range 2 {
		if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := d.open(t, ca, func(tree *merkle.Tree) ctlog.Tree { return broken{tree, tt.err} })
			defer r.stop()
			chain := ca.chain(t)
			for _, rec := range []*httptest.ResponseRecorder{
				r.do(t, http.MethodPost, prefix+"add-pre-chain", submission(t, chain...)),
				r.get(t, "get-entries", "start", "0", "end", "1"),
				r.get(t, "get-proof-by-hash", "hash", b64(32), "tree_size", "2"),
				r.get(t, "get-entry-and-proof", "leaf_index", "0", "tree_size", "2"),
				r.get(t, "get-sth-consistency", "first", "1", "second", "2"),
			} {
				if rec.Code != tt.status || strings.Contains(rec.Body.String(), "secret") {
					t.Errorf("answer %d %q, want %d without the cause", rec.Code, rec.Body, tt.status)
				}
				if got := rec.Body.String(); tt.status == 500 && got != "Internal Server Error\n" {
					t.Errorf("body %q says more than that it is our fault", got)
				}
			}
			_, err := r.AddPreChain(t.Context(), chain)
			if got := fault.KindOf(err); err == nil || got != tt.kind {
				t.Errorf("AddPreChain: %v of kind %d, want kind %d", err, got, tt.kind)
			}
		})
	}
}

func TestAddPreChainRefuses(t *testing.T) {
	d, ca, other := newDisk(t), newAuthority(t), newAuthority(t)
	r := d.open(t, ca, nil)
	for name, chain := range map[string][][]byte{"nothing": nil, "foreign": other.chain(t), "junk": {{1}}} {
		answer, err := r.AddPreChain(t.Context(), chain)
		if fault.KindOf(err) != fault.Invalid || answer != nil {
			t.Errorf("%s: %q, %v, want fault.Invalid", name, answer, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.AddPreChain(ctx, ca.chain(t)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("canceled: %v, want fault.Unavailable", err)
	}
	checkLog(t, r, 0)
}

// FuzzAddPreChain: whatever is posted, the log neither fails nor logs what does
// not chain to its root; what it takes, its SCT covers.
func FuzzAddPreChain(f *testing.F) {
	d, ca := newDisk(f), newAuthority(f)
	r := d.open(f, ca, nil)
	f.Add(submission(f, ca.chain(f)...))
	f.Add(submission(f, newAuthority(f).chain(f)...))
	f.Add([]byte(`{"chain":["AAAA",null,""]}`))
	f.Add([]byte(`{"chain":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := r.tree.Head().Size
		rec := r.do(t, http.MethodPost, prefix+"add-pre-chain", body)
		switch rec.Code {
		case http.StatusOK:
			if !strings.Contains(rec.Body.String(), `"signature"`) {
				t.Errorf("taken without a signature: %s", rec.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if after := r.tree.Head().Size; after != before {
				t.Errorf("refused with %d, but the log grew from %d to %d", rec.Code, before, after)
			}
		default:
			t.Errorf("answer %d %q to %q", rec.Code, rec.Body, body)
		}
	})
}

// FuzzReads: no query makes a read endpoint fail by the log's own fault.
func FuzzReads(f *testing.F) {
	d, ca := newDisk(f), newAuthority(f)
	r := d.open(f, ca, nil)
	for range 3 {
		if _, err := r.AddPreChain(f.Context(), ca.chain(f)); err != nil {
			f.Fatal(err)
		}
	}
	endpoints := []string{"get-sth", "get-sth-consistency", "get-proof-by-hash", "get-entries", "get-roots", "get-entry-and-proof"}
	for i, query := range []string{"", "first=1&second=3", "hash=" + b64(32) + "&tree_size=3", "start=0&end=9223372036854775807", "", "leaf_index=0&tree_size=3"} {
		f.Add(uint8(i), query)
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, prefix+endpoints[int(which)%len(endpoints)], nil)
		req.URL = &url.URL{Path: req.URL.Path, RawQuery: query}
		rec := httptest.NewRecorder()
		r.mux.ServeHTTP(rec, req)
		if rec.Code >= 500 {
			t.Errorf("%s?%s: answer %d %q", req.URL.Path, query, rec.Code, rec.Body)
		}
	})
}
