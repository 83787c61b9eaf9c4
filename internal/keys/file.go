package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// PEM types of key files. The encrypted form is the one cosign reads and writes:
// scrypt and NaCl secretbox over PKCS#8.
const (
	plainType     = "PRIVATE KEY"
	encryptedType = "ENCRYPTED SIGSTORE PRIVATE KEY"
	createdHeader = "Created"
	publicHeader  = "Public" // SubjectPublicKeyInfo, base64: to list keys without the passphrase
	maxKeyFile    = 64 << 10 // bytes; a key file is under 1 KiB
)

func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("mode is %v, want a file with 0600", mode)}
	}
	if info.Size() > maxKeyFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%d bytes are too many for a key", info.Size())}
	}
	return os.ReadFile(path)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) encode(signer crypto.Signer, k Key) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, err
	}
	return s.seal(plainType, encryptedType, der, map[string]string{
		createdHeader: k.Created.Format(time.RFC3339), publicHeader: base64.StdEncoding.EncodeToString(k.spki),
	})
}

// seal renders a file with data in it, encrypted if the store has a passphrase.
func (s *Store) seal(plain, sealed string, data []byte, headers map[string]string) ([]byte, error) {
	block := &pem.Block{Type: plain, Bytes: data}
	if len(s.passphrase()) > 0 {
		box, err := encrypted.EncryptWithCustomKDFParameters(data, s.passphrase(), encrypted.OWASP)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		block = &pem.Block{Type: sealed, Bytes: box}
	}
	block.Headers = headers
	return pem.EncodeToMemory(block), nil
}

func (s *Store) decode(name string, file []byte) (Key, error) {
	der, head, err := s.unseal(plainType, encryptedType, file)
	if err != nil {
		return Key{}, err
	}
	signer, err := parsePKCS8(der)
	if err != nil {
		return Key{}, err
	}
	k, err := wrap(name, signer, head.created)
	if err == nil && head.public != nil && !bytes.Equal(head.public, k.spki) {
		err = fmt.Errorf("header %s is not of this key: the file was changed", publicHeader)
	}
	return k, err
}

// head is what the headers of a file say.
type head struct {
	created time.Time
	public  []byte // SubjectPublicKeyInfo; nil in secrets and files of earlier versions
}

// unseal is the inverse of seal.
func (s *Store) unseal(plain, sealed string, file []byte) (data []byte, h head, err error) {
	block, h, err := parseFile(file)
	if err != nil {
		return nil, head{}, err
	}
	data, err = s.open(plain, sealed, block)
	return data, h, err
}

func parseFile(file []byte) (*pem.Block, head, error) {
	block, rest := pem.Decode(file)
	if block == nil || len(rest) != 0 {
		return nil, head{}, errors.New("file is not one PEM block")
	}
	var h head
	var err error
	if h.created, err = time.Parse(time.RFC3339, block.Headers[createdHeader]); err != nil {
		return nil, head{}, fmt.Errorf("header %s: %w", createdHeader, err)
	}
	if text, ok := block.Headers[publicHeader]; ok {
		if h.public, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, head{}, fmt.Errorf("header %s: %w", publicHeader, err)
		}
	}
	return block, h, nil
}

// known returns key as a signer if Create could have made one like it.
func known(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, fmt.Errorf("curve %s is not supported: want P-256 or P-384", k.Curve.Params().Name)
		}
		return k, nil
	default:
		return nil, fmt.Errorf("key of type %T is not supported: want ECDSA or Ed25519", key)
	}
}

// decrypt returns what box holds. The library has no error to compare with, just
// these words, which tests of ErrPassphrase hold it to.
func decrypt(box, passphrase []byte) ([]byte, error) {
	data, err := encrypted.Decrypt(box, passphrase)
	switch {
	case err == nil:
		return data, nil
	case err.Error() == "encrypted: decryption failed":
		return nil, ErrPassphrase
	default:
		return nil, fmt.Errorf("decrypt: %w", err)
	}
}

// open returns what block holds.
func (s *Store) open(plain, sealed string, block *pem.Block) ([]byte, error) {
	switch {
	case block.Type == plain && len(s.passphrase()) == 0:
		return block.Bytes, nil
	case block.Type == plain:
		return nil, ErrNotEncrypted
	case block.Type == sealed && len(s.passphrase()) == 0:
		return nil, ErrNoPassphrase
	case block.Type == sealed:
		return decrypt(block.Bytes, s.passphrase())
	default:
		return nil, fmt.Errorf("PEM type is %q, want %q", block.Type, plain)
	}
}
