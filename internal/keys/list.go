package keys

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sigstack/internal/pki"
)

// Info is what can be said of a key without using it.
type Info struct {
	Name      string
	URI       string    // where it lives; "" for a file
	Encrypted bool      // the file is under a passphrase
	Created   time.Time // UTC, whole seconds
	Algorithm Algorithm
	SPKI      []byte // DER SubjectPublicKeyInfo
}

// ErrLocked says that an encrypted file of an earlier version tells its public
// half only to who has the passphrase.
var ErrLocked = errors.New("its public half is known with the passphrase only: the file is encrypted and of an earlier version")

// Names returns the names of all keys, sorted.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var names []string
	for _, e := range entries {
		for _, suffix := range []string{".key", ".ref"} {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			if ok && validName.MatchString(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Info reads what is known of a key. Nothing is decrypted and no device is asked,
// so of a file it is what its headers say. The error matches fs.ErrNotExist if
// there is no such key. With ErrLocked everything but SPKI and Algorithm is set.
func (s *Store) Info(name string) (Info, error) {
	info, err := s.info(name)
	if err != nil {
		err = fmt.Errorf("key %s: %w", name, err)
	}
	return info, err
}

func (s *Store) info(name string) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	referred, err := s.oneFile(name)
	if err != nil {
		return Info{}, err
	}
	if !referred {
		return s.fileInfo(name)
	}
	data, err := readPrivate(s.referencePath(name))
	if err != nil {
		return Info{}, err
	}
	ref, err := decodeReference(data)
	if err != nil {
		return Info{}, err
	}
	spki, err := pki.MarshalPublicKey(ref.public)
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: name, URI: ref.uri, Created: ref.created, SPKI: spki}
	info.Algorithm, err = AlgorithmOf(ref.public)
	return info, err
}

func (s *Store) fileInfo(name string) (Info, error) {
	data, err := readPrivate(s.path(name))
	if err != nil {
		return Info{}, err
	}
	block, h, err := parseFile(data)
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: name, Encrypted: block.Type == encryptedType, Created: h.created.UTC(), SPKI: h.public}
	if info.SPKI == nil {
		k, err := Open(s.dir, nil).Load(name) // works for what is in the clear
		if errors.Is(err, ErrNoPassphrase) {
			return info, ErrLocked
		}
		if err != nil {
			return info, err
		}
		info.SPKI = k.SPKI()
	}
	public, err := x509.ParsePKIXPublicKey(info.SPKI)
	if err != nil {
		return info, fmt.Errorf("header %s: %w", publicHeader, err)
	}
	info.Algorithm, err = AlgorithmOf(public)
	return info, err
}
