package dexstore

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dexidp/dex/storage"

	"sigstack/internal/fault"
	"sigstack/internal/pgtest"
)

func openWith(t *testing.T, secret byte) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{Secret: bytes.Repeat([]byte{secret}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noErr(t, s.Close()) })
	return s
}

func openSharedWith(t *testing.T, secret byte) *Store {
	t.Helper()
	db := pgtest.New(t)
	if _, err := Migrate(t.Context(), db.URL, "issuer"); err != nil {
		t.Fatal(err)
	}
	s, err := OpenShared(t.Context(), Database{URL: db.URL, Schema: "issuer", Connections: 2}, Options{Secret: bytes.Repeat([]byte{secret}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noErr(t, s.Close()) })
	return s
}

func noErr(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes what an issuer in use has, with keys that sign until then.
func fill(t *testing.T, s *Store, until time.Time) {
	t.Helper()
	ctx := t.Context()
	noErr(t,
		s.UpdateKeys(ctx, func(storage.Keys) (storage.Keys, error) { return storage.Keys{NextRotation: until}, nil }),
		s.CreateRefresh(ctx, storage.RefreshToken{ID: "r1", Token: "secret", ClientID: "sigstore"}),
		s.CreateOfflineSessions(ctx, storage.OfflineSessions{UserID: "a/b", ConnID: "local"}),
		s.CreateDeviceRequest(ctx, storage.DeviceRequest{UserCode: "ABCD-EFGH", DeviceCode: "d", Expiry: until}))
}

func TestEveryEngineCopies(t *testing.T) {
	for _, e := range []engine{&embedded{}, &shared{}} {
		if _, ok := e.(bulk); !ok {
			t.Errorf("%T cannot be copied", e)
		}
	}
}

func TestCopyThereAndBack(t *testing.T) {
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	from, there, back := openWith(t, 1), openSharedWith(t, 1), openWith(t, 1)
	fill(t, from, noon)
	noErr(t, back.CreateRefresh(t.Context(), storage.RefreshToken{ID: "taken back since"}))
	want := Copied{Rows: 4, RefreshTokens: 1}
	for i, way := range []struct{ from, to *Store }{{from, there}, {there, back}, {there, back}} {
		if got, err := Copy(t.Context(), way.from, way.to); err != nil || got != want {
			t.Fatalf("copy %d: got %+v, %v, want %+v", i, got, err, want)
		}
	}
	if token, err := back.GetRefresh(t.Context(), "r1"); err != nil || token.Token != "secret" {
		t.Errorf("refresh token: got %+v, %v", token, err)
	}
	if login, err := back.GetDeviceRequest(t.Context(), "ABCD-EFGH"); err != nil || login.DeviceCode != "d" {
		t.Errorf("login under way: got %+v, %v", login, err)
	}
	if _, err := back.GetRefresh(t.Context(), "taken back since"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a token that the source has not: got %v", err)
	}
	if got, err := Copy(t.Context(), openWith(t, 1), back); err != nil || got != (Copied{}) {
		t.Errorf("nothing: got %+v, %v", got, err)
	}
	if rows, err := back.bulk().all(t.Context()); err != nil || len(rows) != want.Rows {
		t.Errorf("nothing was copied, and %d rows are left, %v", len(rows), err)
	}
	noErr(t, there.Clear(t.Context()))
	if rows, err := there.bulk().all(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("cleared: got %d rows, %v", len(rows), err)
	}
}

// TestCopyRefuses what would be lost, and changes nothing then.
func TestCopyRefuses(t *testing.T) {
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	from := openWith(t, 1)
	fill(t, from, noon)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context //nolint:containedctx // a table
		to   *Store
		make func(*Store)
		want fault.Kind
	}{
		{"another issuer's", t.Context(), openWith(t, 2), func(s *Store) {
			fill(t, s, noon)
			s.seal = from.seal // what was written under another secret
		}, fault.Conflict},
		{"a newer state", t.Context(), openSharedWith(t, 1), func(s *Store) { fill(t, s, noon.Add(time.Hour)) }, fault.Conflict},
		{"canceled", canceled, openSharedWith(t, 1), func(s *Store) { fill(t, s, noon) }, fault.Internal},
	} {
		tt.make(tt.to)
		before, err := tt.to.bulk().all(t.Context())
		noErr(t, err)
		if got, err := Copy(tt.ctx, from, tt.to); err == nil || fault.KindOf(err) != tt.want {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
		after, err := tt.to.bulk().all(t.Context())
		noErr(t, err)
		if !sameRows(before, after) {
			t.Errorf("%s: rows changed", tt.name)
		}
	}
}
