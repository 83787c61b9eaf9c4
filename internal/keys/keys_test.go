package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	_, err = plain.Load("locked")
	wantIs(t, "load without a passphrase", err, keys.ErrPassphrase)
	_, err = keys.Open(dir, []byte("right")).Load("plain")
	wantIs(t, "load a clear key with a passphrase", err, keys.ErrNoEncrypted)
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
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "k.key"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := keys.Open(dir, nil).Load("k")
		if err == nil && (len(k.SPKI()) == 0 || k.Created.IsZero() && !bytes.Contains(data, []byte("0001-01-01"))) {
			t.Fatalf("accepted a key without public half or time: %+v", k)
		}
	})
}
