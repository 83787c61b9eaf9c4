// Package keys runs whole stacks whose keys live in a PKCS#11 token or a key
// service, takes those away and gives them back.
package keys

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

const (
	passphrase = "correct horse battery staple of e2e"
	signerName = "jane@example.test"
)

// served is a stack and, once started, its running `sigstack serve`: one, or one
// for each process of a split stack.
type served struct {
	program, url string
	dir          string            // of the only process, or of the front
	dirs         map[string]string // of each process, by its name
	secret       string            // file with the passphrase
	issuer       *testissuer.Issuer
	processes    map[string]*process // by their names
}

// process is one `sigstack serve`.
type process struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer // read after the process ended
	ended  bool          // by kill
}

// serve makes a stack as initialize does and serves it in env.
func serve(t *testing.T, program string, env, places []string) *served {
	t.Helper()
	s := initialize(t, program, env, places)
	s.start(t, env)
	return s
}

// initialize makes a stack with program, whose keys are where places says.
func initialize(t *testing.T, program string, env, places []string) *served {
	t.Helper()
	e2etest.KeepSecret(passphrase)
	s := &served{program: program, dir: filepath.Join(t.TempDir(), "stack"), issuer: testissuer.Start(t)}
	s.secret = e2etest.WriteFile(t, t.TempDir(), "passphrase", passphrase+"\n")
	address := e2etest.FreeAddress(t)
	s.url = e2etest.Scheme() + "://" + address
	args := []string{
		"init", "--dir", s.dir, "--url", s.url, "--listen", address, "--passphrase-file", s.secret,
		"--trust-issuer", s.issuer.URL + ",type=email",
	}
	if len(places) > 0 {
		args = append(args, "--create-keys")
	}
	for _, place := range places {
		args = append(args, "--key", place)
	}
	e2etest.MustRun(t, env, program, args...)
	e2etest.AdoptTLS(t, s.dir)
	s.dirs = map[string]string{"": s.dir}
	if e2etest.Split() {
		s.split(t, env)
	}
	s.cheapenKeys(t)
	return s
}

// cheapenKeys is for the keys that are in files, in every process.
func (s *served) cheapenKeys(t *testing.T) {
	t.Helper()
	for _, dir := range s.dirs {
		e2etest.CheapenKeys(t, passphrase, filepath.Join(dir, "keys"))
	}
}

// split divides the stack into its processes.
func (s *served) split(t *testing.T, env []string) {
	t.Helper()
	into := filepath.Join(t.TempDir(), "processes")
	args := []string{"split", "--dir", s.dir, "--into", into, "--passphrase-file", s.secret}
	s.dirs = map[string]string{"front": filepath.Join(into, "front")}
	for _, name := range []string{"ca", "logs", "oidc"} {
		args = append(args, "--address", name+"="+e2etest.FreeAddress(t))
		s.dirs[name] = filepath.Join(into, name)
	}
	e2etest.MustRun(t, env, s.program, args...)
	s.dir = s.dirs["front"]
}

// home is the directory of the process that runs a service.
func (s *served) home(process string) string {
	if dir, ok := s.dirs[process]; ok {
		return dir
	}
	return s.dir
}

// start starts every process, and returns when all are ready.
func (s *served) start(t *testing.T, env []string) {
	t.Helper()
	var outputs []*bufio.Reader
	for name := range s.dirs {
		outputs = append(outputs, s.launch(t, env, name))
	}
	for _, output := range outputs {
		wantReady(t, output)
	}
}

// launch starts one process, which is not ready yet.
func (s *served) launch(t *testing.T, env []string, name string) (output *bufio.Reader) {
	t.Helper()
	p := &process{cmd: exec.Command(s.program, "serve", "--dir", s.dirs[name], "--passphrase-file", s.secret), stderr: new(bytes.Buffer)}
	p.cmd.Env = e2etest.Environment(t, env...)
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s.processes == nil {
		s.processes = map[string]*process{}
	}
	s.processes[name] = p
	t.Cleanup(func() { p.stop(t) })
	return bufio.NewReader(stdout)
}

func wantReady(t *testing.T, output *bufio.Reader) {
	t.Helper()
	if line, err := output.ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("serve did not get ready: %q, %v", line, err)
	}
}

// kill ends a process as a crash would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.ended = true
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait() // it says that it was killed
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.ended {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
	e2etest.WantNoLeak(t, "stderr of sigstack serve", p.stderr.Bytes())
	if t.Failed() {
		t.Logf("stderr of sigstack serve:\n%s", p.stderr)
	}
}

// kit is the path of a file in the client kit.
func (s *served) kit(name string) string { return filepath.Join(s.dir, "client", name) }

// sign signs blob with cosign as the issuer's user.
func (s *served) sign(t *testing.T, blob, bundle string) e2etest.Result {
	t.Helper()
	token := s.issuer.Mint(t, s.issuer.Claims(signerName))
	return e2etest.Run(t, []string{"SIGSTORE_ID_TOKEN=" + token}, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes",
		"--signing-config", s.kit("signing_config.v0.2.json"), "--trusted-root", s.kit("trusted_root.json"), "--bundle", bundle, blob)
}

// wantSigned demands that cosign can sign and that cosign and sigstack verify it.
func (s *served) wantSigned(t *testing.T, when string) {
	t.Helper()
	dir := t.TempDir()
	blob, bundle := e2etest.WriteFile(t, dir, "blob", when), filepath.Join(dir, "bundle")
	if r := s.sign(t, blob, bundle); r.Code != 0 {
		t.Errorf("%s: cosign cannot sign:\n%s", when, r.Stderr)
		return
	}
	identity := []string{"--certificate-identity", signerName, "--certificate-oidc-issuer", s.issuer.URL, blob}
	verify := append([]string{"verify-blob", "--trusted-root", s.kit("trusted_root.json"), "--bundle", bundle}, identity...)
	e2etest.WantAccepted(t, "cosign", e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), verify...))
	own := append([]string{"verify", "--client", s.kit(""), "--bundle", bundle}, identity...)
	e2etest.WantAccepted(t, "sigstack", e2etest.Run(t, nil, s.program, own...))
}

// wantStopped demands that a service's endpoint answers 503 with a sentence that
// names the key.
func (s *served) wantStopped(t *testing.T, path, contentType, body, key string) {
	t.Helper()
	resp, err := e2etest.HTTP.Post(s.url+path, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
		!strings.Contains(text.String(), "key "+key+" is unavailable; try again later") {
		t.Errorf("%s: got %d, Retry-After %q: %s; want 503 and a sentence that names key %s",
			path, resp.StatusCode, resp.Header.Get("Retry-After"), text.String(), key)
	}
}

// awaitReadiness waits until /readyz answers status and its body has text.
func (s *served) awaitReadiness(t *testing.T, status int, text string) {
	t.Helper()
	var code int
	var body []byte
	for deadline := time.Now().Add(e2etest.ReadyWithin); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if code, body = e2etest.Get(t, s.url+"/readyz"); code == status && bytes.Contains(body, []byte(text)) {
			return
		}
	}
	t.Fatalf("/readyz answers %d: %s; want %d with %q", code, body, status, text)
}

// wantNoCertificate demands that signing is refused with a sentence that names
// the key.
func (s *served) wantNoCertificate(t *testing.T, key string) {
	t.Helper()
	dir := t.TempDir()
	blob := e2etest.WriteFile(t, dir, "blob", "refused")
	if r := s.sign(t, blob, filepath.Join(dir, "bundle")); r.Code == 0 {
		t.Errorf("cosign signs while key %s is away", key)
	}
	token := s.issuer.Mint(t, s.issuer.Claims(signerName))
	r := e2etest.Run(t, []string{"SIGSTORE_ID_TOKEN=" + token}, s.program, "sign", "--client", s.kit(""), blob)
	if r.Code == 0 || !strings.Contains(r.Stderr, "key "+key+" is unavailable; try again later") {
		t.Errorf("sigstack sign ended with %d: %s; want a refusal that names key %s", r.Code, r.Stderr, key)
	}
}
