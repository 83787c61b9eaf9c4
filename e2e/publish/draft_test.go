package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// draft is what a stack is about to publish.
type draft struct {
	stack *e2etest.Stack
	dir   string // with its files
}

// newDraft prepares a chain of each authority and a shard of the log, none of which
// is published, and has the files written. A split stack publishes what it has.
func newDraft(t *testing.T) draft {
	t.Helper()
	d := draft{e2etest.Start(t, t.TempDir()), filepath.Join(t.TempDir(), "draft")}
	for _, what := range waiting {
		if e2etest.Split() {
			break // one process has the chains, another one publishes them
		}
		folder := filepath.Join(t.TempDir(), "ceremony")
		got := d.prepare(t, what, "--ceremony", folder)
		if got.Code != 1 || !strings.Contains(got.Stderr, "nothing is published yet") {
			t.Fatalf("%v for signers elsewhere: exit %d\n%s", what, got.Code, got.Stderr)
		}
	}
	said := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "tuf", "diff", "--dir", d.stack.ServiceDir("tuf"), "--out", d.dir)
	for _, added := range []string{"timestamp authority", "certificate authority", "transparency log"} {
		if want := !e2etest.Split(); strings.Contains(said, added) != want {
			t.Errorf("the draft changes a %s: %v, want %v\n%s", added, !want, want, said)
		}
	}
	return d
}

// waiting are the commands that prepare something.
var waiting = [][]string{{"tsa", "chain"}, {"ca", "chain"}, {"log", "shard"}}

func (d draft) prepare(t *testing.T, what []string, args ...string) e2etest.Result {
	t.Helper()
	all := append(append(append([]string{}, what...), "prepare", "--dir", d.stack.ServiceDir("tuf")), args...)
	return e2etest.Run(t, nil, e2etest.Sigstack(t), all...)
}

// TestClientsWithADraft: each client signs, and verifies what each has signed, with the
// files of a publication that is not out. Nobody sees them meanwhile, and afterwards
// they are what was published, byte by byte.
func TestClientsWithADraft(t *testing.T) {
	if os.Getenv(aloneVariable) == "" {
		t.Log("no network namespaces here: clients could reach a network")
	}
	d := newDraft(t)
	trust := clients.TrustOf(d.stack, clients.Kit)
	published := e2etest.ReadFile(t, trust.File("trusted_root.json"))
	trust.Dir = d.dir
	request := func(t *testing.T, signer string) clients.Request {
		dir := t.TempDir()
		return clients.Request{
			Kind: clients.Blob, Trust: trust, Signer: signer, Timestamp: true,
			File: e2etest.WriteFile(t, dir, "blob", "signed by "+signer), Bundle: filepath.Join(dir, "bundle"),
			Token: d.stack.Token(t), Identity: e2etest.DemoUser, Issuer: d.stack.Issuer(),
		}
	}
	var signed []clients.Request
	for _, c := range clients.All() {
		r := request(t, c.Name())
		if got := c.Sign(t, r); got.Code != 0 {
			t.Errorf("%s cannot sign with the draft: exit %d\n%s%s", c.Name(), got.Code, got.Stdout, got.Stderr)
			continue
		}
		signed = append(signed, r)
	}
	for _, r := range signed {
		for _, c := range clients.All() {
			e2etest.WantAccepted(t, c.Name()+" with the draft on the signature of "+r.Signer, c.Verify(t, r))
		}
		if err := verifyWithSigstoreGo(r); err != nil {
			t.Errorf("sigstore-go with the draft on the signature of %s: %v", r.Signer, err)
		}
		r.File = e2etest.WriteFile(t, t.TempDir(), "blob", "another")
		if err := verifyWithSigstoreGo(r); err == nil {
			t.Errorf("sigstore-go accepts another file than %s has signed", r.Signer)
		}
	}
	d.wantPEMClients(t, request(t, "cosign-v2"))
	if got := e2etest.ReadFile(t, d.stack.Kit("trusted_root.json")); got != published {
		t.Error("the kit has changed, before anything was published")
	}
	d.wantPublished(t)
}

// wantPEMClients demands that who knows PEM files and variables alone verifies with
// those of the draft.
func (d draft) wantPEMClients(t *testing.T, r clients.Request) {
	t.Helper()
	r.Kind = clients.BlobLegacy
	r.Trust.Source = clients.Env
	for _, c := range []clients.Client{clients.CosignV2(), clients.CosignV3()} {
		r.Signer = c.Name()
		if got := c.Sign(t, r); got.Code != 0 {
			t.Errorf("%s cannot sign for the PEM files of the draft: exit %d\n%s%s", c.Name(), got.Code, got.Stdout, got.Stderr)
			continue
		}
		e2etest.WantAccepted(t, c.Name()+" with the PEM files of the draft", c.Verify(t, r))
	}
}

// publish has a draft signed, as it is before its signers, and publishes it.
func (d draft) publish(t *testing.T, what []string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "ceremony")
	d.prepare(t, what, "--ceremony", folder) // others were published since the first one
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "tuf", "ceremony", "sign", "--folder", folder,
		"--dir", filepath.Join(d.stack.Dir, "offline"), "--key", "tuf-targets", "--yes")
	if got := d.prepare(t, what, "--ceremony", folder); got.Code != 0 {
		t.Fatalf("%v: exit %d\n%s", what, got.Code, got.Stderr)
	}
}

// wantPublished publishes what waits, and demands that clients get what was tried.
func (d draft) wantPublished(t *testing.T) {
	t.Helper()
	if !e2etest.Split() {
		for _, what := range waiting {
			d.publish(t, what)
		}
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		// env.sh names the directory that it is in. Which processes sign their audit
		// records is not of the trust material, and found out while they start.
		if e.IsDir() || e.Name() == "env.sh" || e.Name() == "audit.pub" {
			continue
		}
		if e2etest.ReadFile(t, filepath.Join(d.dir, e.Name())) != e2etest.ReadFile(t, d.stack.Kit(e.Name())) {
			t.Errorf("%s is published otherwise than it was drafted", e.Name())
		}
	}
}
