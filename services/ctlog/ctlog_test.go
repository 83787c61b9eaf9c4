package ctlog_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/ctutil"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/keys"
	"sigstack/services/ctlog"
)

// verifySCT checks an AddChainResponse against the chain it answers with
// nothing but the log's public key, and returns its leaf hash and time.
func verifySCT(t testing.TB, spki, answer []byte, chain [][]byte) (leafHash [32]byte, at time.Time) {
	t.Helper()
	var resp ct.AddChainResponse
	if err := json.Unmarshal(answer, &resp); err != nil {
		t.Fatalf("answer %q: %v", answer, err)
	}
	sct, err := resp.ToSignedCertificateTimestamp()
	if err != nil {
		t.Fatal(err)
	}
	if id := sha256.Sum256(spki); sct.LogID.KeyID != id || sct.SCTVersion != ct.V1 || len(sct.Extensions) != 0 {
		t.Errorf("SCT of log %x version %d extensions %x, want log %x", sct.LogID.KeyID, sct.SCTVersion, sct.Extensions, id)
	}
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*ctx509.Certificate
	for _, der := range chain {
		c, err := ctx509.ParseCertificate(der)
		if ctx509.IsFatal(err) {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	if err := ctutil.VerifySCT(pub, certs, sct, false); err != nil {
		t.Errorf("SCT does not verify: %v", err)
	}
	if leafHash, err = ctutil.LeafHash(certs, sct, false); err != nil {
		t.Fatal(err)
	}
	return leafHash, time.UnixMilli(int64(resp.Timestamp)).UTC()
}

// checkLog recomputes a log from what it serves: the root over all entries,
// an inclusion proof of each, and the consistency of each earlier size.
func checkLog(t *testing.T, r *running, want int) {
	t.Helper()
	sth, err := r.client.GetSTH(t.Context()) // verifies the signature
	if err != nil {
		t.Fatal(err)
	}
	if sth.TreeSize != uint64(want) {
		t.Fatalf("tree has %d entries, want %d", sth.TreeSize, want)
	}
	if want == 0 {
		return
	}
	var entries []ct.LeafEntry
	for len(entries) < want {
		got, err := r.client.GetRawEntries(t.Context(), int64(len(entries)), int64(want)-1)
		if err != nil || len(got.Entries) == 0 {
			t.Fatalf("entries from %d on: %v", len(entries), err)
		}
		entries = append(entries, got.Entries...)
	}
	roots := map[uint64][]byte{}
	for i, e := range entries {
		index, size := uint64(i), sth.TreeSize
		leafHash := rfc6962.DefaultHasher.HashLeaf(e.LeafInput)
		byHash, err := r.client.GetProofByHash(t.Context(), leafHash, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leafHash, byHash.AuditPath, sth.SHA256RootHash[:]); err != nil {
			t.Errorf("entry %d in %d by hash: %v", i, size, err)
		}
		// In the tree that ends with this entry the proof gives that tree's root.
		own, err := r.client.GetEntryAndProof(t.Context(), index, index+1)
		if err != nil || !bytes.Equal(own.LeafInput, e.LeafInput) || !bytes.Equal(own.ExtraData, e.ExtraData) {
			t.Fatalf("entry %d and proof: %+v, %v", i, own, err)
		}
		root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, index, index+1, leafHash, own.AuditPath)
		if err != nil {
			t.Fatal(err)
		}
		roots[index+1] = root
		if _, err := ct.LogEntryFromLeaf(int64(i), &entries[i]); ctx509.IsFatal(err) {
			t.Errorf("entry %d does not parse: %v", i, err)
		}
	}
	if !bytes.Equal(roots[sth.TreeSize], sth.SHA256RootHash[:]) {
		t.Errorf("root of all entries %x, signed %x", roots[sth.TreeSize], sth.SHA256RootHash)
	}
	for size, root := range roots {
		hashes, err := r.client.GetSTHConsistency(t.Context(), size, sth.TreeSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, size, sth.TreeSize, hashes, root, sth.SHA256RootHash[:]); err != nil {
			t.Errorf("size %d to %d: %v", size, sth.TreeSize, err)
		}
	}
}

func TestEmptyLog(t *testing.T) {
	r := newDisk(t).open(t, newAuthority(t), nil)
	sth, err := r.client.GetSTH(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sth.TreeSize != 0 || sth.SHA256RootHash != sha256.Sum256(nil) || sth.Timestamp != uint64(start.UnixMilli()) {
		t.Errorf("empty log signs %+v, want size 0, time %d", sth, start.UnixMilli())
	}
}

func TestSubmissions(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	chain := ca.chain(t)
	d.clock.move(time.Second)

	answer, err := r.AddPreChain(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	leafHash, at := verifySCT(t, d.key.SPKI(), answer, chain)
	if want := d.clock.now().Truncate(time.Millisecond); !at.Equal(want) {
		t.Errorf("SCT of %v, want %v", at, want)
	}
	// The promise is kept already: no merge delay.
	if _, err := r.client.GetProofByHash(t.Context(), leafHash[:], 1); err != nil {
		t.Errorf("entry of the SCT is not in the log: %v", err)
	}

	d.clock.move(time.Minute)
	again := r.do(t, "POST", prefix+"add-pre-chain", submission(t, chain[:2]...)) // root left out
	if hash2, at2 := verifySCT(t, d.key.SPKI(), again.Body.Bytes(), chain); hash2 != leafHash || !at2.Equal(at) {
		t.Errorf("resubmitted: entry %x of %v, want %x of %v", hash2, at2, leafHash, at)
	}
	checkLog(t, r, 1)

	// A final certificate and the client's own check of the SCT.
	plain := [][]byte{ca.leaf(t, true, nil), ca.inter.Raw, ca.root.Raw}
	if _, err := r.client.AddChain(t.Context(), asn1Certs(plain)); err != nil {
		t.Errorf("add-chain: %v", err)
	}
	for range 5 {
		if _, err := r.client.AddPreChain(t.Context(), asn1Certs(ca.chain(t))); err != nil {
			t.Errorf("add-pre-chain: %v", err)
		}
	}
	checkLog(t, r, 7)
	if got := r.submissions(t); got["new"] != 7 || got["duplicate"] != 1 {
		t.Errorf("counted %v, want 7 new and 1 duplicate", got)
	}

	roots, err := r.client.GetAcceptedRoots(t.Context())
	if err != nil || len(roots) != 1 || !bytes.Equal(roots[0].Data, ca.root.Raw) {
		t.Errorf("roots %v, %v", roots, err)
	}
}

// TestSCTFromFirstPrinciples rebuilds the signed bytes of RFC 6962 §3.2 with
// the standard library alone.
func TestSCTFromFirstPrinciples(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	chain := ca.chain(t)
	answer, err := r.AddPreChain(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	var resp struct {
		Timestamp uint64 `json:"timestamp"`
		Signature []byte `json:"signature"`
	}
	if err := json.Unmarshal(answer, &resp); err != nil {
		t.Fatal(err)
	}
	tbs, err := ctx509.RemoveCTPoison(mustParse(t, chain[0]).RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	signed := []byte{0, 0} // v1, certificate_timestamp
	signed = binary.BigEndian.AppendUint64(signed, resp.Timestamp)
	signed = append(signed, 0, 1) // precert_entry
	keyHash := sha256.Sum256(ca.inter.RawSubjectPublicKeyInfo)
	signed = append(signed, keyHash[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // no extensions
	sum := sha256.Sum256(signed)
	if !bytes.HasPrefix(resp.Signature, []byte{4, 3}) { // sha256, ecdsa
		t.Fatalf("signature %x is not DigitallySigned with SHA-256 and ECDSA", resp.Signature)
	}
	if !ecdsa.VerifyASN1(d.key.Public().(*ecdsa.PublicKey), sum[:], resp.Signature[4:]) {
		t.Error("SCT does not verify")
	}
	sum[0] ^= 1
	if ecdsa.VerifyASN1(d.key.Public().(*ecdsa.PublicKey), sum[:], resp.Signature[4:]) {
		t.Error("a changed SCT verifies")
	}
}

func mustParse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestConcurrentSubmissions: every SCT's entry is in the log, and tree heads
// that differ have different times, in order.
func TestConcurrentSubmissions(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	const writers, each = 8, 6
	chains := make([][][]byte, writers*each)
	for i := range chains {
		chains[i] = ca.chain(t)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var last ct.SignedTreeHead
			for _, chain := range chains[w*each : (w+1)*each] {
				if _, err := r.client.AddPreChain(t.Context(), asn1Certs(chain)); err != nil {
					t.Error(err)
					return
				}
				sth, err := r.client.GetSTH(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if sth.TreeSize > last.TreeSize && sth.Timestamp <= last.Timestamp || sth.TreeSize < last.TreeSize {
					t.Errorf("head %d at %d follows %d at %d", sth.TreeSize, sth.Timestamp, last.TreeSize, last.Timestamp)
				}
				last = *sth
			}
		})
	}
	wg.Wait()
	checkLog(t, r, writers*each)
}

func TestRestart(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { restart(t, newDisk(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		d := newDisk(t)
		d.onPostgreSQL(t)
		d.makeTree(t)
		restart(t, d)
	})
}

func restart(t *testing.T, d *disk) {
	t.Helper()
	ca := newAuthority(t)
	chain := ca.chain(t)
	r := d.open(t, ca, nil)
	for range 4 {
		if _, err := r.client.AddPreChain(t.Context(), asn1Certs(ca.chain(t))); err != nil {
			t.Fatal(err)
		}
	}
	first, err := r.AddPreChain(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	before, err := r.client.GetSTH(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err == nil {
		t.Error("a stopped log still gives SCTs")
	}

	d.clock.move(time.Hour)
	r = d.open(t, ca, nil)
	checkLog(t, r, 5)
	hash, at := verifySCT(t, d.key.SPKI(), first, chain)
	again, err := r.AddPreChain(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	if hash2, at2 := verifySCT(t, d.key.SPKI(), again, chain); hash2 != hash || !at2.Equal(at) {
		t.Errorf("after the restart: entry %x of %v, want %x of %v", hash2, at2, hash, at)
	}
	if _, err := r.client.AddPreChain(t.Context(), asn1Certs(ca.chain(t))); err != nil {
		t.Fatal(err)
	}
	after, err := r.client.GetSTH(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := r.client.GetSTHConsistency(t.Context(), before.TreeSize, after.TreeSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, before.TreeSize, after.TreeSize, hashes,
		before.SHA256RootHash[:], after.SHA256RootHash[:]); err != nil {
		t.Errorf("head from before the restart is not extended: %v", err)
	}
}

// TestTwoLogsInOneProcess: each signs with its own key and takes its own CA.
func TestTwoLogsInOneProcess(t *testing.T) {
	for range 2 {
		d, ca := newDisk(t), newAuthority(t)
		r := d.open(t, ca, nil)
		chain := ca.chain(t)
		answer, err := r.AddPreChain(t.Context(), chain)
		if err != nil {
			t.Fatal(err)
		}
		verifySCT(t, d.key.SPKI(), answer, chain)
	}
}

func TestTrust(t *testing.T) {
	d := newDisk(t)
	got := d.open(t, newAuthority(t), nil).Trust()
	if got.BaseURL != "http://sigstack.test/ctlog" || !bytes.Equal(got.PublicKey, d.key.SPKI()) ||
		got.APIVersion != 1 || !got.Window.Start.Equal(d.key.Created) || !got.Window.End.IsZero() {
		t.Errorf("trust %+v", got)
	}
}

// TestSTHSignature checks the tree head by RFC 6962 §3.5, byte by byte.
func TestSTHSignature(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	r := d.open(t, ca, nil)
	if _, err := r.AddPreChain(t.Context(), ca.chain(t)); err != nil {
		t.Fatal(err)
	}
	var sth ct.GetSTHResponse
	if err := json.Unmarshal(r.get(t, "get-sth").Body.Bytes(), &sth); err != nil {
		t.Fatal(err)
	}
	signed := []byte{0, 1} // v1, tree_hash
	signed = binary.BigEndian.AppendUint64(signed, sth.Timestamp)
	signed = binary.BigEndian.AppendUint64(signed, sth.TreeSize)
	signed = append(signed, sth.SHA256RootHash...)
	var sig tls.DigitallySigned
	if _, err := tls.Unmarshal(sth.TreeHeadSignature, &sig); err != nil {
		t.Fatal(err)
	}
	if err := tls.VerifySignature(d.key.Public(), signed, sig); err != nil {
		t.Errorf("tree head does not verify: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	d, ca := newDisk(t), newAuthority(t)
	tree := d.open(t, ca, nil).tree
	p384, err := keys.Ephemeral("p384", keys.ECDSAP384, start)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*ctlog.Config)
		want   string
	}{
		{"no tree", func(c *ctlog.Config) { c.Tree = nil }, "required"},
		{"no key", func(c *ctlog.Config) { c.Signer = keys.Key{} }, "required"},
		{"P-384", func(c *ctlog.Config) { c.Signer = p384 }, "not ECDSA P-256"},
		{"no roots", func(c *ctlog.Config) { c.Roots = nil }, "no root"},
		{"prefix", func(c *ctlog.Config) { c.Prefix = "/ctlog" }, "prefix"},
		{"no temporary directory", func(c *ctlog.Config) { c.TempDir = "/nonexistent" }, "roots file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newConfig(t, d, ca, tree)
			tt.change(&cfg)
			if _, err := ctlog.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	cfg := newConfig(t, d, ca, tree)
	if _, err := ctlog.New(t.Context(), cfg); err != nil {
		t.Errorf("the unchanged config is refused: %v", err)
	}
	left, err := os.ReadDir(cfg.TempDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind in the temporary directory: %v, %v", left, err)
	}
}
