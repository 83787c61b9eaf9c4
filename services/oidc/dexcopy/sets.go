package dexcopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/dexidp/dex/storage"
)

// set is one kind of resource.
type set[T any] struct {
	list   func(ctx context.Context, s storage.Storage) ([]T, error)
	id     func(T) string
	create func(ctx context.Context, s storage.Storage, v T) error
	update func(ctx context.Context, s storage.Storage, v T) error
	remove func(ctx context.Context, s storage.Storage, v T) error
}

// copy makes to have what from has, and nothing else: a token that was taken back while
// a copy was cut short must not come to life in it.
func (k set[T]) copy(ctx context.Context, from, to storage.Storage) (int, error) {
	want, err := k.list(ctx, from)
	if err != nil {
		return 0, err
	}
	wanted := make(map[string]T, len(want))
	for _, v := range want {
		wanted[k.id(v)] = v
		err := k.create(ctx, to, v)
		if errors.Is(err, storage.ErrAlreadyExists) {
			err = k.update(ctx, to, v)
		}
		if err != nil {
			return 0, err
		}
	}
	got, err := k.list(ctx, to)
	if err != nil {
		return 0, err
	}
	found := 0
	for _, v := range got {
		w, ok := wanted[k.id(v)]
		if !ok {
			if err := k.remove(ctx, to, v); err != nil {
				return 0, err
			}
			continue
		}
		if err := same(v, w); err != nil {
			return 0, err
		}
		found++
	}
	if found != len(wanted) {
		return 0, fmt.Errorf("%d of %d are there", found, len(wanted))
	}
	return found, nil
}

// to is an updater that makes a resource what it is elsewhere.
func to[T any](v T) func(T) (T, error) { return func(T) (T, error) { return v, nil } }

func clients() set[storage.Client] {
	return set[storage.Client]{
		list:   func(ctx context.Context, s storage.Storage) ([]storage.Client, error) { return s.ListClients(ctx) },
		id:     func(v storage.Client) string { return v.ID },
		create: func(ctx context.Context, s storage.Storage, v storage.Client) error { return s.CreateClient(ctx, v) },
		update: func(ctx context.Context, s storage.Storage, v storage.Client) error {
			return s.UpdateClient(ctx, v.ID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.Client) error { return s.DeleteClient(ctx, v.ID) },
	}
}

func connectors() set[storage.Connector] {
	return set[storage.Connector]{
		list: func(ctx context.Context, s storage.Storage) ([]storage.Connector, error) {
			return s.ListConnectors(ctx)
		},
		id: func(v storage.Connector) string { return v.ID },
		create: func(ctx context.Context, s storage.Storage, v storage.Connector) error {
			return s.CreateConnector(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.Connector) error {
			return s.UpdateConnector(ctx, v.ID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.Connector) error {
			return s.DeleteConnector(ctx, v.ID)
		},
	}
}

func passwords() set[storage.Password] {
	return set[storage.Password]{
		list: func(ctx context.Context, s storage.Storage) ([]storage.Password, error) { return s.ListPasswords(ctx) },
		id:   func(v storage.Password) string { return v.Email },
		create: func(ctx context.Context, s storage.Storage, v storage.Password) error {
			return s.CreatePassword(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.Password) error {
			return s.UpdatePassword(ctx, v.Email, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.Password) error {
			return s.DeletePassword(ctx, v.Email)
		},
	}
}

func identities() set[storage.UserIdentity] {
	return set[storage.UserIdentity]{
		list: func(ctx context.Context, s storage.Storage) ([]storage.UserIdentity, error) {
			return s.ListUserIdentities(ctx)
		},
		id: func(v storage.UserIdentity) string { return pair(v.UserID, v.ConnectorID) },
		create: func(ctx context.Context, s storage.Storage, v storage.UserIdentity) error {
			return s.CreateUserIdentity(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.UserIdentity) error {
			return s.UpdateUserIdentity(ctx, v.UserID, v.ConnectorID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.UserIdentity) error {
			return s.DeleteUserIdentity(ctx, v.UserID, v.ConnectorID)
		},
	}
}

func authSessions() set[storage.AuthSession] {
	return set[storage.AuthSession]{
		list: func(ctx context.Context, s storage.Storage) ([]storage.AuthSession, error) {
			return s.ListAuthSessions(ctx)
		},
		id: func(v storage.AuthSession) string { return v.ID },
		create: func(ctx context.Context, s storage.Storage, v storage.AuthSession) error {
			return s.CreateAuthSession(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.AuthSession) error {
			return s.UpdateAuthSession(ctx, v.ID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.AuthSession) error {
			return s.DeleteAuthSession(ctx, v.ID)
		},
	}
}

// offlineSessions are those of refs that are there.
func offlineSessions(refs []storage.OfflineSessions) set[storage.OfflineSessions] {
	return set[storage.OfflineSessions]{
		list: func(ctx context.Context, s storage.Storage) (all []storage.OfflineSessions, err error) {
			for _, ref := range refs {
				v, err := s.GetOfflineSessions(ctx, ref.UserID, ref.ConnID)
				if errors.Is(err, storage.ErrNotFound) {
					continue
				}
				if err != nil {
					return nil, err
				}
				all = append(all, v)
			}
			return all, nil
		},
		id: func(v storage.OfflineSessions) string { return pair(v.UserID, v.ConnID) },
		create: func(ctx context.Context, s storage.Storage, v storage.OfflineSessions) error {
			return s.CreateOfflineSessions(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.OfflineSessions) error {
			return s.UpdateOfflineSessions(ctx, v.UserID, v.ConnID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.OfflineSessions) error {
			return s.DeleteOfflineSessions(ctx, v.UserID, v.ConnID)
		},
	}
}

func refreshTokens() set[storage.RefreshToken] {
	return set[storage.RefreshToken]{
		list: func(ctx context.Context, s storage.Storage) ([]storage.RefreshToken, error) {
			return s.ListRefreshTokens(ctx)
		},
		id: func(v storage.RefreshToken) string { return v.ID },
		create: func(ctx context.Context, s storage.Storage, v storage.RefreshToken) error {
			return s.CreateRefresh(ctx, v)
		},
		update: func(ctx context.Context, s storage.Storage, v storage.RefreshToken) error {
			return s.UpdateRefreshToken(ctx, v.ID, to(v))
		},
		remove: func(ctx context.Context, s storage.Storage, v storage.RefreshToken) error {
			return s.DeleteRefresh(ctx, v.ID)
		},
	}
}

func pair(a, b string) string { return fmt.Sprintf("%q %q", a, b) }
