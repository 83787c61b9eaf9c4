package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

// signedFile is a file that rekor-cli uploads as an entry of some kind.
type signedFile struct {
	kind, format             string // of --type and --pki-format
	artifact, signature, key string // paths; signature "": within the artifact
	sha, email               string // what it is found by; email "": by none
	otherKey                 string // path of another's key
	member                   string // what get calls the entry
}

func (f signedFile) args(key string) []string {
	args := []string{"--type", f.kind, "--pki-format", f.format, "--artifact", f.artifact, "--public-key", key}
	if f.signature != "" {
		args = append(args, "--signature", f.signature)
	}
	return args
}

// tool runs a program of the machine, which make deps installs.
func tool(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	return e2etest.MustRun(t, env, path, args...)
}

// TestRekorCLIKinds uploads what distributions sign: files with keys of every
// format, and a Helm chart; each is got, verified and found.
func TestRekorCLIKinds(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{s.URL, t.TempDir(), e2etest.ReadFile(t, s.Kit("rekor.pub"))}
	packager, other := newGPG(t, "Packager@example.test"), newGPG(t, "other@example.test")
	for name, f := range map[string]signedFile{
		"x509":         x509File(t),
		"pgp, armored": packager.file(t, other, "armored\n", "--armor"),
		"pgp, binary":  packager.file(t, other, "binary\n"),
		"ssh, RSA":     sshFile(t, "rsa"),
		"ssh, Ed25519": sshFile(t, "ed25519"),
		"minisign":     minisignFile(t),
		"helm":         packager.chart(t, other),
	} {
		t.Run(name, func(t *testing.T) { c.wantKind(t, f) })
	}
}

// wantKind uploads a file, and does with the entry what can be done with one.
func (c rekorCLI) wantKind(t *testing.T, f signedFile) {
	t.Helper()
	args := f.args(f.key)
	c.refused(t, "entry in log cannot be located", append([]string{"verify"}, args...)...)
	index, id := c.upload(t, args...)
	if again, sameID := c.upload(t, args...); again != index || sameID != id {
		t.Errorf("uploaded again as entry %s %s, want %s %s", again, sameID, index, id)
	}
	for _, by := range [][]string{{"--uuid", id}, {"--log-index", index}} {
		out := c.must(t, append([]string{"get"}, by...)...)
		if !strings.Contains(out, "UUID: "+id+"\n") || !strings.Contains(out, f.member) || !strings.Contains(out, f.sha) {
			t.Errorf("get %v: %s", by, out)
		}
	}
	if out := c.must(t, append([]string{"verify"}, args...)...); !strings.Contains(out, "Entry Hash: "+id[16:]+"\n") {
		t.Errorf("verify: %s", out)
	}
	c.wantFound(t, []string{id}, "--sha", f.sha)
	c.wantFound(t, []string{id}, "--sha", f.sha, "--public-key", f.key, "--pki-format", f.format, "--operator", "and")
	if f.email != "" {
		c.wantFound(t, []string{id}, "--sha", f.sha, "--email", f.email, "--operator", "and")
	}
	c.refused(t, "no matching entries found", "search", "--sha", f.sha, "--public-key", f.otherKey, "--pki-format", f.format, "--operator", "and")
	if r := c.run(t, append([]string{"upload"}, f.args(f.otherKey)...)...); r.Code == 0 {
		t.Errorf("uploaded with another's key: %s", r.Stdout)
	}
}

// TestRekorCLIRareKinds: a stack that is told to takes every kind that there is,
// and one that is not names the kind that it does not take. The entries are those
// that the reference server's library was held to.
func TestRekorCLIRareKinds(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{s.URL, t.TempDir(), e2etest.ReadFile(t, s.Kit("rekor.pub"))}
	golden := filepath.Join("..", "services", "tlog", "entry", "kinds", "testdata")
	rare := []string{"alpine", "cose", "jar", "rfc3161", "rpm", "tuf"}
	for _, kind := range rare {
		c.refused(t, "kind "+kind+" is not enabled", "upload", "--entry", filepath.Join(golden, kind+".proposed.json"))
	}
	config := filepath.Join(s.ServiceDir("tlog"), "config.yaml")
	before := e2etest.ReadFile(t, config)
	s.Stop()
	configureLog(t, config, before, "kinds: [alpine, cose, dsse, hashedrekord, jar, rfc3161, rpm, tuf]", "attestations: true")
	s = e2etest.Start(t, s.Dir)
	indexes := map[string]string{}
	for _, kind := range rare {
		index, id := c.upload(t, "--entry", filepath.Join(golden, kind+".proposed.json"))
		indexes[kind] = index
		out := c.must(t, "get", "--log-index", index)
		if !strings.Contains(out, "UUID: "+id+"\n") || strings.Contains(out, "Attestation: ") != (kind == "cose") {
			t.Errorf("%s: get: %s", kind, out)
		}
		if out := c.must(t, "verify", "--uuid", id); !strings.Contains(out, "Entry Hash: "+id[16:]) {
			t.Errorf("%s: verify: %s", kind, out)
		}
	}
	f := x509File(t)
	c.refused(t, "kind rekord is not enabled", append([]string{"upload"}, f.args(f.key)...)...)

	s.Stop() // what is taken no more stays readable
	configureLog(t, config, before, "disabled_operations: [searchIndex]")
	e2etest.Start(t, s.Dir)
	for kind, index := range indexes {
		if out := c.must(t, "get", "--log-index", index); !strings.Contains(out, "Index: "+index+"\n") {
			t.Errorf("%s: get: %s", kind, out)
		}
	}
	c.refused(t, "search index not enabled", "search", "--sha", strings.Repeat("ab", 32))
}

// configureLog writes a configuration with more settings in the log's section.
func configureLog(t *testing.T, file, config string, settings ...string) {
	t.Helper()
	changed := strings.Replace(config, "\ntlog:\n", "\ntlog:\n  "+strings.Join(settings, "\n  ")+"\n", 1)
	if changed == config {
		t.Fatalf("no section tlog in %s", config)
	}
	e2etest.WriteFile(t, filepath.Dir(file), filepath.Base(file), changed)
}

func x509File(t *testing.T) signedFile {
	t.Helper()
	const data = "signed with an X.509 key\n"
	a, b := newArtifact(t, tlogtest.NewSigner(t), data), newArtifact(t, tlogtest.NewSigner(t), data)
	return signedFile{kind: "rekord", format: "x509", artifact: a.file, signature: a.signature, key: a.key, sha: a.sha, otherKey: b.key, member: "RekordObj"}
}

// sshFile is signed by ssh-keygen.
func sshFile(t *testing.T, algorithm string) signedFile {
	t.Helper()
	data := "signed with SSH, " + algorithm + "\n"
	dir := t.TempDir()
	file := e2etest.WriteFile(t, dir, "artifact", data)
	for _, name := range []string{"key", "other"} {
		tool(t, nil, "ssh-keygen", "-q", "-t", algorithm, "-N", "", "-C", "builder@example.test", "-f", filepath.Join(dir, name))
	}
	tool(t, nil, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", filepath.Join(dir, "key"), file)
	return signedFile{
		kind: "rekord", format: "ssh", artifact: file, signature: file + ".sig", key: filepath.Join(dir, "key.pub"),
		sha: shaOf(data), otherKey: filepath.Join(dir, "other.pub"), member: "RekordObj",
	}
}

// minisignFile is signed as minisign -l does, which no package has everywhere.
func minisignFile(t *testing.T) signedFile {
	t.Helper()
	const data = "signed with minisign\n"
	dir := t.TempDir()
	key := func(name string) (ed25519.PrivateKey, string) {
		pub, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		line := base64.StdEncoding.EncodeToString(slices.Concat([]byte("Ed12345678"), pub))
		return private, e2etest.WriteFile(t, dir, name, "untrusted comment: minisign public key\n"+line+"\n")
	}
	private, mine := key("minisign.pub")
	_, other := key("other.pub")
	sig, comment := ed25519.Sign(private, []byte(data)), "timestamp:1"
	global := ed25519.Sign(private, append(slices.Clone(sig), comment...))
	line := base64.StdEncoding.EncodeToString(slices.Concat([]byte("Ed12345678"), sig))
	text := fmt.Sprintf("untrusted comment: x\n%s\ntrusted comment: %s\n%s\n", line, comment, base64.StdEncoding.EncodeToString(global))
	return signedFile{
		kind: "rekord", format: "minisign", artifact: e2etest.WriteFile(t, dir, "artifact", data), signature: e2etest.WriteFile(t, dir, "artifact.minisig", text),
		key: mine, sha: shaOf(data), otherKey: other, member: "RekordObj",
	}
}

// gpg is GnuPG with one key, in a home of its own.
type gpg struct{ home, email, key string }

func newGPG(t *testing.T, email string) gpg {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // short: a socket is in it
	if err != nil {
		t.Fatal(err)
	}
	g := gpg{home: home, email: email}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent") // the test's context is over
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	g.run(t, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Somebody <"+email+">", "rsa3072", "sign", "never")
	g.key = e2etest.WriteFile(t, t.TempDir(), "key.asc", g.run(t, "gpg", "--armor", "--export"))
	return g
}

func (g gpg) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return tool(t, []string{"GNUPGHOME=" + g.home}, name, args...)
}

func (g gpg) file(t *testing.T, other gpg, data string, how ...string) signedFile {
	t.Helper()
	dir := t.TempDir()
	file, sig := e2etest.WriteFile(t, dir, "artifact", data), filepath.Join(dir, "artifact.sig")
	g.run(t, "gpg", append(append([]string{"--batch"}, how...), "--output", sig, "--detach-sign", file)...)
	return signedFile{
		kind: "rekord", format: "pgp", artifact: file, signature: sig, key: g.key,
		sha: shaOf(data), email: g.email, otherKey: other.key, member: "RekordObj",
	}
}

// chart is the provenance that helm package --sign writes beside a chart.
func (g gpg) chart(t *testing.T, other gpg) signedFile {
	t.Helper()
	sha, dir := shaOf("the chart"), t.TempDir()
	text := "apiVersion: v2\nname: chart\nversion: 0.1.0\n\n...\nfiles:\n  chart-0.1.0.tgz: sha256:" + sha + "\n"
	file, prov := e2etest.WriteFile(t, dir, "text", text), filepath.Join(dir, "chart-0.1.0.tgz.prov")
	g.run(t, "gpg", "--batch", "--digest-algo", "SHA512", "--output", prov, "--clearsign", file)
	return signedFile{
		kind: "helm", format: "pgp", artifact: prov, key: g.key,
		sha: sha, email: g.email, otherKey: other.key, member: "HelmObj",
	}
}
