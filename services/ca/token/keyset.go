package token

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leastRSA is the fewest bits of an RSA key that may sign tokens (RFC 7518 §3.3).
const leastRSA = 2048

// keySet is a JWKS (RFC 7517 §5), its keys unread.
type keySet struct {
	Keys []json.RawMessage `json:"keys"`
}

// CheckKeySet reports why data, a key set of an operator's, cannot be an issuer's: it
// holds public keys alone, each of them can verify tokens, and no two have one kid.
func CheckKeySet(data []byte) error {
	_, err := fixedKeys(data)
	return err
}

// wantJWKS says what a file of keys looks like.
const wantJWKS = `want a key set (JWKS), as issuers serve it at their jwks_uri: JSON such as {"keys":[{"kty":"RSA","kid":"1","n":"...","e":"AQAB"}]}`

// fixedKeys are those of an issuer that is not asked. Nothing advertises algorithms
// for it: what its keys can do holds. Where usable passes over a key this refuses
// the set: its operator believes that tokens of that key are taken.
func fixedKeys(data []byte) (*published, error) {
	var set keySet
	switch text := bytes.TrimSpace(data); {
	case len(text) == 0:
		return nil, errors.New("parse key set: the file is empty: " + wantJWKS)
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		return nil, errors.New("parse key set: this is PEM: " + wantJWKS)
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w: %s", err, wantJWKS)
	}
	switch n := len(set.Keys); {
	case n > maxKeys:
		return nil, fmt.Errorf("parse key set: it has %d keys, more than %d", n, maxKeys)
	case n == 0:
		return nil, errors.New("parse key set: no key that can verify tokens: " + wantJWKS)
	}
	var keys []jose.JSONWebKey
	for i, raw := range set.Keys {
		key, err := fixedKey(raw)
		if err != nil {
			return nil, fmt.Errorf("parse key set: key %d%s %w", i+1, named(raw), err)
		}
		same := func(k jose.JSONWebKey) bool { return key.KeyID != "" && k.KeyID == key.KeyID }
		if at := slices.IndexFunc(keys, same); at >= 0 {
			return nil, fmt.Errorf("parse key set: key %d%s has the kid of key %d: tokens tell keys apart by it", i+1, named(raw), at+1)
		}
		keys = append(keys, key)
	}
	return &published{algorithms: allowed(), keys: keys, fetched: time.Time{}}, nil
}

// fixedKey parses one key of an operator's.
func fixedKey(raw json.RawMessage) (jose.JSONWebKey, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil && (members["d"] != nil || members["k"] != nil) {
		return jose.JSONWebKey{}, errors.New("is a private or secret one, and whoever reads it speaks for the issuer: put public keys there")
	}
	key, err := usableKey(raw)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	if key.Algorithm != "" && !slices.Contains(allowed(), jose.SignatureAlgorithm(key.Algorithm)) {
		return jose.JSONWebKey{}, fmt.Errorf("is for algorithm %q, which no token may use: leave it out", key.Algorithm)
	}
	return key, nil
}

// named is the kid of a key for messages, "" if it tells none.
func named(raw json.RawMessage) string {
	var key struct {
		ID string `json:"kid"`
	}
	if json.Unmarshal(raw, &key) != nil || key.ID == "" {
		return ""
	}
	return fmt.Sprintf(" (kid %.80q)", key.ID)
}

// usable parses a key set (RFC 7517 §5), passing over keys of unknown kinds, keys
// for encryption, weak and secret ones: one odd key must not stop the others.
func usable(raw []json.RawMessage) []jose.JSONWebKey {
	var keys []jose.JSONWebKey
	for _, r := range raw[:min(len(raw), maxKeys)] {
		if key, err := usableKey(r); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// usableKey parses a key that can verify tokens. An error goes on where "key 1" ends.
func usableKey(raw json.RawMessage) (jose.JSONWebKey, error) {
	var key jose.JSONWebKey
	if err := json.Unmarshal(raw, &key); err != nil {
		return key, fmt.Errorf("cannot be read: %w", err)
	}
	rsaKey, isRSA := key.Key.(*rsa.PublicKey)
	switch {
	case !key.Valid():
		return key, errors.New("is not a valid one")
	case !key.IsPublic():
		return key, errors.New("is not a public one")
	case isRSA && rsaKey.N.BitLen() < leastRSA:
		return key, fmt.Errorf("is an RSA key of %d bits, want %d at least", rsaKey.N.BitLen(), leastRSA)
	case key.Use != "" && key.Use != "sig":
		return key, fmt.Errorf("is for use %q, not for signatures: leave it out", key.Use)
	}
	return key, nil
}
