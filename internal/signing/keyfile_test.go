package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// testdata/cosign.key and .pub were made by cosign 3.1.3:
// COSIGN_PASSWORD=pw cosign generate-key-pair.
const cosignPassword = "pw"

func testFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func pemFile(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(tb testing.TB, key crypto.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pemFile("PRIVATE KEY", der)
}

func sec1(tb testing.TB, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pemFile("EC PRIVATE KEY", der)
}

func spkiPEM(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return pemFile("PUBLIC KEY", der)
}

// same reports whether two public keys are one.
func same(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func TestLoadPrivateKey(t *testing.T) {
	key := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cosign, err := signing.LoadPublicKey(testFile(t, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	// How openssl ecparam -genkey writes P-256.
	params := pemFile("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	tests := []struct {
		name           string
		data, password []byte
		want           crypto.PublicKey
	}{
		{"PKCS #8", pkcs8(t, key), nil, key.Public()},
		{"SEC 1", sec1(t, key), nil, key.Public()},
		{"SEC 1 with parameters", slices.Concat(params, sec1(t, key)), nil, key.Public()},
		{"text around", slices.Concat([]byte("my key\n"), sec1(t, key), []byte("\n\n")), nil, key.Public()},
		{"P-384", pkcs8(t, p384), nil, p384.Public()},
		{"Ed25519", pkcs8(t, edwards), nil, edwards.Public()},
		{"password not needed", pkcs8(t, key), []byte("x"), key.Public()},
		{"cosign", testFile(t, "cosign.key"), []byte(cosignPassword), cosign},
		{"old cosign", bytes.ReplaceAll(testFile(t, "cosign.key"), []byte("SIGSTORE"), []byte("COSIGN")), []byte(cosignPassword), cosign},
	}
	for _, tt := range tests {
		got, err := signing.LoadPrivateKey(tt.data, tt.password)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if !same(got.Public(), tt.want) {
			t.Errorf("%s: got another key than was written", tt.name)
		}
	}
}

func TestLoadPrivateKeyRefuses(t *testing.T) {
	key := newKey(t)
	cosign := testFile(t, "cosign.key")
	exchange := bytes.Replace(pkcs8(t, key), []byte("M"), []byte("N"), 1)
	tests := []struct {
		name           string
		data, password []byte
		want           string // in the error
	}{
		{"encrypted and no password", cosign, nil, "it is encrypted; give its password"},
		{"wrong password", cosign, []byte("PW"), "wrong password"},
		{"empty password", cosign, []byte{}, "wrong password"},
		{"other scrypt parameters", scrypted(t, `"N":65536`, `"N":65537`), []byte(cosignPassword), "scrypt"},
		{"other KDF", scrypted(t, `"name":"scrypt"`, `"name":"script"`), []byte(cosignPassword), "script"},
		{"short nonce", scrypted(t, `"nonce":"`, `"nonce":"AAAA","x":"`), []byte(cosignPassword), "nonce"},
		{"empty", nil, nil, "not PEM"},
		{"DER", []byte{0x30, 0}, nil, "not PEM"},
		{"two keys", slices.Concat(pkcs8(t, key), pkcs8(t, newKey(t))), nil, "more than one"},
		{"public key", spkiPEM(t, key.Public()), nil, "it is a public key"},
		{"encrypted PKCS #8", pemFile("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), nil, "openssl pkey"},
		{"encrypted SEC 1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES"}, Bytes: []byte{1}}), nil, "openssl pkey"},
		{"other PEM", pemFile("X509 CRL", []byte{0x30, 0}), nil, `"X509 CRL" is not supported`},
		{"damaged", exchange, nil, "read private key"},
		{"too long", make([]byte, 1<<20), nil, "more than 65536"},
	}
	for _, tt := range tests {
		_, err := signing.LoadPrivateKey(tt.data, tt.password)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// scrypted is cosign's key file with old in its JSON replaced by text.
func scrypted(t *testing.T, old, text string) []byte {
	t.Helper()
	block, _ := pem.Decode(testFile(t, "cosign.key"))
	changed := bytes.Replace(block.Bytes, []byte(old), []byte(text), 1)
	if bytes.Equal(changed, block.Bytes) {
		t.Fatalf("no %s in %s", old, block.Bytes)
	}
	return pemFile(block.Type, changed)
}

func TestLoadPublicKey(t *testing.T) {
	key := newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, pub := range map[string]crypto.PublicKey{"P-256": key.Public(), "RSA": rsaKey.Public()} {
		if got, err := signing.LoadPublicKey(spkiPEM(t, pub)); err != nil || !same(got, pub) {
			t.Errorf("%s: got %v, %v, want the key", name, got, err)
		}
	}
	cert := pemOf(newForger(t, signingtest.New(t, now)).cert)
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"private key":        {pkcs8(t, key), "it is a private key"},
		"cosign private key": {testFile(t, "cosign.key"), "it is a private key"},
		"certificate":        {cert, `"CERTIFICATE" is not supported`},
		"damaged":            {pemFile("PUBLIC KEY", []byte{0x30, 0}), "read public key"},
		"two":                {bytes.Repeat(spkiPEM(t, key.Public()), 2), "more than one"},
		"empty":              {nil, "not PEM"},
	} {
		if _, err := signing.LoadPublicKey(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
}

// FuzzLoadPrivateKey: an accepted key is the same after it was written again, and
// so is its public half.
func FuzzLoadPrivateKey(f *testing.F) {
	key := newKey(f)
	f.Add(pkcs8(f, key), []byte(nil))
	f.Add(sec1(f, key), []byte("x"))
	f.Add(testFile(f, "cosign.key"), []byte(cosignPassword))
	f.Add(testFile(f, "cosign.pub"), []byte(cosignPassword))
	f.Fuzz(func(t *testing.T, data, password []byte) {
		got, err := signing.LoadPrivateKey(data, password)
		if err != nil {
			return
		}
		again, err := signing.LoadPrivateKey(pkcs8(t, got), nil)
		if err != nil || !same(again.Public(), got.Public()) {
			t.Fatalf("got %v, %v after writing the key again, want the same", again, err)
		}
		pub, err := signing.LoadPublicKey(spkiPEM(t, got.Public()))
		if err != nil || !same(pub, got.Public()) {
			t.Errorf("got %v, %v for its public half, want the same", pub, err)
		}
	})
}

// FuzzLoadPublicKey: an accepted key is the same after it was written again.
func FuzzLoadPublicKey(f *testing.F) {
	f.Add(spkiPEM(f, newKey(f).Public()))
	f.Add(testFile(f, "cosign.pub"))
	f.Add(pkcs8(f, newKey(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := signing.LoadPublicKey(data)
		if err != nil {
			return
		}
		again, err := signing.LoadPublicKey(spkiPEM(t, pub))
		if err != nil || !same(again, pub) {
			t.Errorf("got %v, %v after writing the key again, want the same", again, err)
		}
	})
}
