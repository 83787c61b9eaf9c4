package keys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	sgtuf "github.com/sigstore/sigstore-go/pkg/tuf"

	"sigstack/cmd/sigstore-kms-hashivault/vaulttest"
	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/keys/softhsmtest"
)

// office is where the signers of a ceremony work: alice has her key in a file, bob in
// a token, carol in Vault.
type office struct {
	t     *testing.T
	s     *served
	env   []string // finds token and Vault
	dir   string   // of the signers' keys
	stick string
}

// TestCeremonyOfFileTokenAndVault: two of three signers, whose keys are in a file, a
// token and Vault, make a root from which every client starts; and another two the one
// after it. A token that is pulled or a Vault that is sealed is told by the key's name,
// and leaves nothing in the folder.
func TestCeremonyOfFileTokenAndVault(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a stack that waits for its root is in one process")
	}
	program := withTokens(t)
	hsm, vault := softhsmtest.New(t, "ceremony"), vaulttest.New(t)
	e2etest.KeepSecret(softhsmtest.PIN)
	env := append(plugin(t, vault), "SOFTHSM2_CONF="+hsm.Conf)
	o := &office{t: t, s: awaiting(t, program, env), env: env, dir: t.TempDir(), stick: t.TempDir()}
	o.makeKey("alice", "--algorithm", "ed25519", "--passphrase-file", o.s.secret)
	o.makeKey("bob", "--in", hsm.URI("bob"))
	o.makeKey("carol", "--in", "hashivault://carol")

	o.act("start", "first", "--root-threshold", "2", "--root-key", o.pub("alice"), "--root-key", o.pub("bob"), "--root-key", o.pub("carol"))
	hsm.Pull(t)
	o.wantAway("first", "bob")
	hsm.Back(t)
	vault.Seal()
	o.wantAway("first", "carol")
	vault.Unseal()
	if got := e2etest.MustRun(t, nil, program, "tuf", "ceremony", "status", "--folder", o.folder("first")); strings.Contains(got, "  signed") {
		t.Errorf("signers who could not sign are in the folder:\n%s", got)
	}
	o.mustSign("first", "bob")
	o.mustSign("first", "carol")
	o.act("finish", "first")
	e2etest.AdoptTLS(t, o.s.dir)
	o.s.start(t, env)
	caches := t.TempDir()
	o.wantClients(caches, "from the first root")

	vault.Seal() // carol is on leave
	o.act("start", "second", "--renew")
	o.mustSign("second", "alice")
	o.mustSign("second", "bob")
	o.act("finish", "second")
	o.wantClients(caches, "that saw the first root")
	o.wantClients(t.TempDir(), "that start now")
}

// awaiting makes a stack that waits for its root.
func awaiting(t *testing.T, program string, env []string) *served {
	t.Helper()
	e2etest.KeepSecret(passphrase)
	s := &served{program: program, dir: filepath.Join(t.TempDir(), "stack"), issuer: testissuer.Start(t)}
	s.secret = e2etest.WriteFile(t, t.TempDir(), "passphrase", passphrase+"\n")
	address := e2etest.FreeAddress(t)
	s.url, s.dirs = e2etest.Scheme()+"://"+address, map[string]string{"": s.dir}
	e2etest.MustRun(t, env, program, "init", "--ceremony", "--dir", s.dir, "--url", s.url, "--listen", address,
		"--passphrase-file", s.secret, "--trust-issuer", s.issuer.URL+",type=email", "--tuf-profile", "test")
	s.cheapenKeys(t)
	return s
}

func (o *office) pub(who string) string     { return filepath.Join(o.stick, who+".pub") }
func (o *office) folder(name string) string { return filepath.Join(o.stick, name) }
func (o *office) keys(who string) string    { return filepath.Join(o.dir, who) }

func (o *office) makeKey(who string, where ...string) {
	o.t.Helper()
	args := append([]string{"keys", "create", who, "--signer", "--dir", o.keys(who)}, where...)
	e2etest.MustRun(o.t, o.env, o.s.program, args...)
	public := e2etest.MustRun(o.t, o.env, o.s.program, "keys", "show", who, "--signer", "--dir", o.keys(who))
	e2etest.WriteFile(o.t, o.stick, who+".pub", public)
}

// act is one of the operator's.
func (o *office) act(verb, name string, args ...string) {
	o.t.Helper()
	all := append([]string{"tuf", "ceremony", verb, "--dir", o.s.dir, "--passphrase-file", o.s.secret, "--folder", o.folder(name)}, args...)
	e2etest.MustRun(o.t, o.env, o.s.program, all...)
}

func (o *office) sign(name, who string) e2etest.Result {
	o.t.Helper()
	args := []string{"tuf", "ceremony", "sign", "--folder", o.folder(name), "--dir", o.keys(who), "--yes"}
	if _, err := os.Stat(filepath.Join(o.keys(who), who+".key")); err == nil {
		args = append(args, "--passphrase-file", o.s.secret)
	}
	return e2etest.Run(o.t, o.env, o.s.program, args...)
}

func (o *office) mustSign(name, who string) {
	o.t.Helper()
	if got := o.sign(name, who); got.Code != 0 {
		o.t.Fatalf("%s signs: exit %d\n%s", who, got.Code, got.Stderr)
	}
}

func (o *office) wantAway(name, who string) {
	o.t.Helper()
	got := o.sign(name, who)
	if got.Code != 1 || !strings.Contains(got.Stderr, "nothing was signed") || !strings.Contains(got.Stderr, "key "+who) {
		o.t.Errorf("%s signs, whose key is away: exit %d, want 1 and a sentence that names the key\n%s", who, got.Code, got.Stderr)
	}
}

// wantClients demands that every client verifies by TUF alone what is signed now.
func (o *office) wantClients(caches, who string) {
	t, dir := o.t, o.t.TempDir()
	t.Helper()
	request := clients.Request{
		Kind: clients.Blob, File: e2etest.WriteFile(t, dir, "blob", "signed for clients "+who), Bundle: filepath.Join(dir, "bundle"),
		Trust: clients.Trust{Source: clients.TUF, Dir: o.s.kit(""), URL: o.s.url, Mirror: o.s.url + "/tuf", MirrorCopy: filepath.Join(o.s.dir, "tuf")},
		Token: o.s.issuer.Mint(t, o.s.issuer.Claims(signerName)), Identity: signerName, Issuer: o.s.issuer.URL,
	}
	if got := o.s.sign(t, request.File, request.Bundle); got.Code != 0 {
		t.Fatalf("cosign signs: exit %d\n%s", got.Code, got.Stderr)
	}
	for _, c := range []clients.Client{clients.CosignV3(), clients.CosignV2(), clients.SigstoreJS(), clients.Sigstack()} {
		request.Trust.Cache = filepath.Join(caches, c.Name())
		if err := os.MkdirAll(request.Trust.Cache, 0o700); err != nil {
			t.Fatal(err)
		}
		e2etest.WantAccepted(t, c.Name()+" "+who, c.Verify(t, request))
	}
	if e2etest.OverTLS() {
		return // what follows runs in this process, which does not trust the stack's authority for TLS
	}
	opts := sgtuf.DefaultOptions().WithRepositoryBaseURL(o.s.url + "/tuf").WithRoot([]byte(e2etest.ReadFile(t, o.s.kit("root.json")))).WithCachePath(filepath.Join(caches, "sigstore-go"))
	client, err := sgtuf.New(opts)
	if err != nil {
		t.Fatalf("sigstore-go %s: %v", who, err)
	}
	if got, err := client.GetTarget("trusted_root.json"); err != nil || string(got) != e2etest.ReadFile(t, o.s.kit("trusted_root.json")) {
		t.Errorf("sigstore-go %s got another trusted_root.json than the kit's: %v", who, err)
	}
}
