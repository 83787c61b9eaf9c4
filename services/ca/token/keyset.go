package token

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leastRSA is the fewest bits of an RSA key that may sign tokens (RFC 7518 §3.3).
const leastRSA = 2048

// keySet is a JWKS (RFC 7517 §5), its keys unread.
type keySet struct {
	Keys []json.RawMessage `json:"keys"`
}

// CheckKeySet reports why data, a key set of an operator's, cannot be an issuer's. It
// must hold a public key that can verify tokens, and no private one at all.
func CheckKeySet(data []byte) error {
	_, err := fixedKeys(data)
	return err
}

// fixedKeys are those of an issuer that is not asked. Nothing advertises algorithms
// for it: what its keys can do holds.
func fixedKeys(data []byte) (*published, error) {
	var set keySet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("parse key set: it has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) == nil && (members["d"] != nil || members["k"] != nil) {
			return nil, fmt.Errorf("parse key set: key %d is a private or secret one, and whoever reads it speaks for the issuer: put public keys there", i+1)
		}
	}
	keys := usable(set.Keys)
	if len(keys) == 0 {
		return nil, errors.New(`parse key set: no key that can verify tokens: want JSON such as {"keys":[{"kty":"RSA","kid":"1","n":"...","e":"AQAB"}]}`)
	}
	return &published{algorithms: allowed(), keys: keys, fetched: time.Time{}}, nil
}

// usable parses a key set (RFC 7517 §5), passing over keys of unknown kinds, keys
// for encryption, weak and secret ones: one odd key must not stop the others.
func usable(raw []json.RawMessage) []jose.JSONWebKey {
	var keys []jose.JSONWebKey
	for _, r := range raw[:min(len(raw), maxKeys)] {
		var key jose.JSONWebKey
		if err := json.Unmarshal(r, &key); err != nil {
			continue
		}
		if key.Valid() && key.IsPublic() && strong(key) && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	return keys
}

func strong(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*rsa.PublicKey)
	return !ok || public.N.BitLen() >= leastRSA
}
