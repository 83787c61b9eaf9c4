package keys

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/keys/softhsmtest"
)

// withTokens is the program that can load a token's library. Where there is no C
// compiler there is no such program.
func withTokens(t *testing.T) string {
	t.Helper()
	built := buildWithTokens()
	if built.skip != "" {
		t.Skip(built.skip)
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

// builtProgram is what one build came to, for every test of the package.
type builtProgram struct {
	program string
	skip    string // why there is none
	err     error
}

var buildWithTokens = sync.OnceValue(func() (b builtProgram) {
	cc, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		return builtProgram{err: err}
	}
	compiler, _, _ := strings.Cut(strings.TrimSpace(string(cc)), " ")
	if _, err := exec.LookPath(compiler); err != nil {
		return builtProgram{skip: fmt.Sprintf("skipped, no C compiler (%s) on this machine", compiler)}
	}
	b.program = filepath.Join(e2etest.Scratch(), "sigstack-pkcs11")
	build := exec.Command("go", "build", "-tags", "pkcs11", "-ldflags", "-s -w", "-o", b.program, "sigstack/cmd/sigstack")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("build sigstack with PKCS#11: %w\n%s", err, out)
	}
	return b
})

// TestToken: a stack whose every service key is in a token issues, logs and
// stamps what cosign verifies. While the token is pulled all of that stops, each
// service says which key it lacks, and it goes on when the token is back, in the
// same process.
func TestToken(t *testing.T) {
	program := withTokens(t)
	hsm := softhsmtest.New(t, "sigstack")
	e2etest.KeepSecret(softhsmtest.PIN)
	var places []string
	names := []string{"ca", "ctlog", "rekor", "tsa", "tuf-snapshot", "tuf-timestamp"}
	for _, name := range names {
		places = append(places, name+"="+hsm.URI(name))
	}
	env := []string{"SOFTHSM2_CONF=" + hsm.Conf}
	s := serve(t, program, env, places)
	for _, name := range names {
		for _, dir := range s.dirs {
			if _, err := os.Stat(filepath.Join(dir, "keys", name+".key")); err == nil {
				t.Errorf("key %s is in a file", name)
			}
		}
	}
	s.wantSigned(t, "with the token")
	for round := range 2 {
		hsm.Pull(t)
		s.wantNoCertificate(t, "ca")
		s.wantStopped(t, "/api/v1/timestamp", "application/json", stampRequest, "tsa")
		s.awaitReadiness(t, http.StatusServiceUnavailable, "key ca is unavailable")
		hsm.Back(t)
		s.awaitReadiness(t, http.StatusOK, "")
		s.wantSigned(t, fmt.Sprintf("with the token again, round %d", round+1))
	}
	e2etest.MustRun(t, env, program, "keys", "test", "--dir", s.home("ca"), "ca")
	e2etest.MustRun(t, env, program, "keys", "test", "--dir", s.home("logs"), "rekor")
}

// TestTokenIsAnothers: a token or key that only has the name of the right one is
// refused.
func TestTokenIsAnothers(t *testing.T) {
	program := withTokens(t)
	hsm := softhsmtest.New(t, "first")
	env := []string{"SOFTHSM2_CONF=" + hsm.Conf}
	s := initialize(t, program, env, []string{"ca=" + hsm.URI("ca")})
	e2etest.MustRun(t, env, program, "keys", "test", "--dir", s.home("ca"), "ca")
	other := softhsmtest.New(t, "first")
	env = []string{"SOFTHSM2_CONF=" + other.Conf}
	r := e2etest.Run(t, env, program, "keys", "test", "--dir", s.home("ca"), "ca")
	if r.Code != 1 || !strings.Contains(r.Stdout, "no such key") {
		t.Errorf("a token of the same name without the key: exit %d, %s; want a refusal", r.Code, r.Stdout)
	}
	e2etest.MustRun(t, env, program, "keys", "create", "fresh", "--dir", s.home("ca"), "--in", other.URI("ca"))
	r = e2etest.Run(t, env, program, "keys", "test", "--dir", s.home("ca"), "ca")
	if r.Code != 1 || !strings.Contains(r.Stdout, "another public half than the pinned one") {
		t.Errorf("another key of the same name: exit %d, %s; want a refusal", r.Code, r.Stdout)
	}
}
