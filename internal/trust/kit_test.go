package trust_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sigstack/internal/trust"
)

var kitNames = []string{
	"root.json", "trusted_root.json", "signing_config.v0.2.json", "client_trust_config.json",
	"fulcio.crt.pem", "rekor.pub", "ctfe.pub", "tsa.crt.pem", "tls-ca.crt.pem", "audit.pub", "issuers.json", "env.sh", "README.txt",
}

func newKit(tb testing.TB) trust.Kit {
	tb.Helper()
	return trust.Kit{
		Material: newMaterial(tb), RootJSON: []byte("{}\n"), URL: "http://localhost:8080",
		TLSAuthorities: caChain(tb)[1:], AuditKeys: [][]byte{newMaterial(tb).TLogs[0].PublicKey},
		Issuers: &trust.Issuers{LocallyBacked: []string{"https://token.actions.githubusercontent.com"}},
	}
}

// writeKit renders the kit as if for home and puts it in dir.
func writeKit(tb testing.TB, k trust.Kit, home, dir string) map[string][]byte {
	tb.Helper()
	files, err := k.Files(home)
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		out[f.Name] = f.Data
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

func TestKitHoldsTheFilesOfTheInterface(t *testing.T) {
	files := writeKit(t, newKit(t), "/kit", t.TempDir())
	for _, name := range kitNames {
		if len(files[name]) == 0 {
			t.Errorf("no %s", name)
		}
	}
	if got := trust.KitNames(); !slices.Equal(got, kitNames) {
		t.Errorf("got names %q, want %q", got, kitNames)
	}
	if len(files) != len(kitNames) {
		t.Errorf("got %d files, want %d", len(files), len(kitNames))
	}
	if sum := trust.RootSHA256([]byte("{}\n")); !bytes.Contains(files["README.txt"], []byte(sum)) {
		t.Errorf("README.txt does not name %s:\n%s", sum, files["README.txt"])
	}
	if !bytes.Contains(files["README.txt"], []byte("\n  https://token.actions.githubusercontent.com\n")) {
		t.Errorf("README.txt does not name the locally backed issuer:\n%s", files["README.txt"])
	}
}

func TestKitPEMFilesHoldTheNewest(t *testing.T) {
	k := newKit(t)
	files := writeKit(t, k, "/kit", t.TempDir())
	for name, want := range map[string][]byte{
		"rekor.pub": k.Material.TLogs[1].PublicKey,
		"ctfe.pub":  k.Material.CTLogs[0].PublicKey,
	} {
		block, rest := pem.Decode(files[name])
		if block == nil || !bytes.Equal(block.Bytes, want) || len(rest) > 0 {
			t.Errorf("%s holds %s, want only the newest key", name, files[name])
		}
	}
	for name, want := range map[string][]*x509.Certificate{
		"fulcio.crt.pem": slices.Concat(k.Material.CAs[0].Chain, k.Material.CAs[1].Chain),
		"tsa.crt.pem":    k.Material.TSAs[0].Chain,
		"tls-ca.crt.pem": k.TLSAuthorities,
	} {
		got, err := cryptoutils.UnmarshalCertificatesFromPEM(files[name])
		if err != nil || !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
			t.Errorf("%s holds %d certificates, %v; want %d, newest chain first", name, len(got), err, len(want))
		}
	}
}

func TestKitLeavesOutWhatIsMissing(t *testing.T) {
	k := newKit(t)
	k.Material.TLogs = k.Material.TLogs[1:]
	k.Material.TLogServices = k.Material.TLogServices[:1]
	k.Material.TSAs, k.Material.TSAServices = nil, nil
	k.TLSAuthorities = nil
	files := writeKit(t, k, "/kit", t.TempDir())
	for _, name := range []string{"tsa.crt.pem", "tls-ca.crt.pem"} {
		if data, ok := files[name]; ok {
			t.Errorf("%s of nothing: %s", name, data)
		}
	}
	for _, variable := range []string{"TSA", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		if bytes.Contains(files["env.sh"], []byte(variable)) {
			t.Errorf("env.sh names a file that is not there:\n%s", files["env.sh"])
		}
	}
	if bytes.Contains(files["README.txt"], []byte("TLS")) {
		t.Errorf("README.txt speaks of TLS where there is none:\n%s", files["README.txt"])
	}
}

func TestKitRefuses(t *testing.T) {
	for name, change := range map[string]func(*trust.Kit){
		"no root":       func(k *trust.Kit) { k.RootJSON = nil },
		"relative URL":  func(k *trust.Kit) { k.URL = "localhost:8080" },
		"slash":         func(k *trust.Kit) { k.URL += "/" },
		"bad materials": func(k *trust.Kit) { k.Material.Operator = "" },
	} {
		k := newKit(t)
		change(&k)
		if files, err := k.Files("/kit"); err == nil {
			t.Errorf("%s: got %d files, want an error", name, len(files))
		}
	}
}

// envWant is what the variables hold when the kit lies in dir.
func envWant(dir string) map[string]string {
	return map[string]string{
		"SIGSTACK_URL":                    "http://localhost:8080",
		"SIGSTORE_ROOT_FILE":              dir + "/fulcio.crt.pem",
		"SIGSTORE_REKOR_PUBLIC_KEY":       dir + "/rekor.pub",
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": dir + "/ctfe.pub",
		"SIGSTORE_TSA_CERTIFICATE_FILE":   dir + "/tsa.crt.pem",
		"TUF_MIRROR":                      "http://localhost:8080/tuf",
		"TUF_ROOT_JSON":                   dir + "/root.json",
		"SSL_CERT_FILE":                   dir + "/tls-ca.crt.pem",
		"NODE_EXTRA_CA_CERTS":             dir + "/tls-ca.crt.pem",
	}
}

// runShell runs script and compares the variables it ends with.
func runShell(t *testing.T, shell, cwd, script, kit string) {
	t.Helper()
	bin, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("no %s here", shell)
	}
	cmd := exec.CommandContext(context.Background(), bin, "-euc", script+"\nexec env -0")
	cmd.Dir = cwd
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KIT=" + kit}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	vars := strings.Split(string(out), "\x00")
	for name, want := range envWant(kit) {
		if !slices.Contains(vars, name+"="+want) {
			t.Errorf("%s: no %s=%s in %q", script, name, want, vars)
		}
	}
}

// TestEnvScript runs env.sh as people use it, in a directory whose name needs
// quoting.
func TestEnvScript(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's $HOME "here"`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeKit(t, newKit(t), "/nowhere", dir)
	for _, c := range []struct{ shell, cwd, script string }{
		{"sh", dir, `. ./env.sh`},
		{"bash", dir, `. ./env.sh`},
		{"bash", "/", `. "$KIT/env.sh"`},
		{"zsh", "/", `. "$KIT/env.sh"`},
		{"sh", "/", `eval "$(sh "$KIT/env.sh")"`},
		{"bash", "/", `eval "$(bash "$KIT/env.sh")"`},
	} {
		t.Run(c.shell+" "+c.script, func(t *testing.T) { runShell(t, c.shell, c.cwd, c.script, dir) })
	}
}

func TestEnvScriptFallsBackToItsHome(t *testing.T) {
	dir := t.TempDir()
	writeKit(t, newKit(t), dir, dir)
	runShell(t, "sh", "/", `. "$KIT/env.sh"`, dir)
}

func TestEnvScriptWithoutKitFails(t *testing.T) {
	dir := t.TempDir()
	writeKit(t, newKit(t), "/nowhere", dir)
	cmd := exec.CommandContext(context.Background(), "sh", "-c", `. "$0/env.sh" || exit 9`, dir)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 9 || !bytes.Contains(out, []byte("no kit in")) {
		t.Errorf("got %v, %s; want exit 9 and the reason", err, out)
	}
}

func TestEnvLines(t *testing.T) {
	const dir = `/srv/it's here`
	lines := trust.EnvLines(dir, "http://localhost:8080", func(string) bool { return true })
	runShell(t, "sh", "/", strings.Join(lines, "\n"), dir)
	if got, want := len(lines), len(envWant(dir)); got != want {
		t.Errorf("got %d lines, want %d: %q", got, want, lines)
	}
	lines = trust.EnvLines(dir, "http://localhost:8080", func(f string) bool { return f != "tsa.crt.pem" })
	if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "TSA") }) {
		t.Errorf("got %q, want no line for a missing file", lines)
	}
}

func TestTargets(t *testing.T) {
	m := newMaterial(t)
	targets, err := m.Targets(epoch.AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	type custom struct {
		Sigstore struct{ Usage, Status, URI string }
	}
	got := map[string]custom{}
	for _, target := range targets {
		var c custom
		if target.Custom != nil {
			if err := json.Unmarshal(target.Custom, &c); err != nil {
				t.Fatal(err)
			}
		}
		// Names of former keys end in their fingerprint.
		name := target.Name
		if stem, rest, ok := strings.Cut(name, "_"); ok && (stem == "rekor" || stem == "fulcio") {
			name = stem + "_*" + rest[8:]
		}
		got[name] = c
	}
	for name, want := range map[string]string{
		"trusted_root.json":          "  ",
		"signing_config.v0.2.json":   "  ",
		"rekor.pub":                  "Rekor Active https://sig.corp.example",
		"rekor_*.pub":                "Rekor Expired https://sig.corp.example",
		"ctfe.pub":                   "CTFE Active https://sig.corp.example/ctlog",
		"fulcio.crt.pem":             "Fulcio Active https://sig.corp.example",
		"fulcio_*.crt.pem":           "Fulcio Active https://sig.corp.example",
		"tsa_leaf.crt.pem":           "TSA Active https://sig.corp.example/api/v1/timestamp",
		"tsa_intermediate_0.crt.pem": "TSA Active https://sig.corp.example/api/v1/timestamp",
		"tsa_root.crt.pem":           "TSA Active https://sig.corp.example/api/v1/timestamp",
	} {
		c, ok := got[name]
		if s := c.Sigstore; !ok || s.Usage+" "+s.Status+" "+s.URI != want {
			t.Errorf("%s: got %+v, %v; want %s", name, s, ok, want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("unexpected targets %v", got)
	}
}

// TestNextLogIsPublishedAheadOfUse: whoever knows a list of keys gets it, whoever
// knows one key keeps that of the log in use.
func TestNextLogIsPublishedAheadOfUse(t *testing.T) {
	k := newKit(t)
	used := k.Material.TLogs[1]
	next := used
	next.PublicKey = newSPKI(t) // as old: a second decides nothing
	k.Material.TLogs = append(k.Material.TLogs, next)
	for _, inUse := range []bool{false, true} {
		k.Material.TLogs[1].Idle, k.Material.TLogs[len(k.Material.TLogs)-1].Idle = inUse, !inUse
		want := map[bool][]byte{false: used.PublicKey, true: next.PublicKey}[inUse]
		files := writeKit(t, k, "/kit", t.TempDir())
		if block, _ := pem.Decode(files["rekor.pub"]); block == nil || !bytes.Equal(block.Bytes, want) {
			t.Errorf("in use %v: rekor.pub holds another key", inUse)
		}
		root, err := trust.ParseTrustedRoot(files["trusted_root.json"])
		if err != nil || len(root.TLogs) != len(k.Material.TLogs) {
			t.Errorf("in use %v: trusted root has %d logs, %v, want %d", inUse, len(root.TLogs), err, len(k.Material.TLogs))
		}
		targets, err := k.Material.Targets(epoch)
		if err != nil {
			t.Fatal(err)
		}
		rekors := 0
		for _, target := range targets {
			if strings.HasPrefix(target.Name, "rekor") {
				rekors++
			}
			if block, _ := pem.Decode(target.Data); target.Name == "rekor.pub" && !bytes.Equal(block.Bytes, want) {
				t.Errorf("in use %v: target rekor.pub holds another key", inUse)
			}
		}
		if rekors != 3 {
			t.Errorf("in use %v: %d targets hold keys of version 1 logs, want 3", inUse, rekors)
		}
	}
}
