package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// cosignSignType is the predicate type of an image's signature (contract:
// release-artifacts.md B2).
const cosignSignType = "https://sigstore.dev/cosign/sign/v1"

//go:embed sigstore.mjs
var sigstoreScript string

// sigstoreJS is sigstore-js: its command where that can do what is asked, else
// its packages, as a program built on them calls them.
type sigstoreJS struct{}

// SigstoreJS is sigstore-js.
func SigstoreJS() Client { return sigstoreJS{} }

func (sigstoreJS) Name() string { return "sigstore" }

func (c sigstoreJS) Version(t *testing.T) string {
	t.Helper()
	var cli struct{ Version string }
	manifest := filepath.Join(modules(t), "@sigstore", "cli", "package.json")
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, manifest)), &cli); err != nil {
		t.Fatal(err)
	}
	return "v" + cli.Version
}

func (sigstoreJS) KeyPair(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return e2etest.WriteFile(t, dir, "private.pem", text),
		e2etest.WriteFile(t, dir, "public.pem", e2etest.PublicPEM(t, key.Public()))
}

func (c sigstoreJS) Sign(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	env := []string{"SIGSTORE_ID_TOKEN=" + r.Token}
	switch {
	case r.Kind == BlobLegacy:
		return c.command(t, env, "sign", r.File)
	case !r.Kind.Bundle():
		return c.command(t, env, "sign", r.Image)
	case r.Trust.Source == Env && r.Kind == Attestation && r.PrivateKey == "":
		return c.attestByFlags(t, r)
	case r.Trust.Source == Env:
		return c.command(t, append(env, pemVariables(r.Trust)...), "sign", r.File)
	}
	q := c.request(t, r)
	if r.Kind != Blob {
		q.Statement = statement(t, r)
	}
	return c.script(t, env, "sign", q)
}

// attestByFlags uses the command, which logs attestations as intoto 0.0.2.
func (c sigstoreJS) attestByFlags(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	args := []string{
		"attest", "--fulcio-url", r.Trust.URL, "--rekor-url", r.Trust.URL,
		"--oidc-issuer", r.Trust.Issuer(), "--output-file", r.Bundle,
	}
	if r.Timestamp {
		args = append(args, "--tsa-server-url", r.Trust.URL+"/api/v1/timestamp")
	}
	args = append(args, e2etest.WriteFile(t, t.TempDir(), "statement.json", statement(t, r)))
	// CI tells the command to take the token from the environment.
	return c.command(t, []string{"CI=true", "SIGSTORE_ID_TOKEN=" + r.Token}, args...)
}

func (c sigstoreJS) Verify(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	switch {
	case r.Trust.Source == Env && !r.Kind.Image():
		return c.command(t, pemVariables(r.Trust), "verify", "--tuf-mirror-url", r.Trust.URL, r.Bundle)
	case r.Kind.Image() && !r.Kind.Bundle(), r.Trust.Source == Env:
		return c.command(t, pemVariables(r.Trust), "verify", r.Image)
	case r.Trust.Source == TUF && r.Kind == Blob && r.PublicKey == "" && !r.Timestamp:
		return c.verifyByTUF(t, r)
	}
	return c.script(t, nil, "verify", c.request(t, r))
}

func (c sigstoreJS) verifyByTUF(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	cache, _ := r.Trust.cache(t)
	args := []string{
		"verify", "--tuf-mirror-url", r.Trust.Mirror, "--tuf-root-path", r.Trust.File("root.json"), "--tuf-cache-path", cache,
		"--certificate-identity-email", r.Identity, "--certificate-issuer", r.Issuer, "--blob-file", r.File,
	}
	if r.Offline {
		args = append(args, "--tuf-force-cache")
	}
	return c.command(t, nil, append(args, r.Bundle)...)
}

func (sigstoreJS) command(t *testing.T, env []string, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, env, e2etest.Client(t, "sigstore"), args...)
}

// scriptRequest is what sigstore.mjs takes.
type scriptRequest struct {
	SigningConfig string     `json:"signingConfig,omitempty"` // paths, unless TUF is set
	TrustedRoot   string     `json:"trustedRoot,omitempty"`
	TUF           *scriptTUF `json:"tuf,omitempty"`

	File          string `json:"file,omitempty"`
	Bundle        string `json:"bundle,omitempty"`
	Image         string `json:"image,omitempty"`
	Statement     string `json:"statement,omitempty"` // what to sign; a file's bytes otherwise
	PredicateType string `json:"predicateType,omitempty"`

	SignWith  string `json:"signWith,omitempty"`
	PublicKey string `json:"publicKey,omitempty"`
	Identity  string `json:"identity,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	Timestamp bool   `json:"timestamp,omitempty"`
}

type scriptTUF struct {
	Mirror     string `json:"mirror"`
	Root       string `json:"root"`
	Cache      string `json:"cache"`
	ForceCache bool   `json:"forceCache"`
}

func (sigstoreJS) request(t *testing.T, r Request) scriptRequest {
	t.Helper()
	q := scriptRequest{
		File: r.File, Bundle: r.Bundle, Image: r.Image, PredicateType: r.PredicateType,
		SignWith: r.PrivateKey, PublicKey: r.PublicKey, Identity: r.Identity, Issuer: r.Issuer, Timestamp: r.Timestamp,
	}
	switch r.Kind {
	case Blob:
		q.PredicateType = ""
	case ImageReferrer:
		q.PredicateType = cosignSignType
	}
	if r.Kind.Image() {
		q.File = ""
	} else {
		q.Image = ""
	}
	if r.Trust.Source == TUF {
		cache, _ := r.Trust.cache(t)
		q.TUF = &scriptTUF{Mirror: r.Trust.Mirror, Root: r.Trust.File("root.json"), Cache: cache, ForceCache: r.Offline}
	} else {
		q.SigningConfig, q.TrustedRoot = r.Trust.File("signing_config.v0.2.json"), r.Trust.File("trusted_root.json")
	}
	return q
}

func (sigstoreJS) script(t *testing.T, env []string, operation string, q scriptRequest) e2etest.Result {
	t.Helper()
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	path := e2etest.WriteFile(t, t.TempDir(), "sigstore.mjs", sigstoreScript)
	return e2etest.Run(t, env, e2etest.Client(t, "node"), path, modules(t), operation, string(text))
}

// modules is where `make clients` puts npm packages.
func modules(t *testing.T) string {
	t.Helper()
	return filepath.Join(e2etest.Client(t, "js"), "node_modules")
}

// statement is what cosign would sign for r.
func statement(t *testing.T, r Request) string {
	t.Helper()
	_, digest, _ := strings.Cut(r.Image, "@sha256:")
	subject := map[string]any{"digest": map[string]string{"sha256": digest}}
	predicateType, predicate := cosignSignType, json.RawMessage(`{}`)
	if r.Kind.Attests() {
		predicateType, predicate = r.PredicateType, json.RawMessage(e2etest.ReadFile(t, r.Predicate))
	}
	if !r.Kind.Image() {
		content, err := os.ReadFile(r.File)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		subject = map[string]any{
			"name": filepath.Base(r.File), "digest": map[string]string{"sha256": hex.EncodeToString(sum[:])},
		}
	}
	text, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "subject": []any{subject},
		"predicateType": predicateType, "predicate": predicate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (sigstoreJS) SignLimit(r Request) *Limit {
	switch {
	case !r.Kind.Bundle():
		return &Limit{Why: "sigstore-js signs Sigstore bundles only", Says: "command sign.* not found"}
	case r.Trust.Source == Env && (r.Kind != Attestation || r.PrivateKey != ""):
		return &Limit{
			Why:  "sigstore-js reads no SIGSTORE_* variables but the token's; its command attests keyless, by flags, and has no other way to sign",
			Says: "command sign.* not found",
		}
	}
	return nil
}

func (sigstoreJS) VerifyLimit(r Request) *Limit {
	switch {
	case r.Trust.Source == Env && !r.Kind.Image():
		return &Limit{
			Why:  "sigstore-js reads no SIGSTORE_* variables; its command takes trust from TUF only",
			Says: "No root.json found for mirror",
		}
	case r.Kind == BlobLegacy:
		return &Limit{Why: "sigstore-js reads Sigstore bundles only", Says: "invalid bundle"}
	case !r.Kind.Bundle() || r.Trust.Source == Env:
		return &Limit{Why: "sigstore-js verifies files: neither its command nor its packages read signatures by tag, or trust from variables", Says: "No file found at"}
	}
	return nil
}
