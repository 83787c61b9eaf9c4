package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/stack"
)

// reloading is a stack whose issuers are in a directory that a link points at, as
// Kubernetes mounts configuration.
type reloading struct {
	*e2etest.Stack
	t       *testing.T
	config  string // of the process with the CA
	base    string // its content at first
	version int
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{Stack: e2etest.Start(t, t.TempDir()), t: t}
	r.config = filepath.Join(r.ServiceDir("ca"), "config.yaml")
	r.base = e2etest.ReadFile(t, r.config)
	r.swap(r.base)
	return r
}

// swap puts content behind the link in one step.
func (r *reloading) swap(content string) {
	r.t.Helper()
	r.version++
	dir := filepath.Join(filepath.Dir(r.config), ".versions", string(rune('a'+r.version)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	e2etest.WriteFile(r.t, dir, "config.yaml", content)
	next := r.config + ".next"
	if err := os.Symlink(filepath.Join(dir, "config.yaml"), next); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(next, r.config); err != nil {
		r.t.Fatal(err)
	}
}

// withIssuer is the first configuration with one issuer more.
func (r *reloading) withIssuer(lines string) string {
	return strings.Replace(r.base, "\n  issuers:\n", "\n  issuers:\n"+lines, 1)
}

// ask asks for a certificate as the issuer's user.
func (r *reloading) ask(issuer *testissuer.Issuer) int {
	r.t.Helper()
	body, err := certificateRequest(issuer.Mint(r.t, issuer.Claims(e2etest.DemoUser)))
	if err != nil {
		r.t.Fatal(err)
	}
	status, _ := e2etest.Send(r.t, http.MethodPost, r.URL+"/api/v2/signingCert", "application/json", body)
	return status
}

func (r *reloading) awaitAnswer(issuer *testissuer.Issuer, want int, when string) {
	r.t.Helper()
	var got int
	for deadline := time.Now().Add(e2etest.ReadyWithin); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = r.ask(issuer); got == want {
			return
		}
	}
	r.t.Fatalf("%s: %d, want %d", when, got, want)
}

func (r *reloading) status() (st stack.Status) {
	r.t.Helper()
	out := e2etest.Run(r.t, nil, e2etest.Sigstack(r.t), "status", "--dir", r.ServiceDir("ca"), "--output", "json").Stdout
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return st
}

// TestReloadOfIssuers: an issuer is trusted when config.yaml has been swapped for one
// that names it, and not any more when that is swapped back; by itself, by command and
// by signal. A file with a problem changes nothing, and everybody is told.
func TestReloadOfIssuers(t *testing.T) {
	r := newReloading(t)
	issuer := testissuer.Start(t)
	entry := "    - url: " + issuer.URL + "\n      client_id: sigstore\n      type: email\n"
	if got := r.ask(issuer); got != http.StatusBadRequest {
		t.Errorf("before: %d, want 400", got)
	}
	r.swap(r.withIssuer(entry))
	r.awaitAnswer(issuer, http.StatusOK, "swapped in, by itself")
	if st := r.status(); st.Reload == nil || !st.Reload.OK || !strings.Contains(strings.Join(st.Reload.Changed, ";"), "issuer "+issuer.URL+" added") {
		t.Errorf("status tells of the reload as %+v", st.Reload)
	}

	for name, tt := range map[string]struct{ content, want string }{
		"a type that is none":      {r.withIssuer(strings.Replace(entry, "email", "owl", 1)), "ca.issuers[0].type"},
		"a file that is not there": {r.withIssuer(entry + "      ca_cert: none.pem\n"), "ca.issuers[0].ca_cert"},
		"no YAML":                  {"ca: [", "config.yaml"},
	} {
		r.swap(tt.content)
		res := reload(t, r.Stack, "ca")
		if res.Code != 1 || !strings.Contains(res.Stderr, "nothing was reloaded") || !strings.Contains(res.Stderr, tt.want) {
			t.Errorf("%s: exit %d\n%s\nwant a refusal that names %s", name, res.Code, res.Stderr, tt.want)
		}
		if got := r.ask(issuer); got != http.StatusOK {
			t.Errorf("%s: %d, want that all goes on as it was", name, got)
		}
	}
	if st := r.status(); st.Reload == nil || st.Reload.OK || st.Services["reload"].Status != "warn" {
		t.Errorf("after a refusal status is %+v, with reload %+v", st.Report, st.Reload)
	}
	wantReadiness(t, r.Stack, http.StatusOK, `"reload":{"status":"warn"`)

	r.swap(r.base)
	if res := reload(t, r.Stack, "ca"); res.Code != 0 || !strings.Contains(res.Stdout, "took issuer "+issuer.URL+" removed") {
		t.Errorf("by command: exit %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if got := r.ask(issuer); got != http.StatusBadRequest {
		t.Errorf("removed: %d, want 400", got)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "audit", "anchor", "--dir", r.ServiceDir("ca"))
}

// TestReloadOnHangup: a hangup reaches the process with the CA, in a stack of several
// processes too.
func TestReloadOnHangup(t *testing.T) {
	r := newReloading(t)
	issuer := testissuer.Start(t)
	r.swap(r.withIssuer("    - url: " + issuer.URL + "\n      client_id: sigstore\n      type: email\n"))
	if err := syscall.Kill(r.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.awaitAnswer(issuer, http.StatusOK, "after a hangup")
	if st := r.status(); st.Reload == nil || !st.Reload.OK || st.Reload.By != "signal hangup" {
		t.Errorf("reload %+v", st.Reload)
	}
	signer := e2etest.WriteFile(t, t.TempDir(), "blob", "goes on\n")
	r.SignWithCosign(t, signer, signer+".bundle")
	e2etest.WantAccepted(t, "cosign", r.VerifyWithCosign(t, signer, signer+".bundle"))
}

// TestReloadOfUnknownChain: config.yaml may not name a chain that clients do not have,
// in any process.
func TestReloadOfUnknownChain(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	chain, key := foreignChain(t)
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "keys", "import", "corp", "--dir", s.ServiceDir("ca"), "--from", key)
	e2etest.WriteFile(t, filepath.Join(s.ServiceDir("ca"), "keys"), "corp.chain.pem", e2etest.ReadFile(t, chain))
	editConfig(t, s, "ca", "\n  key: ca\n", "\n  key: corp\n", "keys/ca.chain.pem", "keys/corp.chain.pem")
	r := reload(t, s, "ca")
	if r.Code != 1 || !strings.Contains(r.Stderr, "is not in the trust material") || !strings.Contains(r.Stderr, "ca.chain") {
		t.Errorf("reload: exit %d\n%s\nwant it refused", r.Code, r.Stderr)
	}
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", "by the chain of before\n")
	s.SignWithCosign(t, blob, blob+".bundle")
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, blob+".bundle"))
}
