package dexstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/conformance"
)

var testSecret = bytes.Repeat([]byte{7}, 32)

func open(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	if opts.Secret == nil {
		opts.Secret = testSecret
	}
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	conformance.RunTests(t, func(t *testing.T) storage.Storage {
		return open(t, t.TempDir(), Options{})
	})
}

func TestConcurrency(t *testing.T) {
	conformance.RunConcurrencyTests(t, func(t *testing.T) storage.Storage {
		return open(t, t.TempDir(), Options{})
	})
}

// The suite starts an update inside an updater and expects one of them to fail:
// ours is the inner one, once it has waited for its turn.
func TestTransactions(t *testing.T) {
	conformance.RunTransactionTests(t, func(t *testing.T) storage.Storage {
		return open(t, t.TempDir(), Options{Turn: 50 * time.Millisecond})
	})
}

func refresh(id string) storage.RefreshToken {
	return storage.RefreshToken{ID: id, Token: "t", ClientID: "sigstack", Scopes: []string{"openid"}}
}

func TestIDsOfAnyBytes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	ids := []string{"", "a", "a/b", "a%2Fb", "../keys", "\x00", "\x00\x01", "é", "a b", "/", "//", "A"}
	for _, id := range ids {
		if err := s.CreateRefresh(ctx, refresh(id)); err != nil {
			t.Fatalf("CreateRefresh(%q): %v", id, err)
		}
	}
	for _, id := range ids {
		got, err := s.GetRefresh(ctx, id)
		if err != nil || got.ID != id {
			t.Errorf("GetRefresh(%q) = id %q, %v", id, got.ID, err)
		}
	}
	all, err := s.ListRefreshTokens(ctx)
	if err != nil || len(all) != len(ids) {
		t.Errorf("ListRefreshTokens = %d tokens, %v; want %d", len(all), err, len(ids))
	}
	if _, err := s.GetRefresh(ctx, "\xff\xfe"); err != storage.ErrNotFound { //nolint:errorlint // Dex compares with ==
		t.Errorf("GetRefresh of an id that is not UTF-8 = %v, want storage.ErrNotFound itself", err)
	}
}

// Two parts must not run into one another: (a, b/c) is not (a/b, c).
func TestCompositeIDs(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	pairs := [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"", "a"}, {"a", ""}, {"a\x00", "b"}, {"a", "\x00b"}}
	for _, p := range pairs {
		if err := s.CreateOfflineSessions(ctx, storage.OfflineSessions{UserID: p[0], ConnID: p[1]}); err != nil {
			t.Errorf("CreateOfflineSessions(%q): %v", p, err)
		}
	}
	for _, p := range pairs {
		got, err := s.GetOfflineSessions(ctx, p[0], p[1])
		if err != nil || got.UserID != p[0] || got.ConnID != p[1] {
			t.Errorf("GetOfflineSessions(%q) = (%q, %q), %v", p, got.UserID, got.ConnID, err)
		}
	}
}

func TestRefusesWhatItCannotKeep(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	req := storage.AuthRequest{ID: "r", State: "\xff"}
	if err := s.CreateAuthRequest(ctx, req); !errors.Is(err, errNotUTF8) {
		t.Errorf("create with a state that is not UTF-8 = %v, want %v", err, errNotUTF8)
	}
	for _, state := range []string{"\ufffd", `\ufffd`, `\\ufffd`, `"\`, "\u2028<>&"} {
		req := storage.AuthRequest{ID: "state " + state, State: state}
		if err := s.CreateAuthRequest(ctx, req); err != nil {
			t.Errorf("create with state %q: %v", state, err)
		}
		if got, err := s.GetAuthRequest(ctx, req.ID); err != nil || got.State != state {
			t.Errorf("state %q reads back as %q, %v", state, got.State, err)
		}
	}
}

// A row that is deleted while its updater runs, as a revoked token may be, must
// not come back.
func TestUpdateDoesNotResurrect(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	if err := s.CreateRefresh(ctx, refresh("r")); err != nil {
		t.Fatal(err)
	}
	err := s.UpdateRefreshToken(ctx, "r", func(old storage.RefreshToken) (storage.RefreshToken, error) {
		if err := s.DeleteRefresh(ctx, "r"); err != nil {
			t.Errorf("delete during update: %v", err)
		}
		return old, nil
	})
	if err != storage.ErrNotFound { //nolint:errorlint // Dex compares with ==
		t.Errorf("update of a row deleted meanwhile = %v, want storage.ErrNotFound", err)
	}
	if _, err := s.GetRefresh(ctx, "r"); err != storage.ErrNotFound { //nolint:errorlint // Dex compares with ==
		t.Errorf("row after update and delete: %v, want storage.ErrNotFound", err)
	}
}

func TestUpdateAgainstReplacement(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	if err := s.CreateRefresh(ctx, refresh("r")); err != nil {
		t.Fatal(err)
	}
	err := s.UpdateRefreshToken(ctx, "r", func(old storage.RefreshToken) (storage.RefreshToken, error) {
		other := old
		other.Token = "other"
		return old, errors.Join(s.DeleteRefresh(ctx, "r"), s.CreateRefresh(ctx, other))
	})
	if !errors.Is(err, errConflict) {
		t.Errorf("update of a row replaced meanwhile = %v, want %v", err, errConflict)
	}
	if got, err := s.GetRefresh(ctx, "r"); err != nil || got.Token != "other" {
		t.Errorf("token = %q, %v; want the one created last", got.Token, err)
	}
}

func TestFailedUpdaterChangesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := t.Context()
	if err := s.CreateRefresh(ctx, refresh("r")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("upstream said no")
	err := s.UpdateRefreshToken(ctx, "r", func(old storage.RefreshToken) (storage.RefreshToken, error) {
		old.Token = "changed"
		return old, cause
	})
	if !errors.Is(err, cause) {
		t.Errorf("update = %v, want the updater's %v", err, cause)
	}
	if got, err := s.GetRefresh(ctx, "r"); err != nil || got.Token != "t" {
		t.Errorf("token = %q, %v; want it unchanged", got.Token, err)
	}
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		done, err := turns.take(t.Context(), "row", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := turns.take(t.Context(), "row", time.Second); !errors.Is(err, errTurn) {
			t.Errorf("second turn = %v, want %v", err, errTurn)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.take(ctx, "row", time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("turn with a canceled context = %v, want context.Canceled", err)
		}
		other, err := turns.take(t.Context(), "other", time.Second)
		if err != nil {
			t.Errorf("turn on another row: %v", err)
		}
		other()
		done()
		if len(turns.rows) != 0 {
			t.Errorf("%d rows are still held after the last turn", len(turns.rows))
		}
	})
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	s := open(t, dir, Options{})
	if err := s.CreateRefresh(ctx, refresh("r")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Secret: testSecret}); err == nil {
		t.Error("a second Open of the same directory succeeded")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetRefresh(ctx, "r"); !errors.Is(err, errClosed) {
		t.Errorf("read after Close = %v, want %v", err, errClosed)
	}
	if err := s.DeleteRefresh(ctx, "r"); !errors.Is(err, errClosed) {
		t.Errorf("delete after Close = %v, want %v", err, errClosed)
	}
	if _, err := s.ListRefreshTokens(ctx); !errors.Is(err, errClosed) {
		t.Errorf("list after Close = %v, want %v", err, errClosed)
	}
	again := open(t, dir, Options{})
	if got, err := again.GetRefresh(ctx, "r"); err != nil || !slices.Equal(got.Scopes, []string{"openid"}) {
		t.Errorf("after reopening: %+v, %v", got, err)
	}
}

// What was answered survives a power cut; the clone holds only what was synced.
func TestPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, "db", Options{FS: fs})
	ctx := t.Context()
	if err := s.UpdateKeys(ctx, func(k storage.Keys) (storage.Keys, error) {
		k.NextRotation = time.Unix(1700000000, 0)
		return k, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRefresh(ctx, refresh("r")); err != nil {
		t.Fatal(err)
	}
	after := open(t, "db", Options{FS: fs.CrashClone(vfs.CrashCloneCfg{})})
	if keys, err := after.GetKeys(ctx); err != nil || keys.NextRotation.Unix() != 1700000000 {
		t.Errorf("keys after the cut: %+v, %v", keys, err)
	}
	if _, err := after.GetRefresh(ctx, "r"); err != nil {
		t.Errorf("refresh token after the cut: %v", err)
	}
}

func TestCheck(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check of an empty storage: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("Check of a closed storage = %v, want %v", err, errClosed)
	}
}
