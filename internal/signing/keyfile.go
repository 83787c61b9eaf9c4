package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// maxKeyFile is the most bytes that a key file may have.
const maxKeyFile = 64 << 10

// The PEM types of key files that are encrypted as cosign does it: scrypt and
// NaCl secretbox around PKCS #8.
const (
	pemSigstoreKey = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosignKey   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// errOpenSSL is of keys that openssl encrypted, in either of its ways.
var errOpenSSL = errors.New("it is encrypted by openssl, which is not supported; decrypt it with openssl pkey, then encrypt it with cosign import-key-pair")

// LoadPrivateKey parses a private key in PEM: PKCS #8 or SEC 1, or one that
// cosign generate-key-pair encrypted. The password is of the encrypted form only:
// nil says that there is none, which is not the empty password.
func LoadPrivateKey(data, password []byte) (crypto.Signer, error) {
	block, err := keyBlock(data)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key, err := parsePrivateKey(block, password)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read private key: a %T cannot sign", key)
	}
	return signer, nil
}

func parsePrivateKey(block *pem.Block, password []byte) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errOpenSSL
		}
		return x509.ParseECPrivateKey(block.Bytes)
	case pemSigstoreKey, pemCosignKey:
		return decryptPrivateKey(block.Bytes, password)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errOpenSSL
	case "PUBLIC KEY":
		return nil, errors.New("it is a public key; signing needs the private one")
	default:
		return nil, fmt.Errorf("PEM of type %q is not supported", block.Type)
	}
}

func decryptPrivateKey(data, password []byte) (any, error) {
	if password == nil {
		return nil, errors.New("it is encrypted; give its password")
	}
	der, err := encrypted.Decrypt(data, password)
	if err != nil {
		return nil, fmt.Errorf("decrypt: wrong password, or a damaged file: %w", err)
	}
	return x509.ParsePKCS8PrivateKey(der)
}

// LoadPublicKey parses a public key in PEM (SubjectPublicKeyInfo): ECDSA, Ed25519
// or RSA.
func LoadPublicKey(data []byte) (crypto.PublicKey, error) {
	block, err := keyBlock(data)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	switch block.Type {
	case "PUBLIC KEY":
	case "PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", pemSigstoreKey, pemCosignKey:
		return nil, errors.New("read public key: it is a private key; verifying needs the public one")
	default:
		return nil, fmt.Errorf("read public key: PEM of type %q is not supported", block.Type)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	switch pub.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey:
		return pub, nil
	default:
		return nil, fmt.Errorf("read public key: a %T cannot verify signatures", pub)
	}
}

// keyBlock returns the only PEM block of a key file, besides the curve's name,
// which openssl writes before a SEC 1 key.
func keyBlock(data []byte) (*pem.Block, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%d bytes is more than %d", len(data), maxKeyFile)
	}
	block, rest := pem.Decode(data)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("it holds more than one key")
	}
	return block, nil
}
