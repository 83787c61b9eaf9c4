// Package kmstest is a fake key management service for tests: its plugin is the
// test program itself, run under the plugin's name, and its keys are files. It
// can also misbehave in each of the ways that a plugin may.
package kmstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Variables by which a test tells the plugin about itself.
const (
	keysVariable  = "FAKE_KMS_KEYS"  // directory with the keys
	TokenVariable = "FAKE_KMS_TOKEN" // what the plugin authenticates with: a secret
)

// Main runs the tests, or the plugin when the program was started under a
// plugin's name. TestMain passes its result to os.Exit.
func Main(m *testing.M) int {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "sigstore-kms-") {
		Plugin()
		return 1 // which means nothing to the protocol
	}
	return m.Run()
}

// Plugin is the plugin's main.
func Plugin() { plugin(os.Args) }

// Service is a service without keys at first.
type Service struct {
	Plugins string // directory with the plugin, whose scheme is fake
	keys    string
}

// New makes a service and points plugins to it that this process starts.
func New(tb testing.TB) *Service {
	tb.Helper()
	dir := tb.TempDir()
	s := &Service{Plugins: filepath.Join(dir, "bin"), keys: filepath.Join(dir, "keys")}
	for _, d := range []string{s.Plugins, s.keys} {
		if err := os.Mkdir(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(s.Plugins, "sigstore-kms-fake")); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv(keysVariable, s.keys)
	return s
}

// NewKey makes a key, or another in its place.
func (s *Service) NewKey(tb testing.TB, name string) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := makeKey(filepath.Join(s.keys, name), elliptic.P256())
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Stop makes the service fail; Start ends that.
func (s *Service) Stop(tb testing.TB)  { rename(tb, s.keys, s.keys+".stopped") }
func (s *Service) Start(tb testing.TB) { rename(tb, s.keys+".stopped", s.keys) }

func rename(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.Rename(from, to); err != nil {
		tb.Fatal(err)
	}
}

func makeKey(path string, curve elliptic.Curve) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, der, 0o600)
}
