// Package dexcopy moves what Dex keeps from one of its storages to another, through
// Dex's own interface: signing keys, refresh tokens and the sessions behind them,
// browser sessions, identities, clients, passwords and connectors. What lives for
// minutes, such as a login under way, is not listed by that interface and stays behind.
package dexcopy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dexidp/dex/storage"
	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
)

// Counts is how much was copied, and is the same in both storages.
type Counts struct {
	Keys            int `json:"keys"` // those that sign, and those that only verify
	RefreshTokens   int `json:"refresh_tokens"`
	OfflineSessions int `json:"offline_sessions"`
	AuthSessions    int `json:"auth_sessions"`
	UserIdentities  int `json:"user_identities"`
	Clients         int `json:"clients"`
	Passwords       int `json:"passwords"`
	Connectors      int `json:"connectors"`
}

// Copy makes to hold what from does, and compares them afterwards. Nobody may use
// either meanwhile. A copy that was cut short is finished by another one. It refuses a
// storage that holds the keys, or else the logins, of another issuer with
// fault.Conflict.
func Copy(ctx context.Context, from, to storage.Storage) (Counts, error) {
	var n Counts
	var err error
	if n.Keys, err = copyKeys(ctx, from, to); err != nil {
		return Counts{}, fmt.Errorf("copy the issuer's keys: %w", err)
	}
	refs, err := sessionsOf(ctx, from, to)
	if err != nil {
		return Counts{}, fmt.Errorf("copy the issuer's logins: %w", err)
	}
	for _, step := range []struct {
		name string
		n    *int
		copy func(ctx context.Context, from, to storage.Storage) (int, error)
	}{
		{"clients", &n.Clients, clients().copy},
		{"connectors", &n.Connectors, connectors().copy},
		{"passwords", &n.Passwords, passwords().copy},
		{"identities", &n.UserIdentities, identities().copy},
		{"browser sessions", &n.AuthSessions, authSessions().copy},
		{"sessions", &n.OfflineSessions, offlineSessions(refs).copy},
		{"refresh tokens", &n.RefreshTokens, refreshTokens().copy},
	} {
		if *step.n, err = step.copy(ctx, from, to); err != nil {
			return Counts{}, fmt.Errorf("copy the issuer's %s: %w", step.name, err)
		}
	}
	return n, nil
}

// copyKeys comes first: keys tell whose storage it is.
func copyKeys(ctx context.Context, from, to storage.Storage) (int, error) {
	keys, err := keysOf(ctx, from)
	if err != nil {
		return 0, err
	}
	there, err := keysOf(ctx, to)
	if err != nil {
		return 0, err
	}
	if count(there) > 0 && !signed(keys, there.SigningKeyPub) {
		return 0, fault.New(fault.Conflict, "there are keys of another issuer already")
	}
	if count(there) == 0 {
		if err := unused(ctx, to); err != nil || count(keys) == 0 {
			return 0, err
		}
	}
	if err := to.UpdateKeys(ctx, func(storage.Keys) (storage.Keys, error) { return keys, nil }); err != nil {
		return 0, err
	}
	if there, err = keysOf(ctx, to); err != nil {
		return 0, err
	}
	return count(keys), same(there, keys)
}

// signed reports whether a key is the one that signs, or did before.
func signed(keys storage.Keys, key *jose.JSONWebKey) bool {
	return equal(keys.SigningKeyPub, key) ||
		slices.ContainsFunc(keys.VerificationKeys, func(k storage.VerificationKey) bool { return equal(k.PublicKey, key) })
}

// keysOf returns the keys of an issuer, none for one that never ran.
func keysOf(ctx context.Context, s storage.Storage) (storage.Keys, error) {
	keys, err := s.GetKeys(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Keys{}, nil
	}
	return keys, err
}

func count(keys storage.Keys) int {
	n := len(keys.VerificationKeys)
	if keys.SigningKey != nil {
		n++
	}
	return n
}

// unused refuses a storage without keys that somebody has logged in to.
func unused(ctx context.Context, s storage.Storage) error {
	tokens, err := s.ListRefreshTokens(ctx)
	if err != nil {
		return err
	}
	identities, err := s.ListUserIdentities(ctx)
	if err == nil && len(tokens)+len(identities) > 0 {
		err = fault.New(fault.Conflict, "there are logins of another issuer already")
	}
	return err
}

// sessionsOf names the sessions behind refresh tokens, which cannot be listed.
func sessionsOf(ctx context.Context, storages ...storage.Storage) (refs []storage.OfflineSessions, err error) {
	seen := map[[2]string]bool{}
	for _, s := range storages {
		tokens, err := s.ListRefreshTokens(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range tokens {
			if id := [2]string{t.Claims.UserID, t.ConnectorID}; !seen[id] {
				seen[id] = true
				refs = append(refs, storage.OfflineSessions{UserID: id[0], ConnID: id[1]})
			}
		}
	}
	return refs, nil
}
