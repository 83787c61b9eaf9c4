package keys_test

import (
	"strings"
	"testing"

	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/keys/softhsmtest"
	"sigstack/internal/keys/token"
)

// TestAt: a key without a store signs as what it was when it was found, or not at all.
func TestAt(t *testing.T) {
	service := kmstest.New(t)
	want := service.NewKey(t, "k1")
	devices := keys.Devices{PluginDir: service.Plugins}
	k, err := devices.At("fake://k1")
	if err != nil {
		t.Fatal(err)
	}
	if !want.PublicKey.Equal(k.Public()) || k.URI() != "fake://k1" {
		t.Errorf("got %v at %q, want %v at fake://k1", k.Public(), k.URI(), want.PublicKey)
	}
	if err := k.Test(); err != nil {
		t.Error(err)
	}
	service.NewKey(t, "k1")
	if err := k.Test(); err == nil || !strings.Contains(err.Error(), "exchanged") {
		t.Errorf("sign after the key was exchanged: got %v", err)
	}
	for uri, want := range map[string]string{
		"fake://nothing":              "there is no such key",
		"other://k1":                  "sigstore-kms-other",
		"pkcs11:object=a?pin-value=1": "key URI",
		"k1":                          "key URI",
	} {
		if _, err := devices.At(uri); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", uri, err, want)
		}
	}
}

// TestAtToken is TestAt for a key in a PKCS#11 token; make pkcs11 runs it.
func TestAtToken(t *testing.T) {
	if !token.Supported {
		t.Skip("built without PKCS#11")
	}
	hsm := softhsmtest.New(t, "signers")
	made, err := keys.Open(t.TempDir(), nil).CreateAt("team", hsm.URI("team"), keys.ECDSAP256, created)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.Devices{}.At(hsm.URI("team"))
	if err != nil {
		t.Fatal(err)
	}
	if string(k.SPKI()) != string(made.SPKI()) {
		t.Error("it is another key than the one that was made there")
	}
	if err := k.Test(); err != nil {
		t.Error(err)
	}
	if _, err := (keys.Devices{}).At(hsm.URI("nobody")); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("a key that is not there: got %v", err)
	}
}
