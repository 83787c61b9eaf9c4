package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"sigstack/cmd/sigstore-kms-hashivault/vaulttest"
)

// client runs the program with the variables that a test chooses.
type client struct {
	tb  testing.TB
	env map[string]string
}

func newClient(tb testing.TB, s *vaulttest.Server, more ...string) client {
	c := client{tb, map[string]string{}}
	for _, entry := range append(s.Environ(), more...) {
		name, value, _ := strings.Cut(entry, "=")
		c.env[name] = value
	}
	return c
}

func (c client) call(key string, method common.MethodArgs, stdin string) *common.PluginResp {
	c.tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	args, err := json.Marshal(common.PluginArgs{
		InitOptions: &common.InitOptions{CtxDeadline: &deadline, ProtocolVersion: "v1", KeyResourceID: key, HashFunc: crypto.SHA256},
		MethodArgs:  &method,
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.run("v1", string(args), stdin)
}

func (c client) run(version, args, stdin string) *common.PluginResp {
	c.tb.Helper()
	var out, remarks bytes.Buffer
	code := run(c.tb.Context(), []string{"sigstore-kms-hashivault", version, args}, func(n string) string { return c.env[n] }, strings.NewReader(stdin), &out, &remarks)
	var resp common.PluginResp
	if err := json.Unmarshal(out.Bytes(), &resp); err != nil {
		c.tb.Fatalf("%q: %v", out.String(), err)
	}
	if (code == 0) != (resp.ErrorMessage == "") || remarks.Len() > 0 {
		c.tb.Errorf("exit code %d and %q with error %q", code, remarks.String(), resp.ErrorMessage)
	}
	if strings.Contains(out.String(), vaulttest.Token) {
		c.tb.Errorf("the answer holds the token: %s", out.String())
	}
	return &resp
}

func (c client) create(key, algorithm string) *common.PluginResp {
	return c.call(key, common.MethodArgs{MethodName: "createKey", CreateKey: &common.CreateKeyArgs{Algorithm: algorithm}}, "")
}

func (c client) public(key string) *common.PluginResp {
	return c.call(key, common.MethodArgs{MethodName: "publicKey", PublicKey: &common.PublicKeyArgs{}}, "")
}

func (c client) sign(key string, hash crypto.Hash, digest []byte) *common.PluginResp {
	o := common.MessageOptions{HashFunc: &hash, Digest: &digest}
	return c.call(key, common.MethodArgs{MethodName: "signMessage", SignMessage: &common.SignMessageArgs{SignOptions: &common.SignOptions{MessageOptions: o}}}, "")
}

func publicKey(tb testing.TB, data []byte) *ecdsa.PublicKey {
	tb.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		tb.Fatalf("%q is not PEM", data)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return key.(*ecdsa.PublicKey)
}

func TestOperations(t *testing.T) {
	s := vaulttest.New(t)
	c := newClient(t, s)
	short, long := sha256.Sum256([]byte("hello")), sha512.Sum384([]byte("hello"))
	for _, tt := range []struct {
		algorithm string
		hash      crypto.Hash
		digest    []byte
	}{{"ecdsa-p256", crypto.SHA256, short[:]}, {"ecdsa-p384", crypto.SHA384, long[:]}} {
		made := c.create(tt.algorithm, tt.algorithm)
		if made.ErrorMessage != "" {
			t.Fatalf("%s: %s", tt.algorithm, made.ErrorMessage)
		}
		pub := publicKey(t, made.CreateKey.PublicKeyPEM)
		if got := publicKey(t, c.public(tt.algorithm).PublicKey.PublicKeyPEM); !got.Equal(pub) || !got.Equal(s.Public(tt.algorithm, 1)) {
			t.Errorf("%s: public half is %v, made was %v", tt.algorithm, got, pub)
		}
		signed := c.sign(tt.algorithm, tt.hash, tt.digest)
		if signed.ErrorMessage != "" || !ecdsa.VerifyASN1(pub, tt.digest, signed.SignMessage.Signature) {
			t.Errorf("%s: signature does not verify: %+v", tt.algorithm, signed)
		}
	}
	again := c.create("ecdsa-p256", "ecdsa-p256")
	if !publicKey(t, again.CreateKey.PublicKeyPEM).Equal(s.Public("ecdsa-p256", 1)) || s.Public("ecdsa-p256", 2) != nil {
		t.Error("creating it again changed the key")
	}
}

// TestMessages: a message comes on stdin and is hashed here; verification is the
// server's.
func TestMessages(t *testing.T) {
	c := newClient(t, vaulttest.New(t))
	c.create("k", "")
	signed := c.call("k", common.MethodArgs{MethodName: "signMessage", SignMessage: &common.SignMessageArgs{}}, "hello")
	digest := sha256.Sum256([]byte("hello"))
	pub := publicKey(t, c.public("k").PublicKey.PublicKeyPEM)
	if signed.ErrorMessage != "" || !ecdsa.VerifyASN1(pub, digest[:], signed.SignMessage.Signature) {
		t.Fatalf("signature of a message does not verify: %+v", signed)
	}
	for message, want := range map[string]string{"hello": "", "hallo": "is not this key's"} {
		got := c.call("k", common.MethodArgs{
			MethodName:      "verifySignature",
			VerifySignature: &common.VerifySignatureArgs{Signature: signed.SignMessage.Signature, VerifyOptions: &common.VerifyOptions{}},
		}, message)
		if (got.ErrorMessage == "") != (want == "") || !strings.Contains(got.ErrorMessage, want) {
			t.Errorf("%s: got %q, want %q", message, got.ErrorMessage, want)
		}
	}
	if got := c.call("k", common.MethodArgs{MethodName: "defaultAlgorithm"}, ""); got.DefaultAlgorithm == nil || got.DefaultAlgorithm.DefaultAlgorithm != "ecdsa-p256" {
		t.Errorf("default algorithm: %+v", got)
	}
	if got := c.call("k", common.MethodArgs{MethodName: "supportedAlgorithms"}, ""); got.SupportedAlgorithms == nil || len(got.SupportedAlgorithms.SupportedAlgorithms) != 2 {
		t.Errorf("supported algorithms: %+v", got)
	}
}

// TestVersions: a reference may name one version, which rotation does not change.
func TestVersions(t *testing.T) {
	s := vaulttest.New(t)
	c := newClient(t, s)
	c.create("k", "ecdsa-p256")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/transit/keys/k/rotate", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", vaulttest.Token)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	digest := sha256.Sum256([]byte("x"))
	for key, version := range map[string]int{"k": 2, "k?version=1": 1, "k?version=2": 2, "hashivault://k?version=1": 1} {
		want := s.Public("k", version)
		if got := publicKey(t, c.public(key).PublicKey.PublicKeyPEM); !got.Equal(want) {
			t.Errorf("%s: not version %d", key, version)
		}
		if got := c.sign(key, crypto.SHA256, digest[:]); got.ErrorMessage != "" || !ecdsa.VerifyASN1(want, digest[:], got.SignMessage.Signature) {
			t.Errorf("%s: not signed by version %d: %s", key, version, got.ErrorMessage)
		}
	}
	for _, got := range []*common.PluginResp{c.public("k?version=3"), c.sign("k?version=3", crypto.SHA256, digest[:])} {
		if !strings.Contains(got.ErrorMessage, "version") {
			t.Errorf("a version that is not there: got %q", got.ErrorMessage)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := vaulttest.New(t)
	c := newClient(t, s)
	c.create("k", "ecdsa-p256")
	digest := sha256.Sum256([]byte("x"))
	for name, tt := range map[string]struct {
		got  *common.PluginResp
		want string
	}{
		"no such key":        {c.public("missing"), "there is no such key in the transit engine"},
		"sign with no key":   {c.sign("missing", crypto.SHA256, digest[:]), "the server answered 400: signing key not found"},
		"another type":       {c.create("k", "ecdsa-p384"), "a key k already, of type"},
		"unknown algorithm":  {c.create("x", "rsa-2048"), "is not supported"},
		"hash":               {c.sign("k", crypto.SHA1, digest[:20]), "hash function 3 is not supported"},
		"short digest":       {c.sign("k", crypto.SHA256, digest[:31]), "digest has 31 bytes"},
		"unknown method":     {c.call("k", common.MethodArgs{MethodName: "decrypt"}, ""), "unsupported method"},
		"method without it":  {c.call("k", common.MethodArgs{MethodName: "signMessage"}, ""), "unsupported method"},
		"path in the key":    {c.public("../auth/token/lookup-self"), "names no key"},
		"slash in the key":   {c.public("a/b"), "names no key"},
		"protocol":           {c.run("v2", "{}", ""), "protocol version"},
		"not JSON":           {c.run("v1", "{", ""), "read arguments"},
		"no init options":    {c.run("v1", `{"methodName":"publicKey"}`, ""), "initOptions or methodName is missing"},
		"wrong token":        {newClient(t, s, "VAULT_TOKEN=hvs.other").public("k"), "the server answered 403: permission denied"},
		"no address":         {newClient(t, s, "VAULT_ADDR=").public("k"), "VAULT_ADDR is not set"},
		"plain http":         {newClient(t, s, "VAULT_ADDR=http://vault.example:8200").public("k"), "without TLS everybody on the way reads the token"},
		"password in it":     {newClient(t, s, "VAULT_ADDR=https://u:geheim@vault.example").public("k"), "is not a URL such as"},
		"no token":           {newClient(t, s, "VAULT_TOKEN=").public("k"), "neither VAULT_TOKEN nor VAULT_TOKEN_FILE"},
		"two tokens":         {newClient(t, s, "VAULT_TOKEN_FILE=x").public("k"), "keep one"},
		"unknown authority":  {newClient(t, s, "VAULT_CACERT=").public("k"), "certificate signed by unknown authority"},
		"no such authority":  {newClient(t, s, "VAULT_CACERT=missing").public("k"), "read VAULT_CACERT"},
		"another name":       {newClient(t, s, "VAULT_TLS_SERVER_NAME=other.test").public("k"), "not other.test"},
		"half a certificate": {newClient(t, s, "VAULT_CLIENT_CERT=x").public("k"), "go together"},
		"another engine":     {newClient(t, s, "TRANSIT_SECRET_ENGINE_PATH=kv").public("k"), "the server has no such key or transit engine"},
		"path as engine":     {newClient(t, s, "TRANSIT_SECRET_ENGINE_PATH=../sys").public("k"), "want the path of a transit engine"},
	} {
		if !strings.Contains(tt.got.ErrorMessage, tt.want) || strings.Contains(tt.got.ErrorMessage, "geheim") {
			t.Errorf("%s: got %q, want %q", name, tt.got.ErrorMessage, tt.want)
		}
	}
	s.Seal()
	if got := c.public("k"); !strings.Contains(got.ErrorMessage, "the server answered 503: Vault is sealed") {
		t.Errorf("sealed: got %q", got.ErrorMessage)
	}
	s.Unseal()
	symmetric(t, s)
	if got := c.public("aes"); !strings.Contains(got.ErrorMessage, `of type "aes256-gcm96", want`) {
		t.Errorf("a key that cannot sign: got %q", got.ErrorMessage)
	}
}

// symmetric makes a key of the engine's default type.
func symmetric(t *testing.T, s *vaulttest.Server) {
	t.Helper()
	v, err := newVault(func(n string) string { return newClient(t, s).env[n] })
	if err != nil {
		t.Fatal(err)
	}
	if err := v.call(t.Context(), http.MethodPost, "keys/aes", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestTokenFile(t *testing.T) {
	s := vaulttest.New(t)
	newClient(t, s).create("k", "")
	path := filepath.Join(t.TempDir(), "token")
	for _, tt := range []struct {
		data string
		mode os.FileMode
		want string
	}{
		{vaulttest.Token + "\n", 0o600, ""},
		{vaulttest.Token, 0o640, ""},
		{vaulttest.Token, 0o644, "others may read"},
		{"", 0o600, "does not hold one line"},
		{vaulttest.Token + "\nmore\n", 0o600, "does not hold one line"},
	} {
		if err := os.WriteFile(path, []byte(tt.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		got := newClient(t, s, "VAULT_TOKEN=", "VAULT_TOKEN_FILE="+path).public("k").ErrorMessage
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%q with mode %o: got %q, want %q", tt.data, tt.mode, got, tt.want)
		}
	}
}

// TestRedirects: a standby may send us on, but not to where there is no TLS.
func TestRedirects(t *testing.T) {
	s := vaulttest.New(t)
	newClient(t, s).create("k", "")
	var seen []string
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("X-Vault-Token"))
	}))
	defer plain.Close()
	for target, want := range map[string]string{s.URL: "", plain.URL: "redirects to http"} {
		standby := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		standby.StartTLS()
		defer standby.Close()
		digest := sha256.Sum256([]byte("x"))
		got := newClient(t, s, "VAULT_ADDR="+standby.URL).sign("k", crypto.SHA256, digest[:]).ErrorMessage
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("to %s: got %q, want %q", target, got, want)
		}
	}
	if len(seen) > 0 {
		t.Errorf("the token went out in the clear: %q", seen)
	}
	agent := httptest.NewServer(http.RedirectHandler("http://vault.invalid:8200/v1/transit/keys/k", http.StatusTemporaryRedirect))
	defer agent.Close()
	digest := sha256.Sum256([]byte("x"))
	if got := newClient(t, s, "VAULT_ADDR="+agent.URL).sign("k", crypto.SHA256, digest[:]).ErrorMessage; !strings.Contains(got, "redirects to http") {
		t.Errorf("from this machine in the clear to another one: got %q, want a refusal", got)
	}
}

func TestUsage(t *testing.T) {
	var out, remarks bytes.Buffer
	code := run(t.Context(), []string{"sigstore-kms-hashivault"}, os.Getenv, strings.NewReader(""), &out, &remarks)
	if code != 2 || out.Len() > 0 || !strings.Contains(remarks.String(), "VAULT_TOKEN_FILE") {
		t.Errorf("got %d, %q, %q; want 2 and what it is", code, out.String(), remarks.String())
	}
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add(200, []byte(`{"data":{"type":"ecdsa-p256","latest_version":1,"keys":{"1":{"public_key":"x"}}}}`))
	f.Add(400, []byte(`{"errors":["signing key not found"]}`))
	f.Add(204, []byte{})
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		var answer keyAnswer
		err := decodeAnswer(status, data, &answer)
		if err == nil && status != http.StatusOK && status != http.StatusNoContent {
			t.Fatalf("%d with %q is taken for an answer", status, data)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("hashivault://ca?version=1", "vault:v1:MEUCIQ==")
	f.Add("ca", "vault:v12:AA==")
	f.Fuzz(func(t *testing.T, id, signature string) {
		if r, err := parseReference(id); err == nil && (strings.ContainsAny(r.name, "/?#%:") || strings.Contains(r.name, "..") && strings.Trim(r.name, ".") == "") {
			t.Fatalf("%q is taken for key %q", id, r.name)
		}
		if sig, err := parseSignature(signature); err == nil && len(sig) == 0 {
			t.Fatalf("%q is taken for a signature", signature)
		}
	})
}
