// Package keys owns private keys: named, created once, and handed out only as
// signers. They are PEM files in a directory (PKCS#8, encrypted with a passphrase
// where there is one), or live in a token or key service to which a file refers.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"regexp"
	"time"

	"sigstack/internal/pki"
)

// Algorithm is a kind of key that can be created.
type Algorithm string

// The algorithms: the names are those of the trusted root's key details.
const (
	ECDSAP256 Algorithm = "PKIX_ECDSA_P256_SHA_256"
	ECDSAP384 Algorithm = "PKIX_ECDSA_P384_SHA_384"
	Ed25519   Algorithm = "PKIX_ED25519"
)

// Key is a named signer. Its private half cannot be read back from it.
type Key struct {
	crypto.Signer
	Name    string
	Created time.Time // UTC, whole seconds
	spki    []byte
	remote  *remote // nil for a file and in memory
}

// SPKI returns the public half as DER SubjectPublicKeyInfo. The caller must not
// change it.
func (k Key) SPKI() []byte { return k.spki }

// Test signs a random message and verifies the signature with the public half:
// an error means that the key's device fails or that the halves do not fit.
func (k Key) Test() error {
	message := []byte(rand.Text())
	digest := sha256.Sum256(message)
	var ok bool // stays false for a key of any other type
	switch pub := k.Public().(type) {
	case *ecdsa.PublicKey:
		sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return fmt.Errorf("test key %s: %w", k.Name, err)
		}
		ok = ecdsa.VerifyASN1(pub, digest[:], sig)
	case ed25519.PublicKey:
		sig, err := k.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			return fmt.Errorf("test key %s: %w", k.Name, err)
		}
		ok = ed25519.Verify(pub, message, sig)
	}
	if !ok {
		return fmt.Errorf("test key %s: its signature does not verify", k.Name)
	}
	return nil
}

// opaque hides the concrete private key from type assertions, and behind a func,
// of which nothing but an address can be printed, from whoever prints a struct
// with a key somewhere in it.
type opaque struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (o opaque) Public() crypto.PublicKey { return o.public }

func (o opaque) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return o.sign(random, digest, opts)
}

// Ephemeral returns a key that lives in memory only: for tests, and for
// signers whose key must not outlast them.
func Ephemeral(name string, alg Algorithm, created time.Time) (Key, error) {
	signer, err := generate(alg)
	if err != nil {
		return Key{}, err
	}
	return wrap(name, signer, created)
}

func generate(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, priv, err := ed25519.GenerateKey(rand.Reader)
		return priv, err
	default:
		return nil, fmt.Errorf("key algorithm %q is not known", alg)
	}
}

// AlgorithmOf returns which algorithm a public key is for.
func AlgorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		for alg, curve := range curves {
			if curve == k.Curve {
				return alg, nil
			}
		}
		return "", fmt.Errorf("curve %s is not supported: want P-256 or P-384", k.Curve.Params().Name)
	default:
		return "", fmt.Errorf("key of type %T is not supported: want ECDSA or Ed25519", public)
	}
}

func wrap(name string, signer crypto.Signer, created time.Time) (Key, error) {
	spki, err := pki.MarshalPublicKey(signer.Public())
	if err != nil {
		return Key{}, err
	}
	return Key{Signer: opaque{signer.Public(), signer.Sign}, Name: name, Created: created.UTC().Truncate(time.Second), spki: spki}, nil
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// CheckName reports what is wrong with the name of a key, or of a secret: it is
// that of a file.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("key name %q: want 1 to 64 of a-z, 0-9 and -", name)
	}
	return nil
}
