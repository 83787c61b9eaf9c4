package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/keys"
)

// TestNothingPrintsAKey: whoever prints a key, a store or a struct with one in it
// prints no private half and no passphrase, in any of the usual ways and forms.
func TestNothingPrintsAKey(t *testing.T) {
	const passphrase = "correct horse battery staple"
	dir := t.TempDir()
	plain := keys.Open(dir, nil)
	key, err := plain.Create("k", keys.Ed25519, created)
	if err != nil {
		t.Fatal(err)
	}
	store := keys.Open(dir, []byte(passphrase))
	secrets := map[string]bool{}
	for _, secret := range [][]byte{privateBytes(t, filepath.Join(dir, "k.key")), []byte(passphrase)} {
		secrets[string(secret)] = true
		secrets[hex.EncodeToString(secret)] = true
		secrets[strings.ToUpper(hex.EncodeToString(secret))] = true
		secrets[base64.StdEncoding.EncodeToString(secret)[:20]] = true
		secrets[strings.Trim(fmt.Sprintf("%d", secret), "[]")] = true
		secrets[fmt.Sprintf("%#v", secret)[len("[]byte{"):60]] = true
	}
	type inside struct { // fmt calls no methods on unexported fields
		key    keys.Key
		store  *keys.Store
		signer any
	}
	for _, v := range []any{key, &key, key.Signer, store, []keys.Key{key}, inside{key, store, key.Signer}, &inside{key, store, key.Signer}} {
		var texts []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("v", v))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("v", v))
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%T: %v", v, err)
		}
		for _, text := range append(texts, log.String(), string(encoded)) {
			for secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%T is printed as %s, which holds a secret", v, text)
				}
			}
		}
	}
	if got := fmt.Sprintf("%+v", key); got != "key k" {
		t.Errorf("a key prints as %q, want its name", got)
	}
}

// privateBytes reads the seed out of a key file in the clear.
func privateBytes(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return key.(ed25519.PrivateKey).Seed()
}
