package keys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"sigstack/internal/keys"
)

func TestSecret(t *testing.T) {
	for _, pass := range []string{"", "correct horse"} {
		dir := t.TempDir()
		store := keys.Open(dir, []byte(pass))
		if err := store.CreateSecret("oidc", created); err != nil {
			t.Fatal(err)
		}
		got, err := keys.Open(dir, []byte(pass)).Secret("oidc")
		if err != nil || len(got) != keys.SecretSize {
			t.Fatalf("passphrase %q: %d bytes, %v", pass, len(got), err)
		}
		if again, err := store.Secret("oidc"); err != nil || !bytes.Equal(again, got) {
			t.Errorf("read twice: %x and %x, %v", got, again, err)
		}
		file, err := os.ReadFile(filepath.Join(dir, "oidc.secret"))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CreateSecret("oidc", created); !errors.Is(err, fs.ErrExist) {
			t.Errorf("created over an existing one: %v", err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "oidc.secret")); err != nil || !bytes.Equal(after, file) {
			t.Errorf("refused creation changed the file: %v", err)
		}
		if _, err := keys.Open(dir, []byte("wrong")).Secret("oidc"); err == nil {
			t.Errorf("passphrase %q: another one opens the secret, too", pass)
		}
	}
	if _, err := keys.Open(t.TempDir(), nil).Secret("oidc"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing secret: got %v, want fs.ErrNotExist", err)
	}
}

func TestAKeyIsNoSecret(t *testing.T) {
	dir := t.TempDir()
	store := keys.Open(dir, nil)
	if _, err := store.Create("rekor", keys.Ed25519, created); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "rekor.key"), filepath.Join(dir, "rekor.secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Secret("rekor"); err == nil {
		t.Error("a key file was read as a secret")
	}
}
