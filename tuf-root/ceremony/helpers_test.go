package ceremony_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

const day = 24 * time.Hour

var start = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)

func newKey(tb testing.TB, kind int) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	if kind%2 == 0 {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func need(threshold int, keys ...crypto.Signer) *tufroot.RoleKeys {
	k := &tufroot.RoleKeys{Threshold: threshold}
	for _, key := range keys {
		k.Keys = append(k.Keys, key.Public())
	}
	return k
}

// people are three signers, each with one key for root and targets.
type people struct {
	keys   []crypto.Signer
	online tufroot.Online
}

func newPeople(tb testing.TB) people {
	tb.Helper()
	return people{
		[]crypto.Signer{newKey(tb, 0), newKey(tb, 1), newKey(tb, 0)},
		tufroot.Online{Snapshot: newKey(tb, 1), Timestamp: newKey(tb, 1)},
	}
}

var names = []string{"Ada", "Bo", "Cleo"}

func config(dir string, now time.Time) tufroot.Config {
	return tufroot.Config{Dir: dir, Now: func() time.Time { return now }}
}

func targetsOf(content string) []trust.Target {
	return []trust.Target{
		{Name: "trusted_root.json", Data: []byte(content)},
		{Name: "rekor.pub", Data: []byte("key"), Custom: []byte(`{"sigstore":{"usage":"Rekor"}}`)},
	}
}

// first is the proposal of a first root with 2 of 3 keys.
func (p people) first(tb testing.TB) ceremony.Proposal {
	tb.Helper()
	root, err := tufroot.FirstRoot(config("", start), tufroot.RootChange{
		Root: need(2, p.keys...), Targets: need(2, p.keys...),
		Snapshot: need(1, p.online.Snapshot), Timestamp: need(1, p.online.Timestamp),
	})
	if err != nil {
		tb.Fatal(err)
	}
	targets, err := tufroot.FirstTargets(config("", start), targetsOf("one"))
	if err != nil {
		tb.Fatal(err)
	}
	return ceremony.Proposal{Title: "First root", Root: root, Targets: targets, Files: targetsOf("one"), Now: start}
}

func (p people) start(tb testing.TB) (*ceremony.Ceremony, string) {
	tb.Helper()
	folder := filepath.Join(tb.TempDir(), "medium")
	c, err := ceremony.Start(folder, p.first(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return c, folder
}

// sign opens a folder as a signer does and signs.
func sign(folder string, key crypto.Signer, who string, now time.Time) error {
	c, err := ceremony.Open(folder)
	if err != nil {
		return err
	}
	return c.Sign(key, who, now)
}

func open(tb testing.TB, folder string) *ceremony.Ceremony {
	tb.Helper()
	c, err := ceremony.Open(folder)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func mustSign(tb testing.TB, folder string, p people, who ...int) {
	tb.Helper()
	for _, i := range who {
		if err := sign(folder, p.keys[i], names[i], start.Add(time.Duration(i+1)*time.Hour)); err != nil {
			tb.Fatal(err)
		}
	}
}

func copyFolder(tb testing.TB, folder string) string {
	tb.Helper()
	to := filepath.Join(tb.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(folder)); err != nil {
		tb.Fatal(err)
	}
	return to
}

func read(tb testing.TB, folder, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func write(tb testing.TB, folder, name string, data []byte) {
	tb.Helper()
	path := filepath.Join(folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, data, 0o600)); err != nil {
		tb.Fatal(err)
	}
}

// files lists a folder's files, without temporary ones.
func files(tb testing.TB, folder string) []string {
	tb.Helper()
	var out []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name()[0] == '.' {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func keyID(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	id, err := tufroot.KeyID(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

func signatureFile(tb testing.TB, role string, key crypto.Signer) string {
	tb.Helper()
	return "signatures/" + role + "-" + keyID(tb, key) + ".json"
}
