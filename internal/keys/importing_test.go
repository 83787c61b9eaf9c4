package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
)

// foreign returns a key in each form that other programs write.
func foreign(tb testing.TB) (key *ecdsa.PrivateKey, forms map[string][]byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	box, err := encrypted.Encrypt(pkcs8, []byte("cosign's"))
	if err != nil {
		tb.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return key, map[string][]byte{
		"PKCS#8":       block("PRIVATE KEY", pkcs8),
		"SEC 1":        block("EC PRIVATE KEY", sec1),
		"ecparam":      append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), block("EC PRIVATE KEY", sec1)...),
		"cosign":       block("ENCRYPTED SIGSTORE PRIVATE KEY", box),
		"older cosign": block("ENCRYPTED COSIGN PRIVATE KEY", box),
	}
}

func TestImport(t *testing.T) {
	key, forms := foreign(t)
	for name, file := range forms {
		store := keys.Open(t.TempDir(), nil)
		got, err := store.Import("k", file, []byte("cosign's"), created)
		if err != nil || !key.PublicKey.Equal(got.Public()) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, key.PublicKey)
			continue
		}
		_, err = store.Import("k", file, []byte("cosign's"), created)
		wantIs(t, name+" over an existing key", err, fs.ErrExist)
		if _, err := store.Import("other", file, []byte("cosign's"), created); err == nil || !strings.Contains(err.Error(), "it is the key k, too") {
			t.Errorf("%s under two names: got %v", name, err)
		}
	}
}

// TestImportOfATwin: what the store holds counts, not what this process has
// loaded of it: a key's second name is refused whether the first is of a file,
// with or without a passphrase, or of a reference.
func TestImportOfATwin(t *testing.T) {
	service := kmstest.New(t)
	there := service.NewKey(t, "there")
	der, err := x509.MarshalPKCS8PrivateKey(there)
	if err != nil {
		t.Fatal(err)
	}
	same := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	devices := keys.WithDevices(keys.Devices{PluginDir: service.Plugins})
	adopt := func(s *keys.Store, name string) error {
		_, err := s.Adopt(name, "fake://there", created)
		return err
	}
	file := func(s *keys.Store, name string) error {
		_, err := s.Import(name, same, nil, created)
		return err
	}
	for _, tt := range []struct {
		name          string
		passphrase    string
		first, second func(*keys.Store, string) error
	}{
		{"file, then file", "", file, file},
		{"encrypted file, then file", "secret", file, file},
		{"encrypted file, then reference", "secret", file, adopt},
		{"reference, then reference", "", adopt, adopt},
		{"reference, then file", "", adopt, file},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() *keys.Store { return keys.Open(dir, []byte(tt.passphrase), devices) }
			if err := tt.first(open(), "ca"); err != nil {
				t.Fatal(err)
			}
			if err := tt.second(open(), "tsa"); err == nil || !strings.Contains(err.Error(), "it is the key ca, too") {
				t.Errorf("got %v, want that it is the key ca, too", err)
			}
			if names, err := open().Names(); err != nil || len(names) != 1 {
				t.Errorf("keys %q, %v; want ca alone", names, err)
			}
			if _, err := open().Import("other", pemKey(t, elliptic.P256()), nil, created); err != nil {
				t.Errorf("another key: %v", err)
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := file(keys.Open(dir, nil), "tsa"); err == nil || !strings.Contains(err.Error(), "whether it is the key ca") {
		t.Errorf("beside a key that cannot be read: got %v", err)
	}
}

func TestImportRefuses(t *testing.T) {
	_, forms := foreign(t)
	store := keys.Open(t.TempDir(), nil)
	_, err := store.Import("k", forms["cosign"], []byte("wrong"), created)
	wantIs(t, "the wrong password", err, keys.ErrPassphrase)
	_, err = store.Import("k", forms["cosign"], nil, created)
	wantIs(t, "no password", err, keys.ErrNoPassphrase)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}})
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"RSA":              {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rsaDER}), "want ECDSA or Ed25519"},
		"P-224":            {pemKey(t, elliptic.P224()), "P-224 is not supported"},
		"old encryption":   {old, "openssl pkcs8 -topk8 -nocrypt"},
		"encrypted PKCS#8": {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "openssl pkcs8 -topk8 -nocrypt"},
		"a public key":     {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), "want a private key"},
		"two keys":         {append(forms["SEC 1"], forms["SEC 1"]...), "one private key"},
		"parameters only":  {forms["ecparam"][:60], "one private key"},
		"not PEM":          {[]byte("x"), "one private key"},
		"damaged":          {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "parse PKCS#8"},
		"too large":        {make([]byte, 65<<10), "too many"},
		"a damaged SEC 1":  {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}}), "parse SEC 1"},
	} {
		_, err := store.Import("k", tt.file, nil, created)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if _, err := store.Load("k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused import left something: %v", err)
	}
}

func FuzzImport(f *testing.F) {
	_, forms := foreign(f)
	for _, file := range forms {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "ENCRYPTED") {
			return // its scrypt parameters may ask for more than a fuzzer has
		}
		k, err := keys.Open(t.TempDir(), nil).Import("k", data, nil, created)
		if err == nil && k.Test() != nil {
			t.Fatalf("imported a key that cannot be used: %v", k.Test())
		}
	})
}
