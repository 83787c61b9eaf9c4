package keys

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/keys/softhsmtest"
)

// TestStoppingParts stops, one after the other, all that the certificate authority
// depends on: the CT log, the issuer of its tokens, the token with its key, and its
// disk. Each time a request for a certificate gets the documented answer
// (docs/operating.md), /readyz names the part, and when the part is back certificates
// come again without anybody touching the authority.
func TestStoppingParts(t *testing.T) {
	program := withTokens(t)
	hsm := softhsmtest.New(t, "sigstack")
	e2etest.KeepSecret(softhsmtest.PIN)
	env := []string{"SOFTHSM2_CONF=" + hsm.Conf}
	s := initialize(t, program, env, []string{"ca=" + hsm.URI("ca")})
	if !e2etest.Split() {
		s.split(t, env) // so that parts can be stopped by themselves
		s.cheapenKeys(t)
	}
	s.moveToSmallDisk(t, "ca")
	s.start(t, env)
	ballast := filepath.Join(s.home("ca"), "ballast")
	restart := func(name string) func(t *testing.T) {
		return func(t *testing.T) { wantReady(t, s.launch(t, env, name)) }
	}
	ordinary := func() string { return s.issuer.Mint(t, s.issuer.Claims(signerName)) }
	s.awaitReadiness(t, http.StatusOK, "")
	for _, tt := range []struct {
		part       string
		stop, back func(t *testing.T)
		token      func() string // to ask with while it is stopped; nil: an ordinary one
		status     int           // of the answer then
		sentence   string        // in it
		ready      int           // of /readyz
		named      string        // in it
	}{
		{
			"the CT log", func(t *testing.T) { s.processes["logs"].kill(t) }, restart("logs"), nil,
			http.StatusServiceUnavailable, "Error entering certificate in CTL", http.StatusServiceUnavailable, `"ctlog":{"status":"down"`,
		},
		{
			"the built-in issuer", func(t *testing.T) { s.processes["oidc"].kill(t) }, restart("oidc"), nil,
			http.StatusOK, "", http.StatusServiceUnavailable, `"oidc":{"status":"down"`, // tokens of others are good as ever
		},
		{
			"an outside issuer, whose new key was not seen", func(*testing.T) { s.issuer.Away(true) }, func(*testing.T) { s.issuer.Away(false) },
			func() string { return s.issuer.MintUnseen(t, s.issuer.Claims(signerName)) },
			http.StatusServiceUnavailable, "keys are not available", http.StatusOK, "no answer from the issuer " + s.issuer.URL,
		},
		{
			"the key token", func(t *testing.T) { hsm.Pull(t) }, func(t *testing.T) { hsm.Back(t) }, nil,
			http.StatusServiceUnavailable, "key ca is unavailable", http.StatusServiceUnavailable, "key ca is unavailable",
		},
		{
			"the disk", func(t *testing.T) { fillDisk(t, ballast) }, func(t *testing.T) { remove(t, ballast) }, nil,
			http.StatusServiceUnavailable, "the audit record cannot be written", http.StatusServiceUnavailable, `"audit":{"status":"down"`,
		},
	} {
		token := tt.token
		if token == nil {
			token = ordinary
		}
		tt.stop(t)
		s.awaitCertificate(t, tt.part+" is stopped", token, tt.status, tt.sentence)
		s.awaitReadiness(t, tt.ready, tt.named)
		s.awaitCertificate(t, tt.part+" is still stopped", token, tt.status, tt.sentence)
		tt.back(t)
		s.awaitCertificate(t, tt.part+" is back", ordinary, http.StatusOK, "")
		s.awaitReadiness(t, http.StatusOK, "")
	}
	s.wantSigned(t, "after all")
}

// moveToSmallDisk puts the directory of a process on a disk of its own.
func (s *served) moveToSmallDisk(t *testing.T, name string) {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64m,mode=0700"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e2etest.MustRun(t, nil, "cp", "-a", s.dirs[name]+"/.", disk)
	s.dirs[name] = disk
}

// fillDisk takes all the space there is.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if n, err := f.Write(block); err != nil {
			block = block[:min(n, len(block)/2)]
		}
	}
	if err := f.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// certificate asks for one with a token of the issuer's user.
func (s *served) certificate(t *testing.T, token string) (status int, answer []byte) {
	t.Helper()
	body := e2etest.CertificateRequest(t, token, signerName)
	return e2etest.Send(t, http.MethodPost, s.url+"/api/v2/signingCert", "application/json", body)
}

// awaitCertificate waits until requests for a certificate are answered that way.
func (s *served) awaitCertificate(t *testing.T, when string, token func() string, status int, sentence string) {
	t.Helper()
	var got int
	var answer []byte
	for deadline := time.Now().Add(e2etest.ReadyWithin); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got, answer = s.certificate(t, token()); got == status && strings.Contains(string(answer), sentence) {
			t.Logf("%s: %d %.120s", when, got, answer)
			return
		}
	}
	t.Fatalf("%s: %d %s; want %d with %q", when, got, answer, status, sentence)
}
