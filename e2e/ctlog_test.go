package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/scanner"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
)

// issued asks a stack for a certificate, which must be given, and returns the answer.
func issued(t *testing.T, s *e2etest.Stack, token string) []byte {
	t.Helper()
	body, err := certificateRequest(token)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := e2etest.Send(t, http.MethodPost, s.URL+"/api/v2/signingCert", "application/json", body)
	if status != http.StatusOK {
		t.Fatalf("no certificate: %d %s", status, answer)
	}
	return answer
}

// TestCTLogOfAStack: the log of a running stack, walked by a stranger, has exactly
// the certificates that were handed out, and refuses what its CA has not issued.
func TestCTLogOfAStack(t *testing.T) {
	const certificates = 25
	s := e2etest.Start(t, t.TempDir())
	c := newCTChecker(t, s)
	before, err := c.client.GetSTH(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	notes, token := t.TempDir(), s.Token(t)
	var answers []byte
	for range certificates {
		answers = append(append(answers, bytes.TrimSpace(issued(t, s, token))...), '\n')
	}
	if err := os.WriteFile(filepath.Join(notes, certificateNotes), answers, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := c.check(t, notes); err != nil || n != certificates {
		t.Errorf("%d of %d certificates are in the log: %v", n, certificates, err)
	}

	var mu sync.Mutex
	found := 0 // guarded by mu
	note := func(*ct.RawLogEntry) {
		mu.Lock()
		defer mu.Unlock()
		found++
	}
	scan := scanner.NewScanner(c.client, scanner.ScannerOptions{
		FetcherOptions: scanner.FetcherOptions{BatchSize: 10, ParallelFetch: 2, StartIndex: int64(before.TreeSize)},
		Matcher:        scanner.MatchAll{}, NumWorkers: 1, BufferSize: 10,
	})
	if err := scan.Scan(t.Context(), note, note); err != nil || found != certificates {
		t.Errorf("the scanner found %d entries, %v, want %d", found, err, certificates)
	}

	chain, _, err := parseCertified(bytes.Split(answers, []byte("\n"))[0])
	if err != nil {
		t.Fatal(err)
	}
	roots, err := c.client.GetAcceptedRoots(t.Context())
	if err != nil || len(roots) != 1 || !bytes.Equal(roots[0].Data, chain[len(chain)-1].Raw) {
		t.Errorf("roots %v, %v, want the CA's", roots, err)
	}
	status, about := e2etest.Get(t, s.URL+"/ctlog/log.v3.json")
	if status != http.StatusOK || !strings.Contains(string(about), `"mmd":86400`) || !strings.Contains(string(about), s.URL+"/ctlog/") {
		t.Errorf("description: %d %s", status, about)
	}
	// A certificate is no precertificate, and half a chain is none.
	for _, refused := range [][][]byte{{chain[0].Raw, chain[1].Raw, chain[2].Raw}, {chain[0].Raw}, {chain[2].Raw}, {{1}}, {}} {
		body, err := json.Marshal(ct.AddChainRequest{Chain: refused})
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := e2etest.Send(t, http.MethodPost, s.URL+"/ctlog/ct/v1/add-pre-chain", "application/json", body); status != http.StatusBadRequest {
			t.Errorf("%d certificates: %d %s, want 400", len(refused), status, answer)
		}
	}
	if after, err := c.client.GetSTH(t.Context()); err != nil || after.TreeSize != before.TreeSize+certificates {
		t.Errorf("the log has %+v, %v, want %d entries", after, err, before.TreeSize+certificates)
	}
}

// TestCTLogOfOthers: a CA that submits to the log of another stack goes on with its
// own while that is away, says so, and comes back to it. Everything verifies.
func TestCTLogOfOthers(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a log is published before a stack is split")
	}
	dir := t.TempDir()
	s := e2etest.Start(t, dir)
	chain, _, err := parseCertified(issued(t, s, s.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
	s.Stop()

	otherDir := t.TempDir()
	other := e2etest.Start(t, otherDir)
	other.Stop()
	e2etest.WriteFile(t, otherDir, "foreign-root.pem", string(root))
	edit(t, otherDir, "ctlog:\n", "ctlog:\n  roots: [foreign-root.pem]\n")
	other = e2etest.Start(t, otherDir)

	e2etest.WriteFile(t, dir, "foreign.pub", e2etest.ReadFile(t, other.Kit("ctfe.pub")))
	log := "  ct_logs:\n    - url: " + other.URL + "/ctlog\n      key: foreign.pub\n      since: \"2020-01-01T00:00:00Z\"\n"
	if e2etest.OverTLS() {
		log += "      ca_cert: " + other.Kit("tls-ca.crt.pem") + "\n"
	}
	edit(t, dir, "\nca:\n", "\nca:\n"+log+"    - own: true\n")
	e2etest.MustRun(t, e2etest.Environment(t), e2etest.Sigstack(t), "ctlog", "publish", "--dir", dir)
	s = e2etest.Start(t, dir)

	foreign, own := logID(t, other), logID(t, s)
	from := func() [32]byte {
		t.Helper()
		_, sct, err := parseCertified(issued(t, s, s.Token(t)))
		if err != nil {
			t.Fatal(err)
		}
		return sct.LogID.KeyID
	}
	turnTo := func(when string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); from() != foreign; time.Sleep(200 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s the first log of the list is not asked", when)
			}
		}
	}
	turnTo("when every client knows it")
	signed(t, s, "first")
	other.Stop()
	for range 5 {
		if got := from(); got != own {
			t.Errorf("without the other stack the SCT is of %x, want %x, its own log", got, own)
		}
	}
	if _, report := e2etest.Get(t, s.URL+"/readyz"); !strings.Contains(string(report), other.URL+"/ctlog") {
		t.Errorf("readiness does not name the log that is away: %s", report)
	}
	signed(t, s, "second")
	e2etest.Start(t, otherDir)
	turnTo("when it is back")
	if status, report := e2etest.Get(t, s.URL+"/readyz"); status != http.StatusOK || strings.Contains(string(report), "gives no timestamps") {
		t.Errorf("readiness: %d %s", status, report)
	}
}

// signed signs a file with cosign, which verifies the SCT, and verifies it.
func signed(t *testing.T, s *e2etest.Stack, name string) {
	t.Helper()
	dir := t.TempDir()
	blob := e2etest.WriteFile(t, dir, name, name)
	bundle := filepath.Join(dir, name+".sigstore.json")
	s.SignWithCosign(t, blob, bundle)
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, bundle, s.IdentityArgs()...))
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, blob, bundle, s.IdentityArgs()...))
}

// logID is the ID of a stack's own CT log.
func logID(t *testing.T, s *e2etest.Stack) [32]byte {
	t.Helper()
	status, about := e2etest.Get(t, s.URL+"/ctlog/log.v3.json")
	var v struct {
		Key []byte `json:"key"`
	}
	if err := json.Unmarshal(about, &v); err != nil || status != http.StatusOK {
		t.Fatalf("description of the log: %d %s %v", status, about, err)
	}
	return pki.LogID(v.Key)
}

// edit replaces text in a directory's config.yaml.
func edit(t *testing.T, dir, from, to string) {
	t.Helper()
	path := filepath.Join(dir, "config.yaml")
	text := e2etest.ReadFile(t, path)
	if !strings.Contains(text, from) {
		t.Fatalf("config.yaml has no %q", from)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(text, from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
