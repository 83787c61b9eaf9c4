package keys_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/keys/token"
)

func TestMain(m *testing.M) { os.Exit(kmstest.Main(m)) }

// withService returns a store that reaches the keys of s.
func withService(dir string, s *kmstest.Service, options ...keys.Option) *keys.Store {
	return keys.Open(dir, nil, append(options, keys.WithDevices(keys.Devices{PluginDir: s.Plugins}))...)
}

func TestAdoptThenLoad(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	want := service.NewKey(t, "k1")
	adopted, err := withService(dir, service).Adopt("ca", "fake://k1", created)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := withService(dir, service).Load("ca")
	if err != nil {
		t.Fatal(err)
	}
	for what, k := range map[string]keys.Key{"adopted": adopted, "loaded": loaded} {
		if !want.PublicKey.Equal(k.Public()) || k.URI() != "fake://k1" || k.Created.Unix() != created.Unix() {
			t.Errorf("%s: got %v at %q of %v, want %v at fake://k1 of %v", what, k.Public(), k.URI(), k.Created, want.PublicKey, created)
		}
		before, failure := k.Use()
		if err := k.Test(); err != nil || failure != nil {
			t.Errorf("%s: %v, earlier %v", what, err, failure)
		}
		if after, _ := k.Use(); after != before+1 {
			t.Errorf("%s: %d signatures after one more than %d", what, after, before)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.ref")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("reference: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestCreateAt(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	store := withService(dir, service)
	made, err := store.CreateAt("ca", "fake://k1", keys.ECDSAP384, created)
	if err != nil {
		t.Fatal(err)
	}
	if alg, err := keys.AlgorithmOf(made.Public()); err != nil || alg != keys.ECDSAP384 {
		t.Errorf("made a key of %s, %v; want %s", alg, err, keys.ECDSAP384)
	}
	_, err = store.CreateAt("other", "fake://k1", keys.ECDSAP256, created)
	wantIs(t, "create where a key is", err, keys.ErrKeyThere)
	_, err = store.Adopt("other", "fake://nothing", created)
	wantIs(t, "adopt what is not there", err, keys.ErrNoKeyThere)
	if _, err = store.Adopt("other", "fake://k1", created); err == nil || !strings.Contains(err.Error(), "it is the key ca, too") {
		t.Errorf("one key under two names: got %v", err)
	}
	service.NewKey(t, "k2")
	_, err = store.Adopt("ca", "fake://k2", created)
	wantIs(t, "adopt over a reference", err, fs.ErrExist)
	_, err = store.Create("ca", keys.ECDSAP256, created)
	wantIs(t, "create a file beside a reference", err, fs.ErrExist)
	if _, err := store.CreateAt("ed", "fake://k3", keys.Ed25519, created); err == nil || !strings.Contains(err.Error(), "is ECDSA") {
		t.Errorf("Ed25519: got %v", err)
	}
	for _, name := range []string{"other", "ed"} {
		if _, err := os.Stat(filepath.Join(dir, name+".ref")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a refused key left %s.ref: %v", name, err)
		}
	}
}

// TestCreateAtWhatDoesNotAnswer: a service that is away, or answers something
// else than that there is no key, is not asked to make one: it might answer with
// one that is there.
func TestCreateAtWhatDoesNotAnswer(t *testing.T) {
	service := kmstest.New(t)
	for _, key := range []string{"silent-once", "garbage", "fails", "rsa"} {
		if key == "rsa" {
			service.NewKey(t, key)
		}
		dir := t.TempDir()
		_, err := withService(dir, service).CreateAt("ca", "fake://"+key, keys.ECDSAP256, created)
		if err == nil || !strings.Contains(err.Error(), "nothing was created") {
			t.Errorf("%s: got %v, want that nothing was created", key, err)
		}
		places := keys.WithPlaces(map[string]string{"ca": "fake://" + key}, true)
		if _, err := withService(dir, service, places).Create("ca", keys.ECDSAP256, created); err == nil {
			t.Errorf("%s: was adopted", key)
		}
		if _, err := os.Stat(filepath.Join(dir, "ca.ref")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a reference: %v", key, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	service := kmstest.New(t)
	service.NewKey(t, "there")
	places := keys.WithPlaces(map[string]string{"a": "fake://there", "b": "fake://absent"}, false)
	store := withService(t.TempDir(), service, places)
	if k, err := store.Create("a", keys.ECDSAP256, created); err != nil || k.URI() != "fake://there" {
		t.Errorf("a: got %q, %v; want the key that is there", k.URI(), err)
	}
	_, err := store.Create("b", keys.ECDSAP256, created)
	wantIs(t, "create where no key is, and none may be made", err, keys.ErrNoKeyThere)
	if k, err := store.Create("c", keys.ECDSAP256, created); err != nil || k.URI() != "" {
		t.Errorf("c: got %q, %v; want a file", k.URI(), err)
	}
	making := withService(t.TempDir(), service, keys.WithPlaces(map[string]string{"b": "fake://absent"}, true))
	if k, err := making.Create("b", keys.ECDSAP256, created); err != nil || k.URI() != "fake://absent" {
		t.Errorf("b: got %q, %v; want a key made there", k.URI(), err)
	}
}

// TestExchangedKey: a key that is not the pinned one is refused at the start, and
// when it comes to be while the process runs its signatures are.
func TestExchangedKey(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	service.NewKey(t, "k")
	if _, err := withService(dir, service).Adopt("ca", "fake://k", created); err != nil {
		t.Fatal(err)
	}
	running, err := withService(dir, service).Load("ca")
	if err != nil {
		t.Fatal(err)
	}
	service.NewKey(t, "k")
	if _, err := withService(dir, service).Load("ca"); err == nil || !strings.Contains(err.Error(), "another public half than the pinned one") {
		t.Errorf("start with another key: got %v", err)
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := running.Sign(rand.Reader, digest[:], crypto.SHA256)
	if sig != nil || fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "signed with another key than the pinned one") {
		t.Errorf("exchanged while running: got %x, %v of kind %d; want no signature and fault.Unavailable", sig, err, fault.KindOf(err))
	}
}

// TestAwayAndBack: a service that is away fails signatures, not the start, and
// nobody has to do anything when it is back.
func TestAwayAndBack(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	service.NewKey(t, "k")
	if _, err := withService(dir, service).Adopt("ca", "fake://k", created); err != nil {
		t.Fatal(err)
	}
	service.Stop(t)
	k, err := withService(dir, service).Load("ca")
	if err != nil {
		t.Fatalf("load while the service is away: %v", err)
	}
	if _, failure := k.Use(); failure == nil {
		t.Error("a key that could not be asked counts as healthy")
	}
	err = k.Test()
	if fault.KindOf(err) != fault.Unavailable || fault.Public(err) != "key ca is unavailable; try again later" {
		t.Errorf("got %v of kind %d with %q for strangers", err, fault.KindOf(err), fault.Public(err))
	}
	service.Start(t)
	if err := k.Test(); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	if _, failure := k.Use(); failure != nil {
		t.Errorf("the failure stays: %v", failure)
	}
}

func TestLoadRefusesReferences(t *testing.T) {
	dir, service := t.TempDir(), kmstest.New(t)
	service.NewKey(t, "k")
	if _, err := withService(dir, service).Adopt("good", "fake://k", created); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "good.ref"))
	if err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	inToken := "pkcs11:token=a;object=b?module-path=/nowhere/lib.so"
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"pin-value":   {change("fake://k", inToken+"&pin-value=4711"), "put it into a file"},
		"bad-uri":     {change("fake://k", "nonsense"), "want SCHEME://KEY"},
		"no-plugin":   {change("fake://k", "other://k"), "no program sigstore-kms-other"},
		"no-pin":      {change("public_key: |", "colour: |"), "colour not found"},
		"unknown":     {slices.Concat(good, []byte("colour: red\n")), "colour not found"},
		"two":         {slices.Concat(good, []byte("---\n"), good), "more than one YAML document"},
		"version":     {change("version: 1", "version: 2"), "version is 2, want 1"},
		"undated":     {change("created:", "#"), "created: missing"},
		"private-pem": {change("PUBLIC KEY-----\n", "PRIVATE KEY-----\n"), "public_key"},
		"empty":       {nil, "EOF"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".ref"), tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := withService(dir, service).Load(name)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: got %v, want %q and no PIN", name, err, tt.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "good.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := withService(dir, service).Load("good"); err == nil || !strings.Contains(err.Error(), "both good.key and good.ref") {
		t.Errorf("file and reference: got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "good.key")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "good.ref"), 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := withService(dir, service).Load("good"); err == nil || !strings.Contains(err.Error(), "want a file with 0600") {
		t.Errorf("a reference open to others: got %v", err)
	}
}

// TestStaticProgramSaysWhichOneToUse: a token's URI is understood and the way to
// a program that can use it named.
func TestStaticProgramSaysWhichOneToUse(t *testing.T) {
	if token.Supported {
		t.Skip("this program can use tokens")
	}
	_, err := keys.Open(t.TempDir(), nil).Adopt("ca", "pkcs11:token=a;object=b?module-path=/usr/lib/x.so", created)
	if err == nil || !strings.Contains(err.Error(), "make build-pkcs11") {
		t.Errorf("got %v, want the way to the other program", err)
	}
}
