package dexpebble

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// seal encrypts rows: among them are the keys that sign ID tokens, and whoever
// reads those from a disk or a backup could be anybody. A row's key is bound in,
// so that no row passes for another. The keys themselves stay readable: they
// name tables, users, and logins of the last minutes.
type seal struct{ aead cipher.AEAD }

// newSeal returns a seal for a secret of 32 bytes (AES-256-GCM).
func newSeal(secret []byte) (seal, error) {
	if len(secret) != 32 {
		return seal{}, fmt.Errorf("secret of the storage has %d bytes, want 32", len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return seal{}, err
	}
	// Random nonces of 96 bits are good for 2^32 rows written; a login writes
	// about ten.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return seal{aead}, err
}

// close encrypts a row.
func (s seal) close(key, row []byte) []byte {
	return s.aead.Seal(nil, nil, row, key) //nolint:gosec // no constant nonce: this AEAD draws its own
}

// open is the inverse of close. It fails on a row that was changed, moved or
// written under another secret.
func (s seal) open(key, box []byte) ([]byte, error) {
	row, err := s.aead.Open(nil, nil, box, key)
	if err != nil {
		return nil, fmt.Errorf("row %q was changed, or written under another secret: %w", key, err)
	}
	return row, nil
}
