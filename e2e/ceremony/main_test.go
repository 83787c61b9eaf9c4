// Package ceremony holds a stack's trust root against the clients of others: made by
// signers on machines without a network, and changed by them while clients follow.
package ceremony

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

const (
	passphrase = "correct horse battery"
	signerName = "alice@example.com" // of what is signed by the stack
)

// room is where a ceremony takes place: a stack, and signers with a directory each.
type room struct {
	t      *testing.T
	dir    string // of the stack
	url    string
	secret string // file with the passphrase
	shared string // file with the URL of database, of a stack that is served as replicas
	stick  string // directory of the folders of ceremonies
	issuer *testissuer.Issuer

	database *pgtest.Database // nil: all is in dir
}

// newRoom makes a stack that waits for its root, and who is to sign it.
func newRoom(t *testing.T, signers ...string) *room {
	t.Helper()
	if e2etest.Split() {
		t.Skip("a stack that waits for its root is in one process")
	}
	r := &room{t: t, dir: filepath.Join(t.TempDir(), "stack"), stick: t.TempDir(), issuer: testissuer.Start(t)}
	r.secret = e2etest.WriteFile(t, t.TempDir(), "passphrase", passphrase+"\n")
	address := e2etest.FreeAddress(t)
	r.url = e2etest.Scheme() + "://" + address
	init := []string{
		"init", "--ceremony", "--dir", r.dir, "--url", r.url, "--listen", address, "--passphrase-file", r.secret,
		"--trust-issuer", r.issuer.URL + ",type=email", "--tuf-profile", "test",
	}
	if e2etest.OnReplicas() {
		r.use(pgtest.New(t))
		init = append(init, "--database-url-file", r.shared)
	}
	r.must(init...)
	for _, who := range signers {
		r.must("keys", "create", who, "--signer", "--dir", r.keys(who), "--passphrase-file", r.secret, "--algorithm", algorithm(who))
		e2etest.WriteFile(t, r.stick, who+".pub", r.must("keys", "show", who, "--signer", "--dir", r.keys(who)))
		e2etest.CheapenKeys(t, passphrase, r.keys(who))
	}
	e2etest.CheapenKeys(t, passphrase, filepath.Join(r.dir, "keys"))
	return r
}

// use makes db the database of the room's stack.
func (r *room) use(db *pgtest.Database) {
	r.t.Helper()
	r.database, r.shared = db, e2etest.WriteFile(r.t, r.t.TempDir(), "database-url", db.URL+"\n")
}

// algorithm lets both kinds of keys sign one root.
func algorithm(who string) string {
	if len(who)%2 == 0 {
		return "ed25519"
	}
	return "ecdsa-p256"
}

func (r *room) keys(who string) string { return filepath.Join(r.stick, "..", "machine of "+who) }
func (r *room) pub(who string) string  { return filepath.Join(r.stick, who+".pub") }
func (r *room) folder(n string) string { return filepath.Join(r.stick, n) }
func (r *room) must(args ...string) string {
	r.t.Helper()
	return e2etest.MustRun(r.t, nil, e2etest.Sigstack(r.t), args...)
}

// start starts a ceremony.
func (r *room) start(name string, args ...string) {
	r.t.Helper()
	r.must(append([]string{"tuf", "ceremony", "start", "--dir", r.dir, "--passphrase-file", r.secret, "--folder", r.folder(name)}, args...)...)
}

// sign has somebody sign, in a process that has no network.
func (r *room) sign(name, who string) e2etest.Result {
	r.t.Helper()
	args := []string{
		e2etest.Sigstack(r.t), "tuf", "ceremony", "sign", "--folder", r.folder(name),
		"--dir", r.keys(who), "--key", who, "--passphrase-file", r.secret, "--yes",
	}
	return r.alone(args)
}

func (r *room) mustSign(name string, who ...string) {
	r.t.Helper()
	for _, w := range who {
		if got := r.sign(name, w); got.Code != 0 {
			r.t.Fatalf("%s signs: exit %d\n%s", w, got.Code, got.Stderr)
		}
	}
}

// alone runs a program where there is no network but, in a namespace of its own, a
// loopback that is down. Where this machine allows no such thing, every proxy that it
// could use refuses.
func (r *room) alone(command []string) e2etest.Result {
	r.t.Helper()
	for _, unshare := range [][]string{{"unshare", "-n"}, {"unshare", "-rn"}} {
		if exec.Command(unshare[0], append(unshare[1:], "true")...).Run() == nil {
			all := append(slices.Clone(unshare), command...)
			return e2etest.Run(r.t, nil, all[0], all[1:]...)
		}
	}
	r.t.Log("no network namespaces here: proxies that refuse take their place")
	const nowhere = "http://127.0.0.1:1"
	return e2etest.Run(r.t, []string{"HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere, "ALL_PROXY=" + nowhere}, command[0], command[1:]...)
}

// finish publishes.
func (r *room) finish(name string) e2etest.Result {
	r.t.Helper()
	return e2etest.Run(r.t, nil, e2etest.Sigstack(r.t), "tuf", "ceremony", "finish", "--dir", r.dir, "--passphrase-file", r.secret, "--folder", r.folder(name))
}

func (r *room) mustFinish(name string) {
	r.t.Helper()
	if got := r.finish(name); got.Code != 0 {
		r.t.Fatalf("finish: exit %d\n%s", got.Code, got.Stderr)
	}
}

// serve serves the stack until the test ends.
func (r *room) serve() {
	r.t.Helper()
	if r.shared != "" {
		e2etest.ServeReplicas(r.t, r.dir, r.shared, "--passphrase-file", r.secret)
		return
	}
	e2etest.AdoptTLS(r.t, r.dir)
	var stderr bytes.Buffer
	cmd := exec.Command(e2etest.Sigstack(r.t), "serve", "--dir", r.dir, "--passphrase-file", r.secret)
	cmd.Env, cmd.Stderr = e2etest.Environment(r.t), &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("serve ended with %v\n%s", err, stderr.String())
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready ") {
		r.t.Fatalf("serve did not get ready: %q, %v\n%s", line, err, stderr.String())
	}
}

// trust is what clients are told: the first root alone.
func (r *room) trust(cache string) clients.Trust {
	return clients.Trust{Source: clients.TUF, Dir: filepath.Join(r.dir, "client"), URL: r.url, Mirror: r.url + "/tuf", MirrorCopy: filepath.Join(r.dir, "tuf"), Cache: cache}
}
