package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	ctclient "github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/google/certificate-transparency-go/scanner"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/e2e/e2etest"
	"sigstack/internal/stack"
)

// ctCommand runs a command about CT logs.
func ctCommand(t *testing.T, s *e2etest.Stack, into any, args ...string) {
	t.Helper()
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), append([]string{"ctlog", args[0], "--dir", s.Dir, "--output", "json"}, args[1:]...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("ctlog %v: %v\n%s", args, err, out)
	}
}

func ctLogs(t *testing.T, s *e2etest.Stack) []stack.CTLogStatus {
	t.Helper()
	var list stack.CTLogList
	ctCommand(t, s, &list, "list")
	return list.Logs
}

// awaitCT waits until the CT log with a prefix is as it should be, which a reload has
// answered for, or the stack does by itself.
func awaitCT(t *testing.T, s *e2etest.Stack, prefix, state string, asked int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		list := ctLogs(t, s)
		for _, l := range list {
			if l.Prefix == prefix && l.State == state && l.Asked == asked {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("CT log %s is not %s, asked as number %d, within a minute: %+v", prefix, state, asked, list)
		}
	}
}

// signedBy is a bundle, and the CT log that its certificate's SCT is of.
type signedBy struct{ blob, bundle, logID string }

// ctSigner signs one blob after the other until it is stopped. Each has to come.
func ctSigner(ctx context.Context, t *testing.T, s *e2etest.Stack, token, dir string, cosign bool) (out []signedBy) {
	for n := 0; ctx.Err() == nil; n++ {
		blob := e2etest.WriteFile(t, dir, fmt.Sprint(n), fmt.Sprintf("%s %d\n", dir, n))
		bundle, env := blob+".json", []string{"SIGSTORE_ID_TOKEN=" + token}
		var r e2etest.Result
		if cosign {
			r = e2etest.Run(t, env, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes", "--bundle", bundle,
				"--signing-config", s.Kit("signing_config.v0.2.json"), "--trusted-root", s.Kit("trusted_root.json"), blob)
		} else {
			r = e2etest.Run(t, env, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", bundle, blob)
		}
		if r.Code != 0 {
			t.Errorf("a signature failed: exit %d\n%s", r.Code, r.Stderr)
			return out
		}
		out = append(out, signedBy{blob, bundle, sctOf(t, bundle)})
	}
	return out
}

// sctOf is the ID of the log, in hex, whose timestamp a bundle's certificate has.
func sctOf(t *testing.T, bundle string) string {
	var b struct {
		Material struct {
			Certificate struct {
				Raw []byte `json:"rawBytes"`
			} `json:"certificate"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, bundle)), &b); err != nil {
		t.Errorf("%s: %v", bundle, err)
		return ""
	}
	scts, err := x509util.ParseSCTsFromCertificate(b.Material.Certificate.Raw)
	if err != nil || len(scts) != 1 {
		t.Errorf("%s: %d SCTs, %v, want one", bundle, len(scts), err)
		return ""
	}
	return hex.EncodeToString(scts[0].LogID.KeyID[:])
}

// TestCTLogChangeUnderWriters: 16 clients sign with new certificates while the CT log
// is replaced by another one with a key, a tree and a prefix of its own, closed and
// frozen. None fails; every signature verifies by TUF; the SCTs of new certificates
// are the new log's; and the old one can be read to its end.
func TestCTLogChangeUnderWriters(t *testing.T) {
	oneProcess(t)
	const writers = 16
	s := e2etest.Start(t, t.TempDir())
	first := e2etest.ReadFile(t, s.Kit("ctfe.pub"))
	old := hex.EncodeToString(keyID(logID(t, s)))

	var mu sync.Mutex
	var all []signedBy
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); wg.Wait() })
	token := s.Token(t)
	for i := range writers {
		dir := t.TempDir()
		wg.Go(func() {
			got := ctSigner(ctx, t, s, token, dir, i%4 == 0)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, got...)
		})
	}
	before := signWithBoth(t, s, "before")

	var prepared, again stack.CTLogStatus
	ctCommand(t, s, &prepared, "prepare")
	ctCommand(t, s, &again, "prepare")
	if prepared != again || prepared.Prefix != "ct2" || prepared.State != stack.CTLogPreparing {
		t.Errorf("prepared %+v, again %+v", prepared, again)
	}
	var published struct {
		Published []string `json:"published"`
	}
	ctCommand(t, s, &published, "publish")
	if len(published.Published) != 1 || published.Published[0] != prepared.LogID {
		t.Errorf("published %v, want %s", published.Published, prepared.LogID)
	}
	ctCommand(t, s, &published, "publish")
	if len(published.Published) != 0 {
		t.Errorf("published again: %v", published.Published)
	}
	edit(t, s.Dir, "ctlog:\n", fmt.Sprintf("ctlog:\n  first: ct2\n  shards:\n    - key: %s\n      tree_id: %d\n      prefix: ct2\n", prepared.Key, prepared.TreeID))
	if r := reload(t, s, "ctlog"); r.Code != 0 || !strings.Contains(r.Stdout, "/ct2") {
		t.Fatalf("reload: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	awaitCT(t, s, "ct2", stack.CTLogActive, 1)
	awaitCT(t, s, "ctlog", stack.CTLogActive, 2)
	for range 3 {
		if _, sct, err := parseCertified(issued(t, s, s.Token(t))); err != nil || hex.EncodeToString(sct.LogID.KeyID[:]) != prepared.LogID {
			t.Errorf("after the change the SCT is of %x, %v, want %s", sct.LogID.KeyID, err, prepared.LogID)
		}
	}
	edit(t, s.Dir, "\nctlog:\n", "\nctlog:\n  state: readonly\n")
	if r := reload(t, s, "ctlog"); r.Code != 0 {
		t.Fatalf("reload: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	awaitCT(t, s, "ctlog", stack.CTLogClosed, 0)
	edit(t, s.Dir, "state: readonly", "state: frozen")
	if r := reload(t, s, "ctlog"); r.Code != 0 || !strings.Contains(r.Stdout, "is frozen") {
		t.Fatalf("reload: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	awaitCT(t, s, "ctlog", stack.CTLogFrozen, 0)
	after := signWithBoth(t, s, "after")
	cancel()
	wg.Wait()

	counts := map[string]int{}
	for _, b := range all {
		counts[b.logID]++
	}
	t.Logf("%d signatures by %d clients: SCTs %v", len(all), writers, counts)
	if len(counts) != 2 || counts[old] == 0 || counts[prepared.LogID] == 0 {
		t.Errorf("SCTs of %v, want some of %s and of %s", counts, old, prepared.LogID)
	}
	verifyByTUF(t, s, all)
	for _, b := range []signedBlob{before, after} {
		b.verify(t, s, e2etest.ReadFile(t, s.Kit("trusted_root.json")))
	}
	if after.try(t, s, before.trustedRoot).Code == 0 {
		t.Error("cosign accepts an SCT of the new log with the trusted root of before")
	}
	if e2etest.ReadFile(t, s.Kit("ctfe.pub")) == first {
		t.Error("the kit names the key of the old log as the one in use")
	}
	walkCT(t, s, "ctlog", first, "frozen")
	s.Stop()
	s = e2etest.Start(t, s.Dir)
	walkCT(t, s, "ctlog", first, "frozen, after a start")
	walkCT(t, s, "ct2", e2etest.ReadFile(t, s.Kit("ctfe.pub")), "the new log")
	signed(t, s, "later")
}

func keyID(id [32]byte) []byte { return id[:] }

// verifyByTUF verifies each bundle with sigstack, by the kit, and with cosign, by TUF.
func verifyByTUF(t *testing.T, s *e2etest.Stack, all []signedBy) {
	t.Helper()
	env := []string{"TUF_ROOT=" + filepath.Join(t.TempDir(), "tuf")}
	e2etest.MustRun(t, env, e2etest.Client(t, "cosign-v3"), "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))
	for _, b := range all {
		e2etest.WantAccepted(t, "sigstack", s.Verify(t, b.blob, b.bundle))
		args := append([]string{"verify-blob", "--bundle", b.bundle, b.blob}, s.IdentityArgs()...)
		e2etest.WantAccepted(t, "cosign 3 by TUF", e2etest.Run(t, env, e2etest.Client(t, "cosign-v3"), args...))
	}
}

// walkCT reads a CT log to its end as a stranger with its key, and demands that its
// entries have the root of the signed tree head.
func walkCT(t *testing.T, s *e2etest.Stack, prefix, key, what string) {
	t.Helper()
	c, err := ctclient.New(s.URL+"/"+prefix, e2etest.HTTP, jsonclient.Options{PublicKey: key})
	if err != nil {
		t.Fatal(err)
	}
	sth, err := c.GetSTH(t.Context()) // verifies the signature
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	leaves := map[int64][]byte{}
	var mu sync.Mutex
	fetcher := scanner.NewFetcher(c, &scanner.FetcherOptions{BatchSize: 50, ParallelFetch: 2, EndIndex: int64(sth.TreeSize)})
	err = fetcher.Run(t.Context(), func(b scanner.EntryBatch) {
		mu.Lock()
		defer mu.Unlock()
		for i, e := range b.Entries {
			leaves[b.Start+int64(i)] = rfc6962.DefaultHasher.HashLeaf(e.LeafInput)
		}
	})
	for i := range int64(sth.TreeSize) {
		if err == nil {
			err = tree.Append(leaves[i], nil)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	root, err := tree.GetRootHash(nil)
	if err != nil || !bytes.Equal(root, sth.SHA256RootHash[:]) || sth.TreeSize == 0 {
		t.Errorf("%s: %d entries have root %x, %v, the head of %d entries says %x", what, len(leaves), root, err, sth.TreeSize, sth.SHA256RootHash)
	}
	if !strings.HasPrefix(what, "frozen") {
		return
	}
	body, err := json.Marshal(ct.AddChainRequest{Chain: [][]byte{{1}}})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := e2etest.Send(t, http.MethodPost, s.URL+"/"+prefix+"/ct/v1/add-pre-chain", "application/json", body); status != http.StatusForbidden {
		t.Errorf("%s: a chain is answered %d %s, want 403", what, status, answer)
	}
}
