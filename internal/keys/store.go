package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"sigstack/internal/durable"
)

// PEM types of key files. The encrypted form is the one cosign reads and writes:
// scrypt and NaCl secretbox over PKCS#8.
const (
	plainType     = "PRIVATE KEY"
	encryptedType = "ENCRYPTED SIGSTORE PRIVATE KEY"
	createdHeader = "Created"
	maxKeyFile    = 64 << 10 // bytes; a key file is under 1 KiB
)

// Errors that callers tell apart.
var (
	ErrPassphrase   = errors.New("wrong passphrase")
	ErrNoPassphrase = errors.New("key file is encrypted and no passphrase was given")
	ErrNotEncrypted = errors.New("key file is not encrypted although a passphrase is set")
)

// Store is a directory of key files, NAME.key. It is safe for concurrent use.
type Store struct {
	dir        string
	passphrase []byte

	mu    sync.Mutex
	known map[string]Key // guarded by mu; decrypting one takes some 400 ms by design
}

// Open returns the store in dir, which must exist. With an empty passphrase
// files are written in the clear (mode 0600), which only `up` does.
func Open(dir string, passphrase []byte) *Store {
	return &Store{dir: dir, passphrase: passphrase, known: map[string]Key{}}
}

// Create makes a key and stores it durably. It never replaces one: the error
// matches fs.ErrExist if the name is taken.
func (s *Store) Create(name string, alg Algorithm, created time.Time) (Key, error) {
	if err := checkName(name); err != nil {
		return Key{}, err
	}
	signer, err := generate(alg)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	k, err := wrap(name, signer, created)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	data, err := s.encode(signer, k.Created)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	if err := durable.CreateFile(s.path(name), data, 0o600); err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	s.remember(k)
	return k, nil
}

// Load reads a key, once: later calls answer from memory. The error matches
// fs.ErrNotExist if there is none, ErrPassphrase if the passphrase does not open
// it, ErrNoPassphrase if it is missing, ErrNotEncrypted if the file is in the clear but the store has
// a passphrase. A file that others may read is refused.
func (s *Store) Load(name string) (Key, error) {
	if err := checkName(name); err != nil {
		return Key{}, err
	}
	if k, ok := s.recall(name); ok {
		return k, nil
	}
	data, err := readPrivate(s.path(name))
	if err != nil {
		return Key{}, fmt.Errorf("load key %s: %w", name, err)
	}
	signer, created, err := s.decode(data)
	if err != nil {
		return Key{}, fmt.Errorf("load key %s: %w", name, err)
	}
	k, err := wrap(name, signer, created)
	if err != nil {
		return Key{}, fmt.Errorf("load key %s: %w", name, err)
	}
	s.remember(k)
	return k, nil
}

func (s *Store) remember(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[k.Name] = k
}

func (s *Store) recall(name string) (Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[name]
	return k, ok
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+".key") }

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

func (s *Store) encode(signer crypto.Signer, created time.Time) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, err
	}
	return s.seal(plainType, encryptedType, der, created)
}

// seal renders a file with data in it, encrypted if the store has a passphrase.
func (s *Store) seal(plain, sealed string, data []byte, created time.Time) ([]byte, error) {
	block := &pem.Block{Type: plain, Bytes: data}
	if len(s.passphrase) > 0 {
		box, err := encrypted.EncryptWithCustomKDFParameters(data, s.passphrase, encrypted.OWASP)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		block = &pem.Block{Type: sealed, Bytes: box}
	}
	block.Headers = map[string]string{createdHeader: created.Format(time.RFC3339)}
	return pem.EncodeToMemory(block), nil
}

func (s *Store) decode(file []byte) (crypto.Signer, time.Time, error) {
	der, created, err := s.unseal(plainType, encryptedType, file)
	if err != nil {
		return nil, time.Time{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("parse PKCS#8: %w", err)
	}
	signer, err := known(key)
	return signer, created, err
}

// unseal is the inverse of seal.
func (s *Store) unseal(plain, sealed string, file []byte) (data []byte, created time.Time, err error) {
	block, rest := pem.Decode(file)
	if block == nil || len(rest) != 0 {
		return nil, time.Time{}, errors.New("file is not one PEM block")
	}
	if created, err = time.Parse(time.RFC3339, block.Headers[createdHeader]); err != nil {
		return nil, time.Time{}, fmt.Errorf("header %s: %w", createdHeader, err)
	}
	data, err = s.open(plain, sealed, block)
	return data, created, err
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

// open returns what block holds.
func (s *Store) open(plain, sealed string, block *pem.Block) ([]byte, error) {
	switch {
	case block.Type == plain && len(s.passphrase) == 0:
		return block.Bytes, nil
	case block.Type == plain:
		return nil, ErrNotEncrypted
	case block.Type == sealed && len(s.passphrase) == 0:
		return nil, ErrNoPassphrase
	case block.Type == sealed:
		data, err := encrypted.Decrypt(block.Bytes, s.passphrase)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
		}
		return data, nil
	default:
		return nil, fmt.Errorf("PEM type is %q, want %q", block.Type, plain)
	}
}
