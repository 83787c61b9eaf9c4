package replicas_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/pgtest"
)

func databaseURL(t *testing.T) string {
	t.Helper()
	_, db := pgtest.Start(t)
	file := e2etest.WriteFile(t, t.TempDir(), "database-url", db.URL+"\n")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// traded sends a grant to an issuer and returns the refresh token that comes with the
// token.
func traded(t *testing.T, at string, grant url.Values) string {
	t.Helper()
	grant.Set("client_id", "sigstore")
	grant.Set("scope", "openid email offline_access")
	status, answer := e2etest.Send(t, http.MethodPost, at+"/dex/token", "application/x-www-form-urlencoded", []byte(grant.Encode()))
	var out struct {
		ID      string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || status != http.StatusOK || out.ID == "" || out.Refresh == "" {
		t.Fatalf("%s at %s: %d, no tokens", grant.Get("grant_type"), at, status)
	}
	return out.Refresh
}

func refreshed(t *testing.T, at, token string) string {
	t.Helper()
	return traded(t, at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// kids are the keys that an issuer shows.
func kids(t *testing.T, at string) (out []string) {
	t.Helper()
	_, data := e2etest.Get(t, at+"/dex/keys")
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("keys at %s: %s", at, data)
	}
	for _, k := range set.Keys {
		out = append(out, k.Kid)
	}
	return out
}

// TestNobodyLogsInAgain when a stack becomes replicas, nor when one of them becomes a
// stack on its own disk again.
func TestNobodyLogsInAgain(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	file, dir, other := databaseURL(t), filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	alone := e2etest.Start(t, dir, "--database-url-file", file, "--listen", "127.0.0.1:0")
	_, password, _ := strings.Cut(strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(dir, "demo-user"))), "\n")
	token := traded(t, alone.URL, url.Values{"grant_type": {"password"}, "username": {e2etest.DemoUser}, "password": {password}})
	keys := kids(t, alone.URL)
	alone.Stop()

	said := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", dir, "--name", "a", "--address", e2etest.FreeAddress(t))
	if !strings.Contains(said, "1 refresh tokens") {
		t.Errorf("join says %q, want what became of the issuer", said)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", other, "--name", "b", "--address", e2etest.FreeAddress(t), "--listen", e2etest.FreeAddress(t), "--database-url-file", file)
	a, b := &replica{t: t, name: "a"}, &replica{t: t, name: "b"}
	a.start(dir)
	b.start(other)
	for _, r := range []*replica{b, a} {
		if got := kids(t, r.at); !slices.Equal(got, keys) {
			t.Errorf("replica %s shows keys %v, the stack had %v", r.name, got, keys)
		}
		token = refreshed(t, r.at, token)
	}
	a.Stop()
	b.Stop()

	if err := os.Remove(filepath.Join(dir, "replica.yaml")); err != nil {
		t.Fatal(err)
	}
	said = e2etest.MustRun(t, nil, e2etest.Sigstack(t), "db", "copy", "--dir", dir, "--to-directory")
	for _, want := range []string{"1 refresh tokens", "DROP SCHEMA sigstack_tlog CASCADE;", "DROP SCHEMA sigstack_fleet CASCADE;", "DROP SCHEMA sigstack_dex CASCADE;"} {
		if !strings.Contains(said, want) {
			t.Errorf("copy says %q, want %q", said, want)
		}
	}
	again := e2etest.Start(t, dir)
	if got := kids(t, again.URL); !slices.Equal(got, keys) {
		t.Errorf("back in its directory the stack shows keys %v, and had %v", got, keys)
	}
	refreshed(t, again.URL, token)
}

// served is a replica of an operator's stack, with TLS and a passphrase.
func served(t *testing.T, name, dir, secret string) *replica {
	t.Helper()
	cmd := exec.Command(e2etest.Sigstack(t), "serve", "--dir", dir, "--passphrase-file", secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("replica %s ended with %v:\n%s", name, err, stderr)
		}
	})
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		ready <- line
	}()
	select {
	case line := <-ready:
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		if !ok {
			t.Fatalf("replica %s did not get ready: %q\n%s", name, line, stderr)
		}
		_, port, _ := strings.Cut(strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(dir, "run", "address"))), ":")
		e2etest.AdoptTLS(t, dir)
		return &replica{Stack: &e2etest.Stack{URL: at, Dir: dir}, t: t, name: name, at: "https://localhost:" + port}
	case <-time.After(e2etest.ReadyWithin):
		t.Fatalf("replica %s is not ready after %v", name, e2etest.ReadyWithin)
	}
	return nil
}

// TestReplicasOfAnOperator have one passphrase and one name in their certificates.
func TestReplicasOfAnOperator(t *testing.T) {
	issuer := testissuer.Start(t)
	file, dir, other := databaseURL(t), filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	secret := e2etest.WriteFile(t, t.TempDir(), "passphrase", "of the service keys alone\n")
	wrong := e2etest.WriteFile(t, t.TempDir(), "passphrase", "of somebody else's keys\n")
	_, port, _ := strings.Cut(e2etest.FreeAddress(t), ":")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "init", "--dir", dir, "--url", "https://localhost:"+port, "--listen", "127.0.0.1:"+port,
		"--passphrase-file", secret, "--database-url-file", file, "--trust-issuer", issuer.URL)
	first := []string{"replica", "join", "--dir", dir, "--name", "a", "--address", e2etest.FreeAddress(t)}
	second := []string{"replica", "join", "--dir", other, "--name", "b", "--address", e2etest.FreeAddress(t), "--listen", e2etest.FreeAddress(t), "--database-url-file", file}
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), first...); r.Code == 0 || !strings.Contains(r.Stderr, "--passphrase-file FILE") {
		t.Errorf("join without a passphrase: %d %s", r.Code, r.Stderr)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(first, "--passphrase-file", secret)...)
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), append(second, "--passphrase-file", wrong)...); r.Code == 0 || !strings.Contains(r.Stderr, "passphrase") {
		t.Errorf("join with another passphrase: %d %s", r.Code, r.Stderr)
	}
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(second, "--passphrase-file", secret)...)
	a := served(t, "a", dir, secret)
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), "serve", "--dir", other, "--passphrase-file", wrong); r.Code == 0 || !strings.Contains(r.Stderr, "passphrase") {
		t.Errorf("serve with another passphrase: %d %s", r.Code, r.Stderr)
	}
	b := served(t, "b", other, secret)
	if a.at == b.at {
		t.Fatalf("both replicas are at %s", a.at)
	}
	trust := "SSL_CERT_FILE=" + a.Kit("tls-ca.crt.pem") // both have the same
	signsThrough(t, issuer, a, b, trust)
	signsThrough(t, issuer, b, a, trust)
	id, status, answer := b.add(t)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	a.wantShown(t, id)
}
