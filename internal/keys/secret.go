package keys

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"sigstack/internal/durable"
)

// SecretSize is the size of a secret, in bytes: an AES-256 key.
const SecretSize = 32

// PEM types of secret files, NAME.secret.
const (
	plainSecretType     = "SIGSTACK SECRET"
	encryptedSecretType = "ENCRYPTED SIGSTACK SECRET"
)

// CreateSecret makes a random secret of SecretSize bytes, for encrypting what a
// service stores, and stores it as Create does a key. The error matches
// fs.ErrExist if the name is taken.
func (s *Store) CreateSecret(name string, created time.Time) error {
	if err := CheckName(name); err != nil {
		return err
	}
	secret := make([]byte, SecretSize)
	_, _ = rand.Read(secret) // never fails: it ends the process instead
	data, err := s.seal(plainSecretType, encryptedSecretType, secret, map[string]string{createdHeader: created.UTC().Format(time.RFC3339)})
	if err != nil {
		return fmt.Errorf("create secret %s: %w", name, err)
	}
	if err := durable.CreateFile(s.secretPath(name), data, 0o600); err != nil {
		return fmt.Errorf("create secret %s: %w", name, err)
	}
	return nil
}

// Secret reads a secret. Errors are those of Load.
func (s *Store) Secret(name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	data, err := readPrivate(s.secretPath(name))
	if err != nil {
		return nil, fmt.Errorf("load secret %s: %w", name, err)
	}
	secret, _, err := s.unseal(plainSecretType, encryptedSecretType, data)
	if err != nil {
		return nil, fmt.Errorf("load secret %s: %w", name, err)
	}
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("load secret %s: it has %d bytes, want %d", name, len(secret), SecretSize)
	}
	return secret, nil
}

func (s *Store) secretPath(name string) string { return filepath.Join(s.dir, name+".secret") }
