package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// tsaChains runs a command about the chains of the timestamp authority.
func tsaChains(t *testing.T, dir, command string, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append([]string{"tsa", "chain", command, "--dir", dir, "--output", "json"}, args...)...)
}

func tsaChainList(t *testing.T, dir string) []stack.ChainStatus {
	t.Helper()
	r := tsaChains(t, dir, "list")
	var list stack.ChainList
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("tsa chain list: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return list.Chains
}

// useTSAChain lets config.yaml name the chain of a key, and waits until it signs.
func useTSAChain(t *testing.T, s *e2etest.Stack, from, to string) {
	t.Helper()
	editConfig(t, s, "tsa", "\n  key: "+from+"\n", "\n  key: "+to+"\n", "keys/"+from+".chain.pem", "keys/"+to+".chain.pem")
	if r := reload(t, s, "tsa"); r.Code != 0 || !strings.Contains(r.Stdout, "with key "+to) {
		t.Fatalf("reload: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	active := func(c stack.ChainStatus) bool { return c.State == stack.ChainActive && c.Key == to }
	for deadline := time.Now().Add(time.Minute); !slices.ContainsFunc(tsaChainList(t, s.ServiceDir("tsa")), active); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the chain of key %s is not used within a minute", to)
		}
	}
}

// stamping is 16 writers: 12 ask for timestamps, 2 sign with sigstack and 2 with cosign.
type stamping struct {
	query, data string // files: one question for all, and what it is about
	cancel      context.CancelFunc
	wg          sync.WaitGroup

	mu        sync.Mutex
	responses [][]byte     // guarded by mu
	signed    []signedBlob // guarded by mu
}

func startStamping(t *testing.T, s *e2etest.Stack) *stamping {
	t.Helper()
	a := newTSA(t, s)
	w := &stamping{query: a.query(t, "sha256", true), data: a.data}
	question := []byte(e2etest.ReadFile(t, w.query))
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	token, dir := s.Token(t), t.TempDir()
	for range 12 {
		w.wg.Go(func() {
			if err := w.ask(ctx, s, question); err != nil {
				t.Errorf("a request for a timestamp failed: %v", err)
			}
		})
	}
	for i := range 4 {
		w.wg.Go(func() {
			for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
				w.sign(t, s, token, filepath.Join(dir, fmt.Sprintf("%d-%d", i, n)), i%2 == 0)
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// ask asks for timestamps until it is stopped. Each has to come.
func (w *stamping) ask(ctx context.Context, s *e2etest.Stack, question []byte) error {
	client := &http.Client{Transport: e2etest.Transport()}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, s.URL+"/api/v1/timestamp", bytes.NewReader(question))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/timestamp-query")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusCreated {
			return errors.Join(err, fmt.Errorf("status %d: %s", resp.StatusCode, body.String()))
		}
		w.mu.Lock()
		w.responses = append(w.responses, body.Bytes())
		w.mu.Unlock()
		time.Sleep(10 * time.Millisecond) // the signers need the processor too
	}
	return nil
}

// sign signs a new file with one of the programs, which check what they get.
func (w *stamping) sign(t *testing.T, s *e2etest.Stack, token, blob string, byCosign bool) {
	trusted, err := os.ReadFile(s.Kit("trusted_root.json"))
	if err == nil {
		err = os.WriteFile(blob, []byte(blob), 0o600)
	}
	if err != nil {
		t.Error(err)
		return
	}
	b := signedBlob{blob: blob, trustedRoot: string(trusted)}
	name, args := e2etest.Sigstack(t), []string{"sign", "--client", s.Kit(""), "--bundle", blob + ".json", blob}
	if byCosign {
		b.cosign = blob + ".json"
		name, args = e2etest.Client(t, "cosign-v3"), []string{
			"sign-blob", "--yes", "--signing-config", s.Kit("signing_config.v0.2.json"),
			"--trusted-root", s.Kit("trusted_root.json"), "--bundle", b.cosign, blob,
		}
	} else {
		b.sigstack = blob + ".json"
	}
	if r := e2etest.Run(t, []string{"SIGSTORE_ID_TOKEN=" + token}, name, args...); r.Code != 0 {
		t.Errorf("%s %s: exit %d\n%s", filepath.Base(name), args[0], r.Code, r.Stderr)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signed = append(w.signed, b)
}

func (w *stamping) stop() {
	w.cancel()
	w.wg.Wait()
}

// some waits until that many files more were signed.
func (w *stamping) some(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.signed)
	}
	for first, deadline := count(), time.Now().Add(time.Minute); count() < first+more && !t.Failed(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files were signed within a minute, want %d", count()-first, more)
		}
	}
}

// leaves are the certificates of all chains whose keys sign timestamps, as DER.
func tsaLeaves(t *testing.T, dir string, keys ...string) (leaves [][]byte) {
	t.Helper()
	for _, key := range keys {
		chain, err := pki.ParseCertificatesPEM([]byte(e2etest.ReadFile(t, filepath.Join(dir, "keys", key+".chain.pem"))))
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, chain[0].Raw)
	}
	return leaves
}

// checkStamps has openssl verify timestamps of each leaf, the first and last ones
// among them, and demands that there are some of each and none of any other.
func (w *stamping) checkStamps(t *testing.T, chain string, leaves [][]byte) {
	t.Helper()
	byLeaf := make([][][]byte, len(leaves))
	for _, r := range w.responses {
		i := slices.IndexFunc(leaves, func(leaf []byte) bool { return bytes.Contains(r, leaf) })
		if i < 0 {
			t.Fatal("a timestamp is of none of the chains")
		}
		byLeaf[i] = append(byLeaf[i], r)
	}
	dir := t.TempDir()
	for i, all := range byLeaf {
		t.Logf("%d timestamps of chain %d", len(all), i+1)
		if len(all) == 0 {
			t.Errorf("no timestamp is of chain %d", i+1)
		}
		sample := all
		if len(all) > 60 {
			sample = slices.Concat(all[:30], all[len(all)-30:])
		}
		for _, r := range sample {
			response := e2etest.WriteFile(t, dir, "response.tsr", string(r))
			e2etest.WantAccepted(t, "openssl", openssl(t, "ts", "-verify", "-in", response, "-queryfile", w.query, "-CAfile", chain, "-untrusted", chain))
		}
	}
}

// authoritiesOnly is a file without its first certificate, so that a timestamp is
// verified by the one that it has in it.
func authoritiesOnly(t *testing.T, file string) string {
	t.Helper()
	var out bytes.Buffer
	rest := []byte(e2etest.ReadFile(t, file))
	for first := true; ; first = false {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return e2etest.WriteFile(t, t.TempDir(), "authorities.pem", out.String())
		}
		if !first {
			_ = pem.Encode(&out, block) // into memory
		}
	}
}

// checkSigned verifies every signed file with cosign, which knows the trust root by TUF
// alone, and with sigstack.
func (w *stamping) checkSigned(t *testing.T, s *e2etest.Stack, signed []signedBlob) {
	t.Helper()
	cosign := []string{"TUF_ROOT=" + filepath.Join(t.TempDir(), "tuf")}
	e2etest.MustRun(t, cosign, e2etest.Client(t, "cosign-v3"), "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))
	for _, b := range signed {
		bundle := b.cosign + b.sigstack // one of them
		args := append([]string{"verify-blob", "--use-signed-timestamps", "--bundle", bundle}, s.IdentityArgs()...)
		e2etest.WantAccepted(t, "cosign by TUF, "+filepath.Base(b.blob), e2etest.Run(t, cosign, e2etest.Client(t, "cosign-v3"), append(args, b.blob)...))
		e2etest.WantAccepted(t, "sigstack, "+filepath.Base(b.blob), s.Verify(t, b.blob, bundle))
	}
}

// tryStamped verifies what cosign signed by its timestamp, with a trusted root.
func (b signedBlob) tryStamped(t *testing.T, s *e2etest.Stack, trustedRoot string) e2etest.Result {
	t.Helper()
	file := e2etest.WriteFile(t, t.TempDir(), "trusted_root.json", trustedRoot)
	args := append([]string{"verify-blob", "--use-signed-timestamps", "--trusted-root", file, "--bundle", b.cosign}, s.IdentityArgs()...)
	return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append(args, b.blob)...)
}

// TestTSASwitchUnderWriters: 16 writers ask for timestamps and sign while the timestamp
// authority goes over to a new chain and the one before is closed. No request fails.
// What was made before, during and after verifies with the newest trust root and
// with the one that was current then.
func TestTSASwitchUnderWriters(t *testing.T) {
	oneProcess(t)
	s := e2etest.Start(t, t.TempDir())
	first := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	w := startStamping(t, s)
	w.some(t, 4)
	if r := tsaChains(t, s.Dir, "prepare"); r.Code != 0 {
		t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
	}
	w.some(t, 2)
	useTSAChain(t, s, "tsa", "tsa-2")
	w.some(t, 4)
	if r := tsaChains(t, s.Dir, "close", "--yes"); r.Code != 0 {
		t.Fatalf("close: exit %d\n%s", r.Code, r.Stderr)
	}
	w.some(t, 4)
	w.stop()
	if t.Failed() {
		return
	}
	leaves := tsaLeaves(t, s.Dir, "tsa", "tsa-2")
	w.checkStamps(t, authoritiesOnly(t, s.Kit("tsa.crt.pem")), leaves)
	w.checkSigned(t, s, w.signed)
	unknown := 0
	for _, b := range w.signed {
		if b.cosign == "" {
			continue
		}
		e2etest.WantAccepted(t, "cosign, with the trusted root of then, "+filepath.Base(b.blob), b.tryStamped(t, s, b.trustedRoot))
		if b.tryStamped(t, s, first).Code != 0 {
			unknown++
		}
	}
	if unknown == 0 {
		t.Error("the first trusted root knows the timestamps of both chains")
	}
	t.Logf("%d timestamps, %d signed files; the first trusted root does not know %d of cosign's", len(w.responses), len(w.signed), unknown)
	if got := tsaChainList(t, s.Dir); len(got) != 2 || got[0].State != stack.ChainRetired || got[0].End.IsZero() || got[1].State != stack.ChainActive {
		t.Errorf("chains %+v, want the first closed and the second active", got)
	}
	s.Stop()
	s = e2etest.Start(t, s.Dir) // with its write-through test
	w.checkSigned(t, s, []signedBlob{w.signed[0], w.signed[len(w.signed)-1]})
}

// TestPreparedTSAChainAfterSplit: the process with the timestamp authority goes over to
// a chain that was prepared before the stack was split, and prepares none.
func TestPreparedTSAChainAfterSplit(t *testing.T) {
	oneProcess(t)
	dir := t.TempDir()
	s := e2etest.StartToSplit(t, dir)
	if r := tsaChains(t, dir, "prepare"); r.Code != 0 {
		t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
	}
	s.Stop()
	s = e2etest.StartSplit(t, dir)
	process := filepath.Join(dir, "processes", "ca")
	w := startStamping(t, s)
	w.some(t, 2)
	path := filepath.Join(process, "config.yaml")
	text := strings.NewReplacer("\n  key: tsa\n", "\n  key: tsa-2\n", "keys/tsa.chain.pem", "keys/tsa-2.chain.pem").Replace(e2etest.ReadFile(t, path))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); tsaChainList(t, process)[0].State != stack.ChainRetired; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process did not go over to the chain by itself")
		}
	}
	w.some(t, 2)
	w.stop()
	if t.Failed() {
		return
	}
	w.checkStamps(t, authoritiesOnly(t, filepath.Join(process, "keys", "tsa-2.chain.pem")), tsaLeaves(t, process, "tsa", "tsa-2"))
	w.checkSigned(t, s, w.signed)
	r := tsaChains(t, process, "prepare", "--offline", filepath.Join(dir, "offline"))
	if r.Code != 1 || !strings.Contains(r.Stderr, "before `sigstack split`") {
		t.Errorf("prepare in a split stack: exit %d, want that it is refused\n%s", r.Code, r.Stderr)
	}
	s.Stop()
	s = e2etest.StartSplit(t, dir)
	w.checkSigned(t, s, w.signed[:1])
}
