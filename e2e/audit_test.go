package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// servedKit is the directory of the kit that the stack serves: with several
// processes that of the front, which has all their audit keys.
func servedKit(s *e2etest.Stack) string { return filepath.Join(s.ServiceDir("tuf"), "client") }

// auditVerify is `sigstack audit verify`, by the stack's kit.
func auditVerify(t *testing.T, s *e2etest.Stack, dir string, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append([]string{"audit", "verify", "--dir", dir, "--client", servedKit(s)}, args...)...)
}

// auditRecord is what the tests read of a record.
type auditRecord struct {
	Seq     uint64            `json:"seq"`
	Action  string            `json:"action"`
	Outcome string            `json:"outcome"`
	Subject string            `json:"subject"`
	Address string            `json:"address"`
	Detail  map[string]string `json:"detail"`
}

// auditShow returns the records that `sigstack audit show` finds.
func auditShow(t *testing.T, dir string, args ...string) (list []auditRecord) {
	t.Helper()
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), append([]string{"audit", "show", "--dir", dir, "--output", "json"}, args...)...)
	for line := range strings.Lines(out) {
		var r auditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, r)
	}
	return list
}

// TestEachCertificateSurvivesInTheAuditRecord kills the stack under load, again and
// again: each certificate that a client got is on record, and the record is whole.
func TestEachCertificateSurvivesInTheAuditRecord(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) // printed, to repeat the run
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir, notes := t.TempDir(), t.TempDir()
	s := e2etest.Start(t, dir)
	const rounds, clients = 6, 8
	for range rounds {
		token := s.Token(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var wg sync.WaitGroup
		for i := range clients {
			own := filepath.Join(notes, fmt.Sprint(i))
			if err := os.MkdirAll(own, 0o700); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := certify(ctx, s.URL, own, token); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		time.Sleep(time.Duration(100+random.IntN(500)) * time.Millisecond) // the random moment
		s.Kill()
		wg.Wait()
		cancel()
		s = e2etest.Start(t, dir)
		for _, d := range s.ServiceDirs("ca") {
			e2etest.WantAccepted(t, "audit verify", auditVerify(t, s, d))
		}
	}
	recorded := map[string]bool{}
	for _, d := range s.ServiceDirs("ca") {
		for _, r := range auditShow(t, d, "--action", "ca.certificate", "--outcome", "ok") {
			recorded[r.Detail["certificate_sha256"]] = true
		}
	}
	got := receivedCertificates(t, notes)
	for _, sum := range got {
		if !recorded[sum] {
			t.Errorf("a client has certificate %s, the record has not", sum)
		}
	}
	t.Logf("%d certificates received, %d on record", len(got), len(recorded))
	if len(got) < rounds*clients {
		t.Errorf("only %d certificates were received: the load did not load", len(got))
	}
}

// receivedCertificates returns the SHA-256 of each leaf that certify has noted.
func receivedCertificates(t *testing.T, notes string) (sums []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(notes, "*", certificateNotes))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		scan := bufio.NewScanner(strings.NewReader(e2etest.ReadFile(t, name)))
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			var answer struct {
				Embedded struct {
					Chain struct {
						Certificates []string `json:"certificates"`
					} `json:"chain"`
				} `json:"signedCertificateEmbeddedSct"`
			}
			if err := json.Unmarshal(scan.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			leaf, _ := pem.Decode([]byte(answer.Embedded.Chain.Certificates[0]))
			sum := sha256.Sum256(leaf.Bytes)
			sums = append(sums, hex.EncodeToString(sum[:]))
		}
		if err := scan.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return sums
}

// TestAnchorsAreForEverybody: an anchor is a bundle that cosign verifies with the
// kit's files and the four lines that it is over.
func TestAnchorsAreForEverybody(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir := s.ServiceDir("ca")
	var chain string
	var anchor auditRecord
	for anchor.Seq == 0 { // one is made soon after the start
		for _, r := range auditShow(t, dir, "--action", "audit.") {
			switch r.Action {
			case "audit.begin":
				chain = r.Detail["chain"]
			case "audit.anchor":
				anchor = r
			}
		}
	}
	statement := fmt.Sprintf("sigstack audit head 1\nchain %s\nseq %s\nhash %s\n", chain, anchor.Detail["seq"], anchor.Detail["hash"])
	work := t.TempDir()
	blob, bundle := e2etest.WriteFile(t, work, "head", statement), e2etest.WriteFile(t, work, "bundle", anchor.Detail["bundle"])
	verify := func(blob, key string) e2etest.Result {
		return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), "verify-blob", "--key", key,
			"--trusted-root", s.Kit("trusted_root.json"), "--bundle", bundle, blob)
	}
	other := e2etest.WriteFile(t, work, "other", strings.Replace(statement, "seq ", "seq 1", 1))
	accepted := 0
	for _, key := range auditKeys(t, s, work) { // one of each process
		if verify(blob, key).Code == 0 {
			accepted++
		}
		if verify(other, key).Code == 0 {
			t.Error("cosign accepts another statement")
		}
	}
	if accepted != 1 {
		r := verify(blob, auditKeys(t, s, work)[0])
		t.Errorf("cosign accepts the anchor by %d keys, want 1: %s", accepted, r.Stderr)
	}
}

// auditKeys writes each key of the kit's audit.pub to a file of its own.
func auditKeys(t *testing.T, s *e2etest.Stack, dir string) (paths []string) {
	t.Helper()
	data := []byte(e2etest.ReadFile(t, filepath.Join(servedKit(s), "audit.pub")))
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		name := fmt.Sprintf("audit-%d.pub", len(paths))
		paths = append(paths, e2etest.WriteFile(t, dir, name, string(pem.EncodeToMemory(block))))
	}
	return paths
}

// TestARecordThatWasPutBackIsNoticed: an older copy of the record is whole; the log
// knows better.
func TestARecordThatWasPutBackIsNoticed(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir := s.ServiceDir("ca")
	e2etest.WantAccepted(t, "audit verify", auditVerify(t, s, dir))
	earlier := t.TempDir()
	if err := errors.Join(
		os.CopyFS(filepath.Join(earlier, "audit"), os.DirFS(filepath.Join(dir, "audit"))),
		os.WriteFile(filepath.Join(earlier, "config.yaml"), []byte(e2etest.ReadFile(t, filepath.Join(dir, "config.yaml"))), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	s.Stop() // which anchors
	s = e2etest.Start(t, s.Dir)
	e2etest.WantAccepted(t, "audit verify", auditVerify(t, s, dir))
	e2etest.WantAccepted(t, "audit verify of the copy, offline", auditVerify(t, s, earlier, "--offline"))
	r := auditVerify(t, s, earlier)
	if r.Code != 1 || !strings.Contains(r.Stderr, "the record was put back") {
		t.Errorf("audit verify of the copy: exit %d, %s; want 1, that it was put back", r.Code, r.Stderr)
	}
}

// TestAFullAuditDisk: no certificate, token or login while the disk of the records
// is full, what needs no record goes on, and all is well when there is space again.
func TestAFullAuditDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	s := e2etest.Start(t, t.TempDir())
	token := s.Token(t)
	s.Stop()
	records := append(s.ServiceDirs("ca"), s.ServiceDirs("oidc")...)
	slices.Sort(records)
	records = slices.Compact(records)
	for _, dir := range records {
		onSmallDisk(t, filepath.Join(dir, "audit"))
	}
	s = e2etest.Start(t, s.Dir)
	certificate := func() (int, []byte) {
		body, err := certificateRequest(token)
		if err != nil {
			t.Fatal(err)
		}
		return e2etest.Send(t, http.MethodPost, s.URL+"/api/v2/signingCert", "application/json", body)
	}
	if status, answer := certificate(); status != http.StatusOK {
		t.Fatalf("before: status %d: %s", status, answer)
	}
	var ballast []string
	for _, dir := range records {
		ballast = append(ballast, fillDisk(t, filepath.Join(dir, "audit")))
	}
	noCertificates(t, s, certificate)
	given := 0
	for given < 100 && e2etest.Run(t, nil, e2etest.Sigstack(t), "token", "--dir", s.Dir).Code == 0 {
		given++ // as above
	}
	if given == 100 || given > 0 && len(records) == 1 {
		t.Errorf("%d tokens were given", given)
	}
	wantReadiness(t, s, http.StatusServiceUnavailable, `"audit":{"status":"down"`)
	if status, _ := e2etest.Get(t, s.URL+"/api/v1/log"); status != http.StatusOK {
		t.Errorf("the log: status %d, want 200", status)
	}
	for _, file := range ballast {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer := certificate(); status != http.StatusOK {
		t.Errorf("with space again: status %d: %s", status, answer)
	}
	s.Token(t)
	wantReadiness(t, s, http.StatusOK, `"audit":{"status":"warn","detail":"`) // of a small disk
	noticed := 0
	for _, dir := range records {
		e2etest.WantAccepted(t, "audit verify", auditVerify(t, s, dir))
		got := auditShow(t, dir, "--action", "audit.resume")
		if len(got) > 0 && got[0].Detail["lost_events"] != "0" {
			noticed++
		}
	}
	if want := len(records); noticed < want && !e2etest.OnReplicas() || noticed == 0 { // all may have gone to one replica
		t.Errorf("%d records have the time in between, want %d", noticed, want)
	}
}

// wantReadiness waits for an answer of /readyz: the front of several processes asks
// the others once a second. Of replicas one has to give it: each tells of itself.
func wantReadiness(t *testing.T, s *e2etest.Stack, status int, piece string) {
	t.Helper()
	urls := []string{s.URL}
	if e2etest.OnReplicas() {
		urls = nil
		for _, address := range s.Addresses() {
			urls = append(urls, "http://"+address)
		}
	}
	for began, n := time.Now(), 0; ; time.Sleep(50 * time.Millisecond) {
		got, body := e2etest.Get(t, urls[n%len(urls)]+"/readyz")
		n++
		if got == status && bytes.Contains(body, []byte(piece)) {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("readiness: status %d: %s; want %d with %s", got, body, status, piece)
		}
	}
}

// noCertificates wants certificates refused as long as they cannot be recorded, and
// the CT log not filled with them.
func noCertificates(t *testing.T, s *e2etest.Stack, certificate func() (int, []byte)) {
	t.Helper()
	logged := ctSize(t, s)
	var status int
	var answer []byte
	refused := 0
	for range 100 { // what space is left in the last block is used up, on each replica
		if status, answer = certificate(); status != http.StatusOK {
			if refused++; refused == 4 {
				break
			}
			continue
		}
		refused, logged = 0, ctSize(t, s)
	}
	if status != http.StatusServiceUnavailable || !bytes.Contains(answer, []byte("the audit record cannot be written")) {
		t.Errorf("full disk: status %d: %s; want 503, that the record cannot be written", status, answer)
	}
	for range 5 {
		certificate()
	}
	if got := ctSize(t, s); got > logged+1 {
		t.Errorf("%d certificates that nobody got are in the CT log, want 1 at most", got-logged)
	}
}

// onSmallDisk moves dir to a disk of its own of 256 KB.
func onSmallDisk(t *testing.T, dir string) string {
	t.Helper()
	kept := t.TempDir()
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fillDisk leaves no block free where dir lies.
func fillDisk(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return ballast
}

// ctSize is how many certificates the CT log has.
func ctSize(t *testing.T, s *e2etest.Stack) (n int) {
	t.Helper()
	var head struct {
		Size int `json:"tree_size"`
	}
	_, body := e2etest.Get(t, s.URL+"/ctlog/ct/v1/get-sth")
	if err := json.Unmarshal(body, &head); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return head.Size
}
