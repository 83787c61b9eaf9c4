package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

const (
	predicateType = "https://example.com/review/v1"
	predicate     = `{"passed":true}`
	blob          = "hello\n"
)

// cell is one thing that one client was asked to do.
type cell struct {
	settings settings
	kind     clients.Kind
	signer   string
	verifier string // "" for signing
	limit    *clients.Limit
	unmade   bool // the limit is the signer's: there is nothing to verify
	took     time.Duration
}

// record collects cells that were as expected.
type record struct {
	mu    sync.Mutex
	cells []cell // guarded by mu
}

func (r *record) add(c cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cells = append(r.cells, c)
}

// TestMatrix is every client signing and every client verifying. If all is as
// expected it writes a report to the file that COMPAT_REPORT names.
func TestMatrix(t *testing.T) {
	all := new(record)
	for _, s := range allSettings {
		t.Run(s.String(), func(t *testing.T) { newBench(t, s, all).run(t) })
	}
	path := os.Getenv("COMPAT_REPORT")
	if t.Failed() || path == "" {
		return
	}
	versions := map[string]string{}
	for _, c := range clients.All() {
		versions[c.Name()] = c.Version(t)
	}
	if err := os.WriteFile(path, []byte(report(all.cells, versions)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bench is a stack, a registry and the clients under one row of settings.
type bench struct {
	settings settings
	stack    *e2etest.Stack
	registry string
	token    string
	dir      string
	keys     map[string]keyPair // by client
	other    keyPair            // nobody's
	caches   map[string]string  // TUF state, by client
	all      *record

	mu     sync.Mutex
	signed map[signature]signing // guarded by mu
}

type keyPair struct{ private, public string }

// signature names one: its kind and who made it.
type signature struct {
	kind   clients.Kind
	signer string
}

// signing is how a signature was asked for, and why there is none.
type signing struct {
	request clients.Request
	limit   *clients.Limit
}

func newBench(t *testing.T, s settings, all *record) *bench {
	b := &bench{
		settings: s, dir: t.TempDir(), keys: map[string]keyPair{}, caches: map[string]string{}, all: all,
		signed: map[signature]signing{},
	}
	b.stack = startStack(t, s)
	if s.referrers {
		b.registry = e2etest.ReferrersRegistry(t)
	} else {
		b.registry = e2etest.PlainRegistry(t)
	}
	b.token = b.stack.Token(t)
	for _, c := range clients.All() {
		if s.keyed {
			private, public := c.KeyPair(t)
			b.keys[c.Name()] = keyPair{private, public}
		}
		b.caches[c.Name()] = filepath.Join(b.dir, "tuf-"+c.Name())
	}
	if s.keyed {
		b.other.private, b.other.public = clients.CosignV3().KeyPair(t)
	}
	return b
}

func startStack(t *testing.T, s settings) *e2etest.Stack {
	t.Helper()
	if !s.defaultPort {
		return e2etest.Start(t, t.TempDir())
	}
	url := e2etest.Scheme() + "://localhost"
	// There is one such port: another run of these tests on this machine may have
	// it for a while.
	retry, late := time.NewTicker(time.Second), time.After(defaultPortWithin)
	defer retry.Stop()
	for {
		stack, err := e2etest.TryStart(t, t.TempDir(), "--listen", "127.0.0.1:"+e2etest.DefaultPort(), "--url", url)
		if err == nil {
			return stack
		}
		if !strings.Contains(err.Error(), "address already in use") {
			t.Fatalf("no stack on the default port of %s, which needs root or CAP_NET_BIND_SERVICE: %v", url, err)
		}
		select {
		case <-retry.C:
		case <-late:
			t.Fatalf("the default port of %s was not free within %v: %v", url, defaultPortWithin, err)
		}
	}
}

// defaultPortWithin bounds the wait for the default port.
const defaultPortWithin = 3 * time.Minute

// run signs with each client, stops the stack if the verifiers are to work
// without it, and verifies with each client.
func (b *bench) run(t *testing.T) {
	b.each(t, "sign", func(t *testing.T, kind clients.Kind, c clients.Client) { b.sign(t, kind, c) })
	if t.Failed() {
		return
	}
	if b.settings.offline {
		b.fillCaches(t)
		b.stack.Stop()
	}
	b.each(t, "verify", func(t *testing.T, kind clients.Kind, verifier clients.Client) {
		controls := 0
		for _, signer := range clients.All() {
			b.verify(t, signature{kind, signer.Name()}, verifier, &controls)
		}
	})
}

// each runs f for each kind and client, as many at a time as go test allows,
// and returns when all have ended.
func (b *bench) each(t *testing.T, what string, f func(*testing.T, clients.Kind, clients.Client)) {
	t.Run(what, func(t *testing.T) {
		for _, kind := range clients.Kinds() {
			for _, c := range clients.All() {
				t.Run(string(kind)+" "+c.Name(), func(t *testing.T) {
					t.Parallel()
					f(t, kind, c)
				})
			}
		}
	})
}

// request is what signer and verifiers have in common.
func (b *bench) request(t *testing.T, kind clients.Kind, signer clients.Client) clients.Request {
	t.Helper()
	name := slug(string(kind) + " " + signer.Name())
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := clients.Request{
		Kind: kind, Trust: clients.TrustOf(b.stack, b.settings.source), Signer: signer.Name(),
		File: e2etest.WriteFile(t, dir, "blob", blob), Bundle: filepath.Join(dir, "bundle.json"),
		Timestamp: b.settings.timestamped, Token: b.token, Identity: e2etest.DemoUser, Issuer: b.stack.Issuer(),
	}
	if kind.Image() {
		r.Image = e2etest.PushImage(t, b.registry, name)
	}
	if kind.Attests() {
		r.PredicateType, r.Predicate = predicateType, e2etest.WriteFile(t, dir, "predicate.json", predicate)
	}
	if b.settings.keyed {
		keys := b.keys[signer.Name()]
		r = r.KeyedBy(keys.private, keys.public)
	}
	return r
}

func (b *bench) sign(t *testing.T, kind clients.Kind, signer clients.Client) {
	r := b.request(t, kind, signer)
	limit, start := signer.SignLimit(r), time.Now()
	result := signer.Sign(t, r)
	took := time.Since(start)
	if wantOutcome(t, signer.Name()+" signs", result, limit) {
		b.all.add(cell{settings: b.settings, kind: kind, signer: signer.Name(), limit: limit, took: took})
	}
	if limit != nil && r.Trust.Source == clients.Env {
		limit = b.signByKit(t, r, signer)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.signed[signature{kind, signer.Name()}] = signing{r, limit}
}

// signByKit makes what a client cannot sign with trust by variables: others may
// verify it so.
func (b *bench) signByKit(t *testing.T, r clients.Request, signer clients.Client) *clients.Limit {
	t.Helper()
	r.Trust = clients.TrustOf(b.stack, clients.Kit)
	limit := signer.SignLimit(r)
	if limit == nil {
		e2etest.WantAccepted(t, signer.Name()+" signs with the kit", signer.Sign(t, r))
	}
	return limit
}

// fillCaches lets each client fetch what it keeps of TUF, by a verification
// while the stack still answers.
func (b *bench) fillCaches(t *testing.T) {
	t.Helper()
	if b.settings.source != clients.TUF {
		return
	}
	for _, c := range clients.All() {
		r := b.signed[signature{clients.Blob, c.Name()}].request
		r.Trust.Cache = b.caches[c.Name()]
		e2etest.WantAccepted(t, c.Name(), c.Verify(t, r))
	}
}

// verify checks a signature, and now and then that a changed question is
// answered with no.
func (b *bench) verify(t *testing.T, by signature, verifier clients.Client, controls *int) {
	b.mu.Lock()
	made := b.signed[by]
	b.mu.Unlock()
	c := cell{settings: b.settings, kind: by.kind, signer: by.signer, verifier: verifier.Name()}
	if made.limit != nil {
		c.limit, c.unmade = made.limit, true // shown when it was signed
		b.all.add(c)
		return
	}
	r := made.request
	r.Offline, r.Trust.Cache = b.settings.offline, b.cache(t, verifier)
	c.limit = verifier.VerifyLimit(r)
	start := time.Now()
	result := verifier.Verify(t, r)
	c.took = time.Since(start)
	what := fmt.Sprintf("%s verifies the %s of %s", verifier.Name(), by.kind, by.signer)
	if !wantOutcome(t, what, result, c.limit) {
		return
	}
	b.all.add(c)
	if c.limit == nil && *controls < controlsEach {
		b.control(t, what, verifier, r, *controls)
		*controls++
	}
}

// cache is the client's TUF state: one for each client when the stack is gone,
// else one for each call, which two processes cannot spoil for each other.
func (b *bench) cache(t *testing.T, c clients.Client) string {
	t.Helper()
	if b.settings.source == clients.TUF && b.settings.offline {
		dir := filepath.Join(t.TempDir(), "tuf")
		if err := os.CopyFS(dir, os.DirFS(b.caches[c.Name()])); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	return ""
}

// wantOutcome fails the test unless the client did what was asked or, at a
// limit, refused in the words that were foreseen.
func wantOutcome(t *testing.T, what string, r e2etest.Result, limit *clients.Limit) bool {
	t.Helper()
	switch {
	case limit == nil:
		e2etest.WantAccepted(t, what, r)
		return r.Code == 0
	case r.Code == 0:
		t.Errorf("%s: works by now; it was thought not to, because %s", what, limit.Why)
		return false
	}
	return wantRefused(t, what, r, limit.Says)
}

func wantRefused(t *testing.T, what string, r e2etest.Result, says string) bool {
	t.Helper()
	said := r.Stdout + r.Stderr
	if r.Code == 0 || !regexp.MustCompile(says).MatchString(said) {
		t.Errorf("%s: exit %d, want a refusal that says %q\n%s", what, r.Code, says, said)
		return false
	}
	return true
}

// slug makes a file's or repository's name of words.
func slug(s string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
}
