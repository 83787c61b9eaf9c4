package ctlog_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/ctutil"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/google/certificate-transparency-go/scanner"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/services/ctlog"
)

// walked is how many entries the walks read; more than one answer of get-entries
// holds.
const walked = 300

// overHTTP is a log with walked entries, two kinds of them, on a listener of its
// own, and a client that checks every signature.
func overHTTP(t *testing.T, change func(*ctlog.Config)) (r *running, c *client.LogClient, ca *authority, chains [][]ct.ASN1Cert) {
	t.Helper()
	d, ca := newDisk(t), newAuthority(t)
	d.adjust = change
	r = d.open(t, ca, nil)
	srv := httptest.NewServer(r.mux)
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL+"/ctlog", srv.Client(), jsonclient.Options{PublicKeyDER: d.key.SPKI()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range walked {
		d.clock.move(2 * time.Millisecond)
		var chain []ct.ASN1Cert
		var sct *ct.SignedCertificateTimestamp
		if i%3 == 0 {
			chain = asn1Certs([][]byte{ca.leaf(t, true, nil), ca.inter.Raw, ca.root.Raw})
			sct, err = c.AddChain(t.Context(), chain)
		} else {
			chain = asn1Certs(ca.chain(t))
			sct, err = c.AddPreChain(t.Context(), chain)
		}
		if err != nil || sct == nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		chains = append(chains, chain)
	}
	return r, c, ca, chains
}

// TestScanner: the scanner of certificate-transparency-go finds every entry, once,
// parses it, and every SCT leads to its proof.
func TestScanner(t *testing.T) {
	_, c, _, chains := overHTTP(t, func(cfg *ctlog.Config) { cfg.Entries = 64 })
	for _, matching := range []scanner.Matcher{scanner.MatchAll{}, &scanner.MatchIssuerRegex{
		CertificateIssuerRegex: regexp.MustCompile(`^inter$`), PrecertificateIssuerRegex: regexp.MustCompile(`^inter$`),
	}} {
		var mu sync.Mutex
		found := map[int64][32]byte{} // guarded by mu: what was logged, by index
		note := func(e *ct.RawLogEntry) {
			mu.Lock()
			defer mu.Unlock()
			if _, twice := found[e.Index]; twice {
				t.Errorf("entry %d is found twice", e.Index)
			}
			found[e.Index] = sha256.Sum256(e.Cert.Data)
		}
		s := scanner.NewScanner(c, scanner.ScannerOptions{
			FetcherOptions: scanner.FetcherOptions{BatchSize: 100, ParallelFetch: 3, StartIndex: 0, EndIndex: 0},
			Matcher:        matching, NumWorkers: 2, BufferSize: 10,
		})
		if err := s.Scan(t.Context(), note, note); err != nil {
			t.Fatal(err)
		}
		if len(found) != walked {
			t.Errorf("%T found %d entries, want %d", matching, len(found), walked)
		}
		for i, chain := range chains {
			if want := sha256.Sum256(chain[0].Data); found[int64(i)] != want {
				t.Fatalf("entry %d is %x, want %x", i, found[int64(i)], want)
			}
		}
	}
}

// TestWalk: a stranger with the log's key reads it as RFC 6962 §4 lets him, over
// HTTP, and proves to himself that all of it is one log.
func TestWalk(t *testing.T) {
	r, c, ca, chains := overHTTP(t, nil)
	sth, err := c.GetSTH(t.Context())
	if err != nil || sth.TreeSize != walked {
		t.Fatalf("%+v, %v, want %d entries", sth, err, walked)
	}
	entries := everyRange(t, c)
	checkLog(t, r, walked) // proofs by hash, entries with proof, consistency with the last
	roots := rootsOf(t, entries)
	if !bytes.Equal(roots[walked], sth.SHA256RootHash[:]) {
		t.Fatalf("entries have root %x, the tree head %x", roots[walked], sth.SHA256RootHash)
	}
	consistent(t, c, roots)
	included(t, c, entries, roots)
	for i, chain := range chains {
		checkAgainst(t, c, sth, i, chain)
	}
	accepted, err := c.GetAcceptedRoots(t.Context())
	if err != nil || len(accepted) != 1 || !bytes.Equal(accepted[0].Data, ca.root.Raw) {
		t.Errorf("roots %v, %v", accepted, err)
	}
}

// everyRange reads the log in ranges of many kinds, which must agree.
func everyRange(t *testing.T, c *client.LogClient) []ct.LeafEntry {
	t.Helper()
	var all []ct.LeafEntry
	for len(all) < walked {
		got, err := c.GetRawEntries(t.Context(), int64(len(all)), walked+100)
		if err != nil || len(got.Entries) == 0 {
			t.Fatalf("from %d on: %v", len(all), err)
		}
		all = append(all, got.Entries...)
	}
	if len(all) != walked {
		t.Fatalf("%d entries, want %d", len(all), walked)
	}
	for from := int64(0); from < walked; from += 7 {
		for _, n := range []int64{1, 2, 63, 255, 256, 257, 999} {
			got, err := c.GetRawEntries(t.Context(), from, from+n-1)
			if err != nil {
				t.Fatalf("%d entries from %d: %v", n, from, err)
			}
			if l := int64(len(got.Entries)); l == 0 || l > min(n, walked-from, ctlog.DefaultEntries) {
				t.Errorf("%d entries from %d: got %d", n, from, l)
			}
			for i, e := range got.Entries {
				want := all[from+int64(i)]
				if !bytes.Equal(e.LeafInput, want.LeafInput) || !bytes.Equal(e.ExtraData, want.ExtraData) {
					t.Fatalf("entry %d differs with the range", from+int64(i))
				}
			}
		}
	}
	return all
}

// rootsOf computes the root of every size from the entries alone, by the recursion
// of RFC 6962 §2.1.
func rootsOf(t *testing.T, entries []ct.LeafEntry) [][]byte {
	t.Helper()
	h := rfc6962.DefaultHasher
	leaves := make([][]byte, len(entries))
	for i, e := range entries {
		leaves[i] = h.HashLeaf(e.LeafInput)
	}
	var root func([][]byte) []byte
	full := map[[2]int][]byte{} // of whole subtrees, by first leaf and length
	var at func(first, n int) []byte
	at = func(first, n int) []byte {
		if n == 1 {
			return leaves[first]
		}
		k := 1
		for 2*k < n {
			k *= 2
		}
		if n&(n-1) != 0 {
			return h.HashChildren(at(first, k), at(first+k, n-k))
		}
		if full[[2]int{first, n}] == nil {
			full[[2]int{first, n}] = h.HashChildren(at(first, k), at(first+k, n-k))
		}
		return full[[2]int{first, n}]
	}
	root = func(l [][]byte) []byte { return at(0, len(l)) }
	out := [][]byte{h.EmptyRoot()}
	for n := 1; n <= len(leaves); n++ {
		out = append(out, root(leaves[:n]))
	}
	return out
}

// consistent checks get-sth-consistency from every size to the next one, between all
// sizes around powers of two, and between all of the first everyPair.
func consistent(t *testing.T, c *client.LogClient, roots [][]byte) {
	t.Helper()
	var sizes []uint64
	for n := 1; n < len(roots); n++ {
		if n <= 9 || n >= walked-2 || n&(n-1) == 0 || n&(n+1) == 0 || (n-1)&(n-2) == 0 {
			sizes = append(sizes, uint64(n))
		}
	}
	check := func(from, to uint64) {
		hashes, err := c.GetSTHConsistency(t.Context(), from, to)
		if err != nil {
			t.Fatalf("%d to %d: %v", from, to, err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, to, hashes, roots[from], roots[to]); err != nil {
			t.Errorf("%d to %d: %v", from, to, err)
		}
	}
	for n := uint64(1); n < walked; n++ {
		check(n, n+1)
	}
	for i, from := range sizes {
		for _, to := range sizes[i:] {
			check(from, to)
		}
	}
	for to := uint64(1); to <= everyPair; to++ { // literally every pair of these
		for from := uint64(1); from <= to; from++ {
			check(from, to)
		}
	}
}

// everyPair is up to which size all proofs there can be are checked.
const everyPair = 128

// included checks the inclusion of every entry in the trees of every size to everyPair.
func included(t *testing.T, c *client.LogClient, entries []ct.LeafEntry, roots [][]byte) {
	t.Helper()
	for size := uint64(1); size <= everyPair; size++ {
		for index := range size {
			hash := rfc6962.DefaultHasher.HashLeaf(entries[index].LeafInput)
			got, err := c.GetProofByHash(t.Context(), hash, size)
			if err != nil {
				t.Fatalf("entry %d of %d: %v", index, size, err)
			}
			if got.LeafIndex != int64(index) {
				t.Errorf("entry %d of %d is said to be %d", index, size, got.LeafIndex)
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, hash, got.AuditPath, roots[size]); err != nil {
				t.Errorf("entry %d of %d: %v", index, size, err)
			}
		}
	}
}

// checkAgainst asks for the SCT of a chain again, which is of the first time, checks
// it and follows it into the log.
func checkAgainst(t *testing.T, c *client.LogClient, sth *ct.SignedTreeHead, index int, chain []ct.ASN1Cert) {
	t.Helper()
	var sct *ct.SignedCertificateTimestamp
	var err error
	if index%3 == 0 {
		sct, err = c.AddChain(t.Context(), chain)
	} else {
		sct, err = c.AddPreChain(t.Context(), chain)
	}
	if err != nil {
		t.Fatal(err)
	}
	var certs []*ctx509.Certificate
	for _, der := range chain {
		cert, err := ctx509.ParseCertificate(der.Data)
		if ctx509.IsFatal(err) {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	if err := ctutil.VerifySCTWithVerifier(c.Verifier, certs, sct, false); err != nil {
		t.Errorf("SCT of entry %d: %v", index, err)
	}
	hash, err := ctutil.LeafHash(certs, sct, false)
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.GetProofByHash(t.Context(), hash[:], sth.TreeSize)
	if err != nil || found.LeafIndex != int64(index) {
		t.Fatalf("SCT of entry %d leads to %+v, %v", index, found, err)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), sth.TreeSize, hash[:], found.AuditPath, sth.SHA256RootHash[:]); err != nil {
		t.Errorf("entry %d: %v", index, err)
	}
}

// TestRefusedOverHTTP: the client library is refused what RFC 6962 refuses, with a
// status that says whose fault it is, and nothing of it is logged.
func TestRefusedOverHTTP(t *testing.T) {
	r, c, ca, chains := overHTTP(t, nil)
	other := newAuthority(t)
	precert, plain := ca.leaf(t, false, nil), ca.leaf(t, true, nil)
	size := r.tree.Head().Size
	for name, tt := range map[string]struct {
		pre   bool
		chain [][]byte
	}{
		"precertificate to add-chain":       {false, [][]byte{precert, ca.inter.Raw, ca.root.Raw}},
		"certificate to add-pre-chain":      {true, [][]byte{plain, ca.inter.Raw, ca.root.Raw}},
		"another CA's":                      {true, other.chain(t)},
		"another root":                      {true, [][]byte{precert, ca.inter.Raw, other.root.Raw}},
		"issuer missing":                    {true, [][]byte{precert}},
		"issuer missing, with root":         {true, [][]byte{precert, ca.root.Raw}},
		"wrong order":                       {true, [][]byte{ca.inter.Raw, precert, ca.root.Raw}},
		"something in between":              {true, [][]byte{precert, ca.inter.Raw, other.inter.Raw, ca.root.Raw}},
		"something behind the root":         {true, [][]byte{precert, ca.inter.Raw, ca.root.Raw, other.root.Raw}},
		"garbage":                           {true, [][]byte{[]byte("garbage"), ca.inter.Raw}},
		"nothing":                           {false, nil},
		"self-signed, in the issuer's name": {true, [][]byte{forged(t, ca), ca.inter.Raw, ca.root.Raw}},
	} {
		add := c.AddChain
		if tt.pre {
			add = c.AddPreChain
		}
		_, err := add(t.Context(), asn1Certs(tt.chain))
		var rsp client.RspError
		if !asRspError(err, &rsp) || rsp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v, want 400", name, err)
		}
	}
	if got := r.tree.Head().Size; got != size {
		t.Errorf("the log grew from %d to %d", size, got)
	}
	// RFC 6962 §3.1 lets a log take certificates that have ended, which is how it
	// learns of them late; this one does.
	old := ca.leaf(t, true, func(cert *x509.Certificate) {
		cert.NotBefore, cert.NotAfter = start.Add(-30*time.Minute), start.Add(-20*time.Minute)
	})
	if _, err := c.AddChain(t.Context(), asn1Certs([][]byte{old, ca.inter.Raw, ca.root.Raw})); err != nil {
		t.Errorf("a certificate that has ended: %v", err)
	}
	refusedReads(t, c, chains)
}

func refusedReads(t *testing.T, c *client.LogClient, chains [][]ct.ASN1Cert) {
	t.Helper()
	const beyond = walked + 50
	hash := sha256.Sum256(chains[0][0].Data) // of no leaf
	for name, tt := range map[string]struct {
		err    error
		status int
	}{
		"consistency beyond the tree": {second(c.GetSTHConsistency(t.Context(), 1, beyond)), 404},
		"consistency backwards":       {second(c.GetSTHConsistency(t.Context(), 9, 3)), 400},
		"unknown hash":                {second(c.GetProofByHash(t.Context(), hash[:], walked)), 404},
		"hash of another length":      {second(c.GetProofByHash(t.Context(), hash[:5], walked)), 400},
		"proof in a tree to come":     {second(c.GetProofByHash(t.Context(), hash[:], beyond)), 404},
		"entry in a tree to come":     {second(c.GetEntryAndProof(t.Context(), 1, beyond)), 404},
		"entry beyond the tree":       {second(c.GetEntryAndProof(t.Context(), walked+1, walked+1)), 400},
		"entries beyond the tree":     {second(c.GetRawEntries(t.Context(), beyond, beyond+1)), 400},
	} {
		var rsp client.RspError
		if !asRspError(tt.err, &rsp) || rsp.StatusCode != tt.status {
			t.Errorf("%s: %v, want %d", name, tt.err, tt.status)
		}
	}
	for _, query := range []string{
		"get-entries?start=a&end=1", "get-entries?start=0", "get-entries?end=1", "get-entries?start=0&end=-1",
		"get-entries?start=99999999999999999999&end=99999999999999999999",
		"get-sth-consistency?first=1", "get-sth-consistency?first=0x1&second=2", "get-proof-by-hash?hash=%25&tree_size=1",
		"get-entry-and-proof?leaf_index=1", "get-entry-and-proof?leaf_index=1&tree_size=",
	} {
		status, body := ask(t, c.BaseURI()+"/ct/v1/"+query)
		if status != http.StatusBadRequest {
			t.Errorf("%s: %d %s, want 400", query, status, body)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func asRspError(err error, into *client.RspError) bool {
	rsp, ok := err.(client.RspError) //nolint:errorlint // as the library returns it
	*into = rsp
	return ok
}

func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(fmt.Sprintf("%.200s", body))
}
