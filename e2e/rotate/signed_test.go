package rotate_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/signing"
)

// artifact is a blob and its bundle.
type artifact struct{ blob, bundle, by string }

// signers sign blobs, each in its own way, until they are stopped.
type signers struct {
	s     *e2etest.Stack
	token string
	dir   string

	mu   sync.Mutex
	all  []artifact
	fail []string
}

// ways are those in which the clients sign. The first is this module's client without
// a process of its own.
var ways = []string{"sigstack", "sigstack", "cosign-v3", "cosign-v2"}

// every is how often each of them does: enough for the numbers, and for who has to
// verify all of it.
const every = 400 * time.Millisecond

func (w *signers) sign(t *testing.T, by string, n int) {
	a := artifact{blob: filepath.Join(w.dir, fmt.Sprintf("%s-%d", by, n)), by: by}
	a.bundle = a.blob + signing.BundleSuffix
	err := os.WriteFile(a.blob, []byte(a.blob+"\n"), 0o600)
	if err == nil {
		err = w.signAs(t, a)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail = append(w.fail, fmt.Sprintf("%s: %v", by, err))
		return
	}
	w.all = append(w.all, a)
}

func (w *signers) signAs(t *testing.T, a artifact) error {
	env, kit := []string{"SIGSTORE_ID_TOKEN=" + w.token}, w.s.Kit
	var r e2etest.Result
	switch a.by {
	case "cosign-v3":
		r = e2etest.Run(t, env, e2etest.Client(t, a.by), "sign-blob", "--yes", "--signing-config", kit("signing_config.v0.2.json"),
			"--trusted-root", kit("trusted_root.json"), "--bundle", a.bundle, a.blob)
	case "cosign-v2":
		r = e2etest.Run(t, env, e2etest.Client(t, a.by), "sign-blob", "--yes", "--new-bundle-format", "--trusted-root", kit("trusted_root.json"),
			"--fulcio-url", w.s.URL, "--rekor-url", w.s.URL, "--timestamp-server-url", w.s.URL+"/api/v1/timestamp", "--bundle", a.bundle, a.blob)
	default:
		return w.signHere(a)
	}
	if r.Code != 0 {
		return fmt.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return nil
}

// signHere signs as the program does, with a certificate of its own each time.
func (w *signers) signHere(a artifact) error {
	kit, err := signing.LoadKit(w.s.Kit(""))
	if err != nil {
		return err
	}
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: kit, Token: signing.StaticToken(w.token), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	signed, err := session.SignFile(context.Background(), a.blob)
	if err != nil {
		return err
	}
	return os.WriteFile(a.bundle, signed.JSON, 0o600)
}

func (w *signers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// start lets all clients sign at once. stop ends that.
func (w *signers) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, by := range ways {
		wg.Go(func() {
			pace := time.NewTicker(every)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				w.sign(t, by, i*1_000_000+n)
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// reach waits until that many artifacts are signed.
func (w *signers) reach(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d artifacts are signed", n), func() bool { return w.count() >= n })
}

// sample is a folder with some of what was signed so far.
func (w *signers) sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.all[len(w.all)-4:] {
		for _, file := range []string{a.blob, a.bundle} {
			if err := os.Link(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// leastEach is how many artifacts are signed before, during and after each rotation:
// a hundred in all.
const leastEach = 34

// TestSignedThroughRotations: clients sign all the while that every key is rotated,
// one after the other. No request fails, and what was signed before, during and after
// each rotation verifies in the end with each client, by TUF alone, from the first root
// on.
func TestSignedThroughRotations(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a split stack rotates no keys")
	}
	t.Parallel()
	s := e2etest.Start(t, filepath.Join(t.TempDir(), "data"))
	first := e2etest.WriteFile(t, t.TempDir(), "root.json", e2etest.ReadFile(t, s.Kit("root.json")))
	w := &signers{s: s, token: s.Token(t), dir: t.TempDir()}
	stop := w.start(t)
	for _, m := range machines() {
		from := w.count()
		w.reach(t, from+leastEach)
		before := w.count()
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(m.command(t, s, 0), "--sample", w.sample(t))...)
		during := w.count()
		t.Logf("%s: %d artifacts before, %d during the rotation", m.name, before-from, during-before)
		w.reach(t, max(before+leastEach, during))
	}
	w.reach(t, w.count()+leastEach)
	stop()
	for _, f := range w.fail {
		t.Errorf("a signature failed: %s", f)
	}
	t.Logf("%d artifacts in all", len(w.all))
	verifyAll(t, s, first, w.all)
}

// verifyAll holds every artifact against all clients, which know the stack by TUF.
func verifyAll(t *testing.T, s *e2etest.Stack, root string, all []artifact) {
	t.Helper()
	kit, err := signing.TUF{URL: s.URL + "/tuf", Root: []byte(e2etest.ReadFile(t, root)), Cache: t.TempDir(), Now: time.Now}.Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := signing.NewIdentity(e2etest.DemoUser, "", s.Issuer(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if err := verifyHere(t, a, kit, id); err != nil {
			t.Errorf("sigstack, what %s signed: %v", a.by, err)
		}
	}
	var wg sync.WaitGroup
	for _, client := range []string{"cosign-v3", "cosign-v2"} {
		env := []string{"TUF_ROOT=" + t.TempDir()}
		e2etest.MustRun(t, env, e2etest.Client(t, client), "initialize", "--mirror", s.URL+"/tuf", "--root", root)
		wg.Go(func() {
			for _, a := range all {
				args := append([]string{"verify-blob", "--new-bundle-format", "--bundle", a.bundle}, s.IdentityArgs()...)
				e2etest.WantAccepted(t, client+", what "+a.by+" signed", e2etest.Run(t, env, e2etest.Client(t, client), append(args, a.blob)...))
			}
		})
	}
	wg.Wait()
}

func verifyHere(t *testing.T, a artifact, kit *signing.Kit, id *signing.Identity) error {
	t.Helper()
	bundle, err := signing.ParseBundle([]byte(e2etest.ReadFile(t, a.bundle)))
	if err != nil {
		return err
	}
	_, err = signing.Verify(t.Context(), bytes.NewReader([]byte(e2etest.ReadFile(t, a.blob))), bundle, kit.Trusted, id)
	return err
}
