package keys_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
)

func TestNamesAndInfo(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	locked, err := keys.Open(dir, []byte("correct horse")).Create("locked", keys.ECDSAP384, created)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := keys.Open(dir, nil).Create("plain", keys.Ed25519, created)
	if err != nil {
		t.Fatal(err)
	}
	service.NewKey(t, "k")
	there, err := withService(dir, service).Adopt("there", "fake://k", created)
	if err != nil {
		t.Fatal(err)
	}
	for _, stray := range []string{"ca.chain.pem", "oidc.secret", ".plain.key.tmp-1"} {
		if err := os.WriteFile(filepath.Join(dir, stray), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := keys.Open(dir, nil) // without passphrase and plugins
	names, err := store.Names()
	if want := []string{"locked", "plain", "there"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v; want %q", names, err, want)
	}
	for _, tt := range []struct {
		key  keys.Key
		want keys.Info
	}{
		{locked, keys.Info{Name: "locked", Encrypted: true, Algorithm: keys.ECDSAP384}},
		{plain, keys.Info{Name: "plain", Algorithm: keys.Ed25519}},
		{there, keys.Info{Name: "there", URI: "fake://k", Algorithm: keys.ECDSAP256}},
	} {
		tt.want.Created, tt.want.SPKI = tt.key.Created, tt.key.SPKI()
		got, err := store.Info(tt.want.Name)
		if err != nil || got.Name != tt.want.Name || got.URI != tt.want.URI || got.Encrypted != tt.want.Encrypted ||
			got.Algorithm != tt.want.Algorithm || !got.Created.Equal(tt.want.Created) || !bytes.Equal(got.SPKI, tt.want.SPKI) {
			t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
		}
	}
	_, err = store.Info("missing")
	wantIs(t, "info of a missing key", err, fs.ErrNotExist)
}

// TestFilesOfEarlierVersions have no public half in their headers.
func TestFilesOfEarlierVersions(t *testing.T) {
	dir := t.TempDir()
	for name, pass := range map[string]string{"locked": "correct horse", "plain": ""} {
		made, err := keys.Open(dir, []byte(pass)).Create(name, keys.ECDSAP256, created)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".key")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		header := []byte("Public: " + base64.StdEncoding.EncodeToString(made.SPKI()) + "\n")
		if !bytes.Contains(data, header) {
			t.Fatalf("%s has no line %q", data, header)
		}
		if err := os.WriteFile(path, bytes.Replace(data, header, nil, 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := keys.Open(dir, []byte(pass)).Load(name); err != nil || !bytes.Equal(k.SPKI(), made.SPKI()) {
			t.Errorf("%s: loaded %x, %v; want %x", name, k.SPKI(), err, made.SPKI())
		}
		info, err := keys.Open(dir, nil).Info(name)
		if name == "locked" && !errors.Is(err, keys.ErrLocked) || name == "plain" && (err != nil || !bytes.Equal(info.SPKI, made.SPKI())) {
			t.Errorf("%s: got %x, %v", name, info.SPKI, err)
		}
	}
}

// TestChangedHeader: what is listed is what is used.
func TestChangedHeader(t *testing.T) {
	dir := t.TempDir()
	made, err := keys.Open(dir, nil).Create("k", keys.ECDSAP256, created)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Ephemeral("other", keys.ECDSAP256, created)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "k.key")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	data = bytes.Replace(data, []byte(b64(made.SPKI())), []byte(b64(other.SPKI())), 1)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(dir, nil).Load("k"); err == nil || !strings.Contains(err.Error(), "header Public is not of this key") {
		t.Errorf("got %v, want a refusal", err)
	}
}
