package dexcopy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
	"sigstack/services/oidc/dexcopy"
	"sigstack/services/oidc/dexpebble"
)

func open(t *testing.T) *dexpebble.Store {
	t.Helper()
	s, err := dexpebble.Open(t.TempDir(), dexpebble.Options{Secret: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes what an issuer in use has.
func fill(t *testing.T, s storage.Storage) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	must(t, s.UpdateKeys(ctx, func(storage.Keys) (storage.Keys, error) {
		return storage.Keys{
			SigningKey: key(t, "now"), SigningKeyPub: key(t, "now"), NextRotation: now.Add(time.Hour),
			VerificationKeys: []storage.VerificationKey{{PublicKey: key(t, "before"), Expiry: now.Add(time.Minute)}},
		}, nil
	}))
	verified := true
	must(t,
		s.CreateClient(ctx, storage.Client{ID: "other", Secret: "x", RedirectURIs: []string{"http://localhost/"}}),
		s.CreatePassword(ctx, storage.Password{Email: "a@example.com", Hash: []byte("$2a$10$Q0NjcYkHBPLEkzFUR2Jb8.l9D0kYjyKnsT0H8QjbN8uwCvWLyYGbO"), Username: "a", UserID: "1", EmailVerified: &verified}),
		s.CreateConnector(ctx, storage.Connector{ID: "ldap", Type: "ldap", Name: "LDAP", Config: []byte(`{"host":"h"}`)}),
		s.CreateUserIdentity(ctx, storage.UserIdentity{UserID: "1", ConnectorID: "local", Claims: claims("1"), CreatedAt: now, LastLogin: now}),
		s.CreateAuthSession(ctx, storage.AuthSession{ID: "s1", Secret: "x", UserID: "1", ConnectorID: "local", CreatedAt: now, LastActivity: now, AbsoluteExpiry: now.Add(time.Hour), IdleExpiry: now.Add(time.Hour)}))
	for i := range 5 {
		login(t, s, fmt.Sprint(i))
	}
}

func key(t *testing.T, id string) *jose.JSONWebKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	return &jose.JSONWebKey{Key: k, KeyID: id, Algorithm: "RS256", Use: "sig"}
}

func claims(user string) storage.Claims {
	return storage.Claims{UserID: user, Username: "u" + user, Email: user + "@example.com", EmailVerified: true, Groups: []string{"staff"}}
}

// login leaves a refresh token, and the session behind it.
func login(t *testing.T, s storage.Storage, user string) {
	t.Helper()
	now := time.Now()
	must(t,
		s.CreateRefresh(t.Context(), storage.RefreshToken{
			ID: "token" + user, Token: "secret", ObsoleteToken: "older", CreatedAt: now, LastUsed: now, ClientID: "sigstack",
			ConnectorID: "local", ConnectorData: []byte("data"), Claims: claims(user), Scopes: []string{"openid", "email"}, Nonce: "n",
		}),
		s.CreateOfflineSessions(t.Context(), storage.OfflineSessions{
			UserID: user, ConnID: "local", ConnectorData: []byte("data"),
			Refresh: map[string]*storage.RefreshTokenRef{"sigstack": {ID: "token" + user, ClientID: "sigstack", CreatedAt: now, LastUsed: now}},
		}))
}

var filled = dexcopy.Counts{Keys: 2, RefreshTokens: 5, OfflineSessions: 5, AuthSessions: 1, UserIdentities: 1, Clients: 1, Passwords: 1, Connectors: 1}

func TestCopyThereAndBack(t *testing.T) {
	from := open(t)
	fill(t, from)
	there := memory.New(slog.New(slog.DiscardHandler))
	back := open(t)
	for i, way := range []struct{ from, to storage.Storage }{{from, there}, {there, back}, {there, back}} {
		if n, err := dexcopy.Copy(t.Context(), way.from, way.to); err != nil || n != filled {
			t.Fatalf("copy %d: got %+v, %v, want %+v", i, n, err, filled)
		}
	}
	token, err := back.GetRefresh(t.Context(), "token3")
	if err != nil || token.Token != "secret" || token.ObsoleteToken != "older" || token.Claims.Email != "3@example.com" {
		t.Errorf("refresh token: got %+v, %v", token, err)
	}
	before, err := from.GetKeys(t.Context())
	must(t, err)
	after, err := back.GetKeys(t.Context())
	must(t, err)
	private, ok := after.SigningKey.Key.(*rsa.PrivateKey)
	if !ok || !private.Equal(before.SigningKey.Key) {
		t.Error("another key signs after a way there and back")
	}
}

// failing is a storage that takes so many changes.
type failing struct {
	storage.Storage
	left int
}

var errCut = errors.New("cut short")

func (f *failing) CreateRefresh(ctx context.Context, r storage.RefreshToken) error {
	if f.left--; f.left < 0 {
		return errCut
	}
	return f.Storage.CreateRefresh(ctx, r)
}

// TestCutShort: what changed before the copy is finished is so in it, too.
func TestCutShort(t *testing.T) {
	from, to := open(t), open(t)
	fill(t, from)
	if _, err := dexcopy.Copy(t.Context(), from, &failing{to, 3}); !errors.Is(err, errCut) {
		t.Fatalf("got %v", err)
	}
	must(t,
		from.DeleteRefresh(t.Context(), "token0"),
		from.DeleteOfflineSessions(t.Context(), "0", "local"),
		from.UpdateRefreshToken(t.Context(), "token1", func(r storage.RefreshToken) (storage.RefreshToken, error) { r.Token = "next"; return r, nil }))
	must(t, from.UpdateKeys(t.Context(), func(k storage.Keys) (storage.Keys, error) { // a day has passed
		k.VerificationKeys = append(k.VerificationKeys, storage.VerificationKey{PublicKey: k.SigningKeyPub, Expiry: time.Now().Add(time.Hour)})
		k.SigningKey, k.SigningKeyPub = key(t, "next"), key(t, "next")
		return k, nil
	}))
	want := filled
	want.Keys = 3
	want.RefreshTokens, want.OfflineSessions = 4, 4
	if n, err := dexcopy.Copy(t.Context(), from, to); err != nil || n != want {
		t.Fatalf("got %+v, %v, want %+v", n, err, want)
	}
	if _, err := to.GetRefresh(t.Context(), "token0"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a token that was taken back is there: %v", err)
	}
	if _, err := to.GetOfflineSessions(t.Context(), "0", "local"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a session that was taken back is there: %v", err)
	}
	if token, err := to.GetRefresh(t.Context(), "token1"); err != nil || token.Token != "next" {
		t.Errorf("got %+v, %v, want the token that came after", token, err)
	}
}

func TestStoragesOfOthersAreRefused(t *testing.T) {
	from := open(t)
	fill(t, from)
	other := open(t)
	fill(t, other)
	if _, err := dexcopy.Copy(t.Context(), from, other); fault.KindOf(err) != fault.Conflict {
		t.Errorf("other keys: got %v", err)
	}
	if _, err := dexcopy.Copy(t.Context(), open(t), other); fault.KindOf(err) != fault.Conflict {
		t.Errorf("an empty issuer over another: got %v", err)
	}
	logins := open(t)
	login(t, logins, "9")
	if _, err := dexcopy.Copy(t.Context(), from, logins); fault.KindOf(err) != fault.Conflict {
		t.Errorf("logins without keys: got %v", err)
	}
	if n, err := dexcopy.Copy(t.Context(), open(t), open(t)); err != nil || n != (dexcopy.Counts{}) {
		t.Errorf("nothing into nothing: got %+v, %v", n, err)
	}
}
