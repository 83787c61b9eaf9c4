package dexstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dexidp/dex/storage"
)

// tables are the resources of storage.Storage. Their names are the key prefixes
// on disk and must not change.
type tables struct {
	authRequests    table[storage.AuthRequest]
	authCodes       table[storage.AuthCode]
	authSessions    table[storage.AuthSession]
	clients         table[storage.Client]
	connectors      table[storage.Connector]
	deviceRequests  table[storage.DeviceRequest] // by user code
	deviceTokens    table[storage.DeviceToken]   // by device code
	keys            table[storage.Keys]          // one row, without id
	offlineSessions table[storage.OfflineSessions]
	passwords       table[storage.Password] // by lower-case e-mail address
	refreshTokens   table[storage.RefreshToken]
	userIdentities  table[storage.UserIdentity]
}

func newTables(s *Store) tables {
	return tables{
		authRequests: table[storage.AuthRequest]{s, "auth-request", func(v storage.AuthRequest, now time.Time) bool {
			return now.After(v.Expiry)
		}},
		authCodes: table[storage.AuthCode]{s, "auth-code", func(v storage.AuthCode, now time.Time) bool {
			return now.After(v.Expiry)
		}},
		authSessions: table[storage.AuthSession]{s, "auth-session", func(v storage.AuthSession, now time.Time) bool {
			return now.After(v.AbsoluteExpiry) || now.After(v.IdleExpiry)
		}},
		clients:    table[storage.Client]{s, "client", nil},
		connectors: table[storage.Connector]{s, "connector", nil},
		deviceRequests: table[storage.DeviceRequest]{s, "device-request", func(v storage.DeviceRequest, now time.Time) bool {
			return now.After(v.Expiry)
		}},
		deviceTokens: table[storage.DeviceToken]{s, "device-token", func(v storage.DeviceToken, now time.Time) bool {
			return now.After(v.Expiry)
		}},
		keys:            table[storage.Keys]{s, "keys", nil},
		offlineSessions: table[storage.OfflineSessions]{s, "offline-session", nil},
		passwords:       table[storage.Password]{s, "password", nil},
		refreshTokens:   table[storage.RefreshToken]{s, "refresh-token", nil},
		userIdentities:  table[storage.UserIdentity]{s, "user-identity", nil},
	}
}

// GarbageCollect deletes, in one transaction, every expired row.
func (s *Store) GarbageCollect(ctx context.Context, now time.Time) (storage.GCResult, error) {
	var n storage.GCResult
	err := s.rows.write(func(w writer) error {
		for _, collect := range []func() error{
			func() error { return s.tables.authRequests.collect(w, now, &n.AuthRequests) },
			func() error { return s.tables.authCodes.collect(w, now, &n.AuthCodes) },
			func() error { return s.tables.deviceRequests.collect(w, now, &n.DeviceRequests) },
			func() error { return s.tables.deviceTokens.collect(w, now, &n.DeviceTokens) },
			func() error { return s.tables.authSessions.collect(w, now, &n.AuthSessions) },
		} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := collect(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return storage.GCResult{}, fmt.Errorf("collect expired rows: %w", err)
	}
	return n, nil
}

// email is the id of a password: addresses differing in case are one user.
func email(address string) string { return strings.ToLower(address) }

// The rest of this file is storage.Storage, one line a method. What does not wait
// for a turn is local and short, and takes no notice of a canceled context: Dex
// undoes half-made changes in the context of the request that was cut off.

// CreateAuthRequest implements storage.Storage.
func (s *Store) CreateAuthRequest(_ context.Context, v storage.AuthRequest) error {
	return s.tables.authRequests.create(v, v.ID)
}

// GetAuthRequest implements storage.Storage.
func (s *Store) GetAuthRequest(_ context.Context, id string) (storage.AuthRequest, error) {
	return s.tables.authRequests.get(id)
}

// UpdateAuthRequest implements storage.Storage.
func (s *Store) UpdateAuthRequest(ctx context.Context, id string, updater func(storage.AuthRequest) (storage.AuthRequest, error)) error {
	return s.tables.authRequests.update(ctx, updater, id)
}

// DeleteAuthRequest implements storage.Storage.
func (s *Store) DeleteAuthRequest(_ context.Context, id string) error {
	return s.tables.authRequests.delete(id)
}

// CreateAuthCode implements storage.Storage.
func (s *Store) CreateAuthCode(_ context.Context, v storage.AuthCode) error {
	return s.tables.authCodes.create(v, v.ID)
}

// GetAuthCode implements storage.Storage.
func (s *Store) GetAuthCode(_ context.Context, id string) (storage.AuthCode, error) {
	return s.tables.authCodes.get(id)
}

// DeleteAuthCode implements storage.Storage.
func (s *Store) DeleteAuthCode(_ context.Context, id string) error {
	return s.tables.authCodes.delete(id)
}

// CreateAuthSession implements storage.Storage.
func (s *Store) CreateAuthSession(_ context.Context, v storage.AuthSession) error {
	return s.tables.authSessions.create(v, v.ID)
}

// GetAuthSession implements storage.Storage.
func (s *Store) GetAuthSession(_ context.Context, id string) (storage.AuthSession, error) {
	return s.tables.authSessions.get(id)
}

// ListAuthSessions implements storage.Storage.
func (s *Store) ListAuthSessions(_ context.Context) ([]storage.AuthSession, error) {
	return s.tables.authSessions.list()
}

// UpdateAuthSession implements storage.Storage.
func (s *Store) UpdateAuthSession(ctx context.Context, id string, updater func(storage.AuthSession) (storage.AuthSession, error)) error {
	return s.tables.authSessions.update(ctx, updater, id)
}

// DeleteAuthSession implements storage.Storage.
func (s *Store) DeleteAuthSession(_ context.Context, id string) error {
	return s.tables.authSessions.delete(id)
}

// CreateClient implements storage.Storage.
func (s *Store) CreateClient(_ context.Context, v storage.Client) error {
	return s.tables.clients.create(v, v.ID)
}

// GetClient implements storage.Storage.
func (s *Store) GetClient(_ context.Context, id string) (storage.Client, error) {
	return s.tables.clients.get(id)
}

// ListClients implements storage.Storage.
func (s *Store) ListClients(_ context.Context) ([]storage.Client, error) {
	return s.tables.clients.list()
}

// UpdateClient implements storage.Storage.
func (s *Store) UpdateClient(ctx context.Context, id string, updater func(storage.Client) (storage.Client, error)) error {
	return s.tables.clients.update(ctx, updater, id)
}

// DeleteClient implements storage.Storage.
func (s *Store) DeleteClient(_ context.Context, id string) error {
	return s.tables.clients.delete(id)
}

// CreateConnector implements storage.Storage.
func (s *Store) CreateConnector(_ context.Context, v storage.Connector) error {
	return s.tables.connectors.create(v, v.ID)
}

// GetConnector implements storage.Storage.
func (s *Store) GetConnector(_ context.Context, id string) (storage.Connector, error) {
	return s.tables.connectors.get(id)
}

// ListConnectors implements storage.Storage.
func (s *Store) ListConnectors(_ context.Context) ([]storage.Connector, error) {
	return s.tables.connectors.list()
}

// UpdateConnector implements storage.Storage.
func (s *Store) UpdateConnector(ctx context.Context, id string, updater func(storage.Connector) (storage.Connector, error)) error {
	return s.tables.connectors.update(ctx, updater, id)
}

// DeleteConnector implements storage.Storage.
func (s *Store) DeleteConnector(_ context.Context, id string) error {
	return s.tables.connectors.delete(id)
}

// CreateDeviceRequest implements storage.Storage.
func (s *Store) CreateDeviceRequest(_ context.Context, v storage.DeviceRequest) error {
	return s.tables.deviceRequests.create(v, v.UserCode)
}

// GetDeviceRequest implements storage.Storage.
func (s *Store) GetDeviceRequest(_ context.Context, userCode string) (storage.DeviceRequest, error) {
	return s.tables.deviceRequests.get(userCode)
}

// CreateDeviceToken implements storage.Storage.
func (s *Store) CreateDeviceToken(_ context.Context, v storage.DeviceToken) error {
	return s.tables.deviceTokens.create(v, v.DeviceCode)
}

// GetDeviceToken implements storage.Storage.
func (s *Store) GetDeviceToken(_ context.Context, deviceCode string) (storage.DeviceToken, error) {
	return s.tables.deviceTokens.get(deviceCode)
}

// UpdateDeviceToken implements storage.Storage.
func (s *Store) UpdateDeviceToken(ctx context.Context, deviceCode string, updater func(storage.DeviceToken) (storage.DeviceToken, error)) error {
	return s.tables.deviceTokens.update(ctx, updater, deviceCode)
}

// CreateRefresh implements storage.Storage.
func (s *Store) CreateRefresh(_ context.Context, v storage.RefreshToken) error {
	return s.tables.refreshTokens.create(v, v.ID)
}

// GetRefresh implements storage.Storage.
func (s *Store) GetRefresh(_ context.Context, id string) (storage.RefreshToken, error) {
	return s.tables.refreshTokens.get(id)
}

// ListRefreshTokens implements storage.Storage.
func (s *Store) ListRefreshTokens(_ context.Context) ([]storage.RefreshToken, error) {
	return s.tables.refreshTokens.list()
}

// UpdateRefreshToken implements storage.Storage.
func (s *Store) UpdateRefreshToken(ctx context.Context, id string, updater func(storage.RefreshToken) (storage.RefreshToken, error)) error {
	return s.tables.refreshTokens.update(ctx, updater, id)
}

// DeleteRefresh implements storage.Storage.
func (s *Store) DeleteRefresh(_ context.Context, id string) error {
	return s.tables.refreshTokens.delete(id)
}

// CreatePassword implements storage.Storage.
func (s *Store) CreatePassword(_ context.Context, v storage.Password) error {
	return s.tables.passwords.create(v, email(v.Email))
}

// GetPassword implements storage.Storage.
func (s *Store) GetPassword(_ context.Context, address string) (storage.Password, error) {
	return s.tables.passwords.get(email(address))
}

// ListPasswords implements storage.Storage.
func (s *Store) ListPasswords(_ context.Context) ([]storage.Password, error) {
	return s.tables.passwords.list()
}

// UpdatePassword implements storage.Storage.
func (s *Store) UpdatePassword(ctx context.Context, address string, updater func(storage.Password) (storage.Password, error)) error {
	return s.tables.passwords.update(ctx, updater, email(address))
}

// DeletePassword implements storage.Storage.
func (s *Store) DeletePassword(_ context.Context, address string) error {
	return s.tables.passwords.delete(email(address))
}

// CreateOfflineSessions implements storage.Storage.
func (s *Store) CreateOfflineSessions(_ context.Context, v storage.OfflineSessions) error {
	return s.tables.offlineSessions.create(v, v.UserID, v.ConnID)
}

// GetOfflineSessions implements storage.Storage.
func (s *Store) GetOfflineSessions(_ context.Context, userID, connID string) (storage.OfflineSessions, error) {
	return s.tables.offlineSessions.get(userID, connID)
}

// UpdateOfflineSessions implements storage.Storage.
func (s *Store) UpdateOfflineSessions(ctx context.Context, userID, connID string, updater func(storage.OfflineSessions) (storage.OfflineSessions, error)) error {
	return s.tables.offlineSessions.update(ctx, updater, userID, connID)
}

// DeleteOfflineSessions implements storage.Storage.
func (s *Store) DeleteOfflineSessions(_ context.Context, userID, connID string) error {
	return s.tables.offlineSessions.delete(userID, connID)
}

// CreateUserIdentity implements storage.Storage.
func (s *Store) CreateUserIdentity(_ context.Context, v storage.UserIdentity) error {
	return s.tables.userIdentities.create(v, v.UserID, v.ConnectorID)
}

// GetUserIdentity implements storage.Storage.
func (s *Store) GetUserIdentity(_ context.Context, userID, connectorID string) (storage.UserIdentity, error) {
	return s.tables.userIdentities.get(userID, connectorID)
}

// ListUserIdentities implements storage.Storage.
func (s *Store) ListUserIdentities(_ context.Context) ([]storage.UserIdentity, error) {
	return s.tables.userIdentities.list()
}

// UpdateUserIdentity implements storage.Storage.
func (s *Store) UpdateUserIdentity(ctx context.Context, userID, connectorID string, updater func(storage.UserIdentity) (storage.UserIdentity, error)) error {
	return s.tables.userIdentities.update(ctx, updater, userID, connectorID)
}

// DeleteUserIdentity implements storage.Storage.
func (s *Store) DeleteUserIdentity(_ context.Context, userID, connectorID string) error {
	return s.tables.userIdentities.delete(userID, connectorID)
}

// GetKeys implements storage.Storage.
func (s *Store) GetKeys(_ context.Context) (storage.Keys, error) {
	return s.tables.keys.get()
}

// UpdateKeys implements storage.Storage; the first update creates the keys.
func (s *Store) UpdateKeys(ctx context.Context, updater func(storage.Keys) (storage.Keys, error)) error {
	return s.tables.keys.upsert(ctx, updater)
}
