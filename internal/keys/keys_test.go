package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/keys"
)

var created = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)

func TestCreateThenLoad(t *testing.T) {
	for _, pass := range []string{"", "correct horse"} {
		for _, alg := range []keys.Algorithm{keys.ECDSAP256, keys.ECDSAP384, keys.Ed25519} {
			t.Run(string(alg)+"/"+pass, func(t *testing.T) {
				dir := t.TempDir()
				made, err := keys.Open(dir, []byte(pass)).Create("rekor", alg, created)
				if err != nil {
					t.Fatal(err)
				}
				got, err := keys.Open(dir, []byte(pass)).Load("rekor")
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.SPKI(), made.SPKI()) || !got.Created.Equal(created.Truncate(time.Second)) {
					t.Errorf("loaded %x of %v, want %x of %v", got.SPKI(), got.Created, made.SPKI(), created)
				}
				if err := got.Test(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// misfit signs with another key than the one it shows.
type misfit struct{ crypto.Signer }

func (m misfit) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return other.Sign(r, digest, opts)
}

func TestTestFindsHalvesThatDoNotFit(t *testing.T) {
	k, err := keys.Ephemeral("k", keys.ECDSAP256, created)
	if err != nil {
		t.Fatal(err)
	}
	k.Signer = misfit{k.Signer}
	if err := k.Test(); err == nil {
		t.Error("a key whose halves do not fit passed")
	}
}

func TestPrivateHalfIsOutOfReach(t *testing.T) {
	k, err := keys.Ephemeral("k", keys.ECDSAP256, created)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Signer.(*ecdsa.PrivateKey); ok {
		t.Error("the private key can be asserted out of a Key")
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	plain, locked := keys.Open(dir, nil), keys.Open(dir, []byte("right"))
	if _, err := plain.Create("plain", keys.ECDSAP256, created); err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Create("locked", keys.ECDSAP256, created); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "plain.key"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Create("plain", keys.ECDSAP256, created)
	wantIs(t, "create over an existing key", err, fs.ErrExist)
	after, err := os.ReadFile(filepath.Join(dir, "plain.key"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("refused creation changed the key file: %v", err)
	}
	_, err = plain.Load("missing")
	wantIs(t, "load a missing key", err, fs.ErrNotExist)
	_, err = keys.Open(dir, []byte("wrong")).Load("locked")
	wantIs(t, "load with the wrong passphrase", err, keys.ErrPassphrase)
	if got, want := err.Error(), "load key locked: wrong passphrase"; got != want {
		t.Errorf("load with the wrong passphrase: %q, want %q", got, want)
	}
	_, err = plain.Load("locked")
	wantIs(t, "load without a passphrase", err, keys.ErrNoPassphrase)
	_, err = keys.Open(dir, []byte("right")).Load("plain")
	wantIs(t, "load a clear key with a passphrase", err, keys.ErrNotEncrypted)
	for _, name := range []string{"", "../x", "UP", "a/b"} {
		if _, err := plain.Create(name, keys.ECDSAP256, created); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "plain.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(dir, nil).Load("plain"); err == nil {
		t.Error("a key file that others may read was loaded")
	}
}

func wantIs(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// pemKey is a key file in the clear with a key on curve.
func pemKey(tb testing.TB, curve elliptic.Curve) []byte {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"Created": "2026-03-01T12:00:00Z"}, Bytes: der})
}

func TestLoadTakesWhatCreateMakesOnly(t *testing.T) {
	dir := t.TempDir()
	good := pemKey(t, elliptic.P256())
	for _, tt := range []struct {
		name string
		data []byte
		want string // "" accepts
	}{
		{"good", good, ""},
		{"small-curve", pemKey(t, elliptic.P224()), "P-224 is not supported"},
		{"two-blocks", append(good, good...), "not one PEM block"},
		{"undated", bytes.Replace(good, []byte("Created"), []byte("Creator"), 1), "header Created"},
		{"other-type", bytes.ReplaceAll(good, []byte("PRIVATE KEY"), []byte("PUBLIC KEY")), `PEM type is "PUBLIC KEY"`},
		{"empty", nil, "not one PEM block"},
		{"large", bytes.Repeat([]byte("x"), 65<<10), "too many"},
	} {
		if err := os.WriteFile(filepath.Join(dir, tt.name+".key"), tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := keys.Open(dir, nil).Load(tt.name)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	if _, err := keys.Open(dir, nil).Create("seed", keys.Ed25519, created); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "seed.key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(pemKey(f, elliptic.P224()))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "k.key"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := keys.Open(dir, nil).Load("k")
		if err != nil {
			return
		}
		if err := k.Test(); err != nil || len(k.SPKI()) == 0 {
			t.Fatalf("accepted a key that cannot be used: %v, public half %x", err, k.SPKI())
		}
	})
}

// TestOneKeyHasOneName: a log and a CA with one key could sign each other's words.
func TestOneKeyHasOneName(t *testing.T) {
	dir := t.TempDir()
	if _, err := keys.Open(dir, nil).Create("ca", keys.ECDSAP256, created); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rekor.key"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	store := keys.Open(dir, nil)
	for range 2 {
		if _, err := store.Load("ca"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Load("rekor"); err == nil || !strings.Contains(err.Error(), "it is the key ca, too") {
		t.Errorf("the same key under another name: %v, want a refusal", err)
	}
}
