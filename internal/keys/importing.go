package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Import stores a private key that another program made: PEM of PKCS#8, SEC 1 or
// cosign's encrypted form, for which it needs that file's password. Errors match
// those of Create, and ErrPassphrase and ErrNoPassphrase for the given file.
func (s *Store) Import(name string, file, password []byte, created time.Time) (Key, error) {
	if err := CheckName(name); err != nil {
		return Key{}, err
	}
	signer, err := decodeForeign(file, password)
	if err != nil {
		return Key{}, fmt.Errorf("import key %s: %w", name, err)
	}
	k, err := wrap(name, signer, created)
	if err == nil {
		err = s.unlike(k)
	}
	if err != nil {
		return Key{}, fmt.Errorf("import key %s: %w", name, err)
	}
	return s.store(name, signer, created)
}

// decodeForeign reads a key file of another program.
func decodeForeign(file, password []byte) (crypto.Signer, error) {
	if len(file) > maxKeyFile {
		return nil, fmt.Errorf("%d bytes are too many for a key", len(file))
	}
	block, rest := pem.Decode(file)
	if block != nil && block.Type == "EC PARAMETERS" { // which openssl ecparam writes before the key, that has them, too
		block, rest = pem.Decode(rest)
	}
	if extra, _ := pem.Decode(rest); block == nil || extra != nil {
		return nil, errors.New("want a file with one private key in PEM")
	}
	if block.Headers["Proc-Type"] != "" {
		return nil, errors.New("it is encrypted in OpenSSL's old way: decrypt it first, with `openssl pkcs8 -topk8 -nocrypt`")
	}
	switch block.Type {
	case plainType:
		return parsePKCS8(block.Bytes)
	case "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse SEC 1: %w", err)
		}
		return known(key)
	case encryptedType, "ENCRYPTED COSIGN PRIVATE KEY":
		if len(password) == 0 {
			return nil, ErrNoPassphrase
		}
		der, err := decrypt(block.Bytes, password)
		if err != nil {
			return nil, err
		}
		return parsePKCS8(der)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is encrypted PKCS#8: decrypt it first, with `openssl pkcs8 -topk8 -nocrypt`")
	default:
		return nil, fmt.Errorf("PEM type is %q: want a private key", block.Type)
	}
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parse PKCS#8: %w", err)
	}
	return known(key)
}
