package keys

import (
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"sigstack/internal/durable"
)

// Errors that callers tell apart.
var (
	ErrPassphrase   = errors.New("wrong passphrase")
	ErrNoPassphrase = errors.New("key file is encrypted and no passphrase was given")
	ErrNotEncrypted = errors.New("key file is not encrypted although a passphrase is set")
)

// Store is a directory of key files, NAME.key, and of references to keys that
// live elsewhere, NAME.ref. It is safe for concurrent use.
type Store struct {
	dir        string
	passphrase func() []byte // a func, of which nothing can be printed
	devices    Devices
	places     map[string]string // where Create puts keys instead of into files
	createAt   bool              // whether it may make them there

	mu    sync.Mutex
	known map[string]Key // guarded by mu; decrypting one takes some 400 ms by design
}

// Option changes a store.
type Option func(*Store)

// WithDevices says how the store reaches keys that live elsewhere.
func WithDevices(d Devices) Option { return func(s *Store) { s.devices = d } }

// WithPlaces makes Create put some keys elsewhere: name to URI. It takes the key
// that is there, or, if create is set, makes one where there is none.
func WithPlaces(places map[string]string, create bool) Option {
	return func(s *Store) { s.places, s.createAt = places, create }
}

// Open returns the store in dir, which must exist. With an empty passphrase
// files are written in the clear (mode 0600), which only `up` does.
func Open(dir string, passphrase []byte, options ...Option) *Store {
	s := &Store{dir: dir, passphrase: func() []byte { return passphrase }, known: map[string]Key{}}
	for _, o := range options {
		o(s)
	}
	return s
}

// Create makes a key and stores it durably. It never replaces one: the error
// matches fs.ErrExist if the name is taken.
func (s *Store) Create(name string, alg Algorithm, created time.Time) (Key, error) {
	if uri, ok := s.places[name]; ok {
		return s.place(name, uri, alg, created)
	}
	if err := CheckName(name); err != nil {
		return Key{}, err
	}
	signer, err := generate(alg)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	return s.store(name, signer, created)
}

// store writes a key that there is no other copy of, or none to rely on.
func (s *Store) store(name string, signer crypto.Signer, created time.Time) (Key, error) {
	if err := s.free(name); err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	k, err := wrap(name, signer, created)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	if err := s.unshared(k); err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	data, err := s.encode(signer, k)
	if err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	if err := durable.CreateFile(s.path(name), data, 0o600); err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", name, err)
	}
	s.remember(k)
	return k, nil
}

// Load returns a key, which it reads once: later calls answer from memory. Of a
// key that lives elsewhere it demands that the public half is the pinned one,
// unless its token or service is away: then the key fails until that is back, and
// its first signature is verified. A key that was loaded or made under another name
// is refused. The error matches
// fs.ErrNotExist if there is none, ErrPassphrase if the passphrase does not open
// it, ErrNoPassphrase if it is missing, ErrNotEncrypted if the file is in the clear but the store has
// a passphrase. A file that others may read is refused.
func (s *Store) Load(name string) (Key, error) {
	if err := CheckName(name); err != nil {
		return Key{}, err
	}
	if k, ok := s.recall(name); ok {
		return k, nil
	}
	k, err := s.read(name)
	if err == nil {
		err = s.unshared(k)
	}
	if err != nil {
		return Key{}, fmt.Errorf("load key %s: %w", name, err)
	}
	s.remember(k)
	return k, nil
}

// read reads the one file of a key.
func (s *Store) read(name string) (Key, error) {
	referred, err := s.oneFile(name)
	if err != nil {
		return Key{}, err
	}
	if referred {
		return s.loadReference(name)
	}
	data, err := readPrivate(s.path(name))
	if err != nil {
		return Key{}, err
	}
	return s.decode(name, data)
}

// oneFile reports whether a key is told by a reference rather than a file.
func (s *Store) oneFile(name string) (referred bool, err error) {
	inFile, err := exists(s.path(name))
	if err != nil {
		return false, err
	}
	if referred, err = exists(s.referencePath(name)); referred && inFile {
		err = fmt.Errorf("both %s.key and %s.ref are there: remove the one that is not in use", name, name)
	}
	return referred, err
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
