package kms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"sigstack/internal/fault"
	"sigstack/internal/keys/kms"
	"sigstack/internal/keys/kmstest"
)

func TestMain(m *testing.M) { os.Exit(kmstest.Main(m)) }

func open(tb testing.TB, resource string, opts kms.Options) *kms.Key {
	tb.Helper()
	k, err := kms.Open("fake://"+resource, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestKey(t *testing.T) {
	service := kmstest.New(t)
	dir, key := service.Plugins, service.NewKey(t, "good")
	k := open(t, "good", kms.Options{Dir: dir})
	pub, err := k.Public()
	if err != nil || !key.PublicKey.Equal(pub) {
		t.Fatalf("public half: got %v, %v; want %v", pub, err, key.PublicKey)
	}
	made, err := k.Create("ecdsa-p256")
	if err != nil || !key.PublicKey.Equal(made) {
		t.Errorf("created: got %v, %v; want %v", made, err, key.PublicKey)
	}
	if _, err := k.Create("ecdsa-p521"); err == nil || !strings.Contains(err.Error(), "cannot make a key of algorithm \"ecdsa-p521\"") {
		t.Errorf("the plugin's own words are lost: %v", err)
	}
	short, long := sha256.Sum256([]byte("x")), sha512.Sum384([]byte("x"))
	for hash, digest := range map[crypto.Hash][]byte{crypto.SHA256: short[:], crypto.SHA384: long[:]} {
		sig, err := k.Sign(digest, hash)
		if err != nil || !ecdsa.VerifyASN1(pub, digest, sig) {
			t.Errorf("%v: %x, %v does not verify", hash, sig, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	service := kmstest.New(t)
	dir, key := service.Plugins, service.NewKey(t, "good")
	k := open(t, "good", kms.Options{Dir: dir})
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			digest := sha256.Sum256([]byte(rand.Text()))
			if sig, err := k.Sign(digest[:], crypto.SHA256); err != nil || !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				t.Errorf("%x, %v does not verify", sig, err)
			}
		})
	}
	wg.Wait()
}

// TestPluginsThatFail: each way to fail is an error that says which, in time, and
// means that the service is unavailable.
func TestPluginsThatFail(t *testing.T) {
	service := kmstest.New(t)
	dir := service.Plugins
	service.NewKey(t, "two")
	service.NewKey(t, "rsa")
	t.Setenv(kmstest.TokenVariable, "hvs.secret-of-the-service")
	for resource, want := range map[string]string{
		"slow":    "did not answer in time",
		"flood":   "its answer has more than 65536 bytes",
		"killed":  "could not be run",
		"silent":  "its answer is not JSON: EOF (exit status 1)",
		"garbage": "more than one JSON value",
		"null":    "its answer is null",
		"empty":   "sent no public key",
		"fails":   "token [redacted] is not allowed to",
		"two":     "not one PEM block",
	} {
		timeout := 10 * time.Second
		if resource == "slow" {
			timeout = 300 * time.Millisecond
		}
		_, err := open(t, resource, kms.Options{Dir: dir, Timeout: timeout}).Public()
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v of kind %d, want %q of kind fault.Unavailable", resource, err, fault.KindOf(err), want)
		}
	}
	if _, err := open(t, "missing", kms.Options{Dir: dir}).Public(); fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "there is no such key") {
		t.Errorf("missing: got %v of kind %d, want fault.NotFound", err, fault.KindOf(err))
	}
	service.Stop(t)
	if _, err := open(t, "missing", kms.Options{Dir: dir}).Public(); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("missing, with the service away: got %v of kind %d, want fault.Unavailable", err, fault.KindOf(err))
	}
	service.Start(t)
	if _, err := open(t, "rsa", kms.Options{Dir: dir}).Public(); err == nil || !strings.Contains(err.Error(), "want ECDSA") {
		t.Errorf("an RSA key: got %v", err)
	}
	if _, err := open(t, "empty", kms.Options{Dir: dir}).Sign(make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "no signature") {
		t.Errorf("an answer without signature: got %v", err)
	}
}

// TestSecretsStay: the plugin's own reach it and not the log; ours do not reach it.
func TestSecretsStay(t *testing.T) {
	dir := kmstest.New(t).Plugins
	t.Setenv(kmstest.TokenVariable, "hvs.secret-of-the-service")
	t.Setenv("SIGSTACK_PASSPHRASE", "passphrase-of-the-stack")
	t.Setenv("SIGSTORE_ID_TOKEN", "token-of-a-user")
	var log bytes.Buffer
	opts := kms.Options{Dir: dir, Log: slog.New(slog.NewJSONHandler(&log, nil))}
	_, err := open(t, "fails", opts).Public()
	if err == nil || !strings.Contains(log.String(), "asked with [redacted]") {
		t.Errorf("got %v and the log %s, want what the plugin wrote", err, log.String())
	}
	_, envErr := open(t, "environment", opts).Public()
	for _, secret := range []string{"hvs.secret", "passphrase-of", "token-of-a-user", `\u001b`} {
		for what, text := range map[string]string{"log": log.String(), "error": err.Error(), "environment": envErr.Error()} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q: %s", what, secret, text)
			}
		}
	}
	if !strings.Contains(envErr.Error(), "FAKE_KMS_TOKEN=[redacted]") {
		t.Errorf("the plugin's own variables are missing: %v", envErr)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := kmstest.New(t).Plugins
	for uri, want := range map[string]string{
		"fake:key":             "want SCHEME://KEY",
		"fake://":              "want SCHEME://KEY",
		"fake://user@host/key": "want SCHEME://KEY",
		"fake://a b":           "want SCHEME://KEY",
		"../fake://a":          "want SCHEME://KEY",
		"other://key":          "no program sigstore-kms-other in " + dir,
	} {
		if _, err := kms.Open(uri, kms.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", uri, err, want)
		}
	}
	t.Setenv("PATH", dir)
	if _, err := kms.Open("fake://key", kms.Options{}); err != nil {
		t.Errorf("on PATH: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"signMessage":{"signature":"AAAA"}}`))
	f.Add([]byte(`{"errorMessage":"no","publicKey":null}`))
	f.Add([]byte(`{}{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		resp, err := kms.Decode(data)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(resp)
		if err != nil {
			t.Fatal(err)
		}
		again, err := kms.Decode(encoded)
		if err != nil || !same(resp, again) {
			t.Fatalf("%q is read as %s and that as %+v, %v", data, encoded, again, err)
		}
	})
}

func same(a, b *common.PluginResp) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func BenchmarkSign(b *testing.B) {
	service := kmstest.New(b)
	service.NewKey(b, "good")
	k := open(b, "good", kms.Options{Dir: service.Plugins})
	digest := sha256.Sum256([]byte("x"))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Sign(digest[:], crypto.SHA256); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
