package dexstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// errNotUTF8 is answered instead of storing a row that would read back changed.
var errNotUTF8 = errors.New("a string in the value is not UTF-8")

// rowKey returns "table/part/part…". Every byte of a part outside the unreserved
// ASCII is percent-encoded, the slash too: ids of any bytes give distinct keys,
// and none of them reaches out of its table.
func rowKey(table string, id ...string) []byte {
	var key strings.Builder
	key.WriteString(table)
	for _, part := range id {
		key.WriteByte('/')
		key.WriteString(url.PathEscape(part))
	}
	return []byte(key.String())
}

// tableBounds returns the half-open range of keys that holds every row of table.
func tableBounds(table string) (lower, upper []byte) {
	return []byte(table + "/"), []byte(table + string(rune('/'+1)))
}

// encodeRow returns v as JSON, under Dex's own field names, so that fields which
// a later Dex adds read as their zero value. It fails on a string that is not
// UTF-8, because JSON would change it silently.
func encodeRow[T any](v T) ([]byte, error) {
	row, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode row: %w", err)
	}
	if replaced(row) {
		return nil, errNotUTF8
	}
	return row, nil
}

// replaced reports whether encoding/json put U+FFFD in place of an invalid byte.
// It writes that one as an escape, and one that was in the string as it is.
func replaced(row []byte) bool {
	for i := 0; i < len(row); i++ {
		if row[i] != '\\' {
			continue
		}
		i++ // the escaped character, so that \\ufffd is read as a backslash and text
		if bytes.HasPrefix(row[i:], []byte("ufffd")) {
			return true
		}
	}
	return false
}

// decodeRow is the inverse of encodeRow.
func decodeRow[T any](row []byte) (T, error) {
	var v T
	if err := json.Unmarshal(row, &v); err != nil {
		return v, fmt.Errorf("decode row: %w", err)
	}
	return v, nil
}

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
