package keys

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/fault"
)

// ErrKeyThere says that CreateAt found a key at the URI.
var ErrKeyThere = errors.New("there is a key already, and nothing is ever overwritten")

// ErrNoKeyThere says that a URI names no key, or none that can be asked.
var ErrNoKeyThere = errors.New("no key could be found there")

// Adopt stores a reference to the key at uri, whose present public half becomes
// the pin. The key must be able to sign. Errors match those of Create, and
// ErrNoKeyThere.
func (s *Store) Adopt(name, uri string, created time.Time) (Key, error) {
	return s.refer(name, uri, created, func(d device) (*ecdsa.PublicKey, error) {
		public, err := d.Public()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKeyThere, err)
		}
		return public, nil
	})
}

// CreateAt makes a key at uri, where there surely is none yet, and stores a
// reference to it: services that are asked to make one that is there answer as if
// they had. Errors match those of Create, and ErrKeyThere.
func (s *Store) CreateAt(name, uri string, alg Algorithm, created time.Time) (Key, error) {
	return s.refer(name, uri, created, func(d device) (*ecdsa.PublicKey, error) {
		switch _, err := d.Public(); {
		case err == nil:
			return nil, ErrKeyThere
		case fault.KindOf(err) != fault.NotFound:
			return nil, fmt.Errorf("nothing was created, because it cannot be told whether there is a key already (try again, or make it with the service's own tools and import it): %w", err)
		}
		return d.Create(alg)
	})
}

// place makes what Create makes where the store was told to put name.
func (s *Store) place(name, uri string, alg Algorithm, created time.Time) (Key, error) {
	k, err := s.Adopt(name, uri, created)
	if errors.Is(err, ErrNoKeyThere) && fault.KindOf(err) == fault.NotFound && s.createAt {
		return s.CreateAt(name, uri, alg, created)
	}
	return k, err
}

func (s *Store) refer(name, uri string, created time.Time, find func(device) (*ecdsa.PublicKey, error)) (Key, error) {
	fail := func(err error) (Key, error) { return Key{}, fmt.Errorf("key %s at %s: %w", name, uri, err) }
	if err := CheckURI(uri); err != nil {
		return Key{}, fmt.Errorf("key %s: %w", name, err)
	}
	if err := s.free(name); err != nil {
		return fail(err)
	}
	d, err := s.devices.open(uri)
	if err != nil {
		return fail(err)
	}
	public, err := find(d)
	if err != nil {
		return fail(err)
	}
	if _, err := AlgorithmOf(public); err != nil {
		return fail(err)
	}
	ref := reference{uri, public, created.UTC().Truncate(time.Second)}
	k, err := ref.key(name, d)
	if err != nil {
		return fail(err)
	}
	if err := k.Test(); err != nil {
		return Key{}, err
	}
	if err := s.unlike(k); err != nil {
		return fail(err)
	}
	data, err := ref.encode()
	if err != nil {
		return fail(err)
	}
	if err := durable.CreateFile(s.referencePath(name), data, 0o600); err != nil {
		return fail(err)
	}
	s.remember(k)
	return k, nil
}

// key makes the signer of what ref names.
func (ref reference) key(name string, d device) (Key, error) {
	r := &remote{name: name, uri: ref.uri, public: ref.public, device: d}
	k, err := wrap(name, r, ref.created)
	k.remote = r
	return k, err
}

// loadReference makes the signer of NAME.ref.
func (s *Store) loadReference(name string) (Key, error) {
	data, err := readPrivate(s.referencePath(name))
	if err != nil {
		return Key{}, err
	}
	ref, err := decodeReference(data)
	if err != nil {
		return Key{}, err
	}
	d, err := s.devices.open(ref.uri)
	if err != nil {
		return Key{}, err
	}
	k, err := ref.key(name, d)
	if err != nil {
		return Key{}, err
	}
	return k, k.remote.check()
}

// unshared refuses to give one key two names: two logs, or a log and a CA, whose
// signatures cannot be told apart.
func (s *Store) unshared(k Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.known {
		if other.Name != k.Name && string(other.spki) == string(k.spki) {
			return fmt.Errorf("it is the key %s, too: each needs one of its own", other.Name)
		}
	}
	return nil
}

// unlike is unshared for a key that comes from outside, and compares it with every
// key of the store, loaded or not.
func (s *Store) unlike(k Key) error {
	names, err := s.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == k.Name {
			continue
		}
		spki, err := s.publicOf(name)
		if err != nil {
			return fmt.Errorf("it cannot be told whether it is the key %s, too: %w", name, err)
		}
		if string(spki) == string(k.spki) {
			return fmt.Errorf("it is the key %s, too: each needs one of its own", name)
		}
	}
	return s.unshared(k)
}

// publicOf returns the public half of a key, as DER, and decrypts it only if there
// is no other way.
func (s *Store) publicOf(name string) ([]byte, error) {
	info, err := s.Info(name)
	if !errors.Is(err, ErrLocked) {
		return info.SPKI, err
	}
	k, err := s.read(name)
	return k.spki, err
}

// free refuses a name that is taken by a file or a reference.
func (s *Store) free(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	for _, path := range []string{s.path(name), s.referencePath(name)} {
		there, err := exists(path)
		if err != nil {
			return err
		}
		if there {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
	}
	return nil
}

func (s *Store) referencePath(name string) string { return filepath.Join(s.dir, name+".ref") }
