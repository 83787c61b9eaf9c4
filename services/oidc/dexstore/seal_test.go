package dexstore

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// Nothing of a row's content is on the disk: not in the log, not in a table.
func TestRowsAreEncryptedOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	row := refresh("id-in-the-key")
	row.Token = "content-of-the-row"
	if err := s.CreateRefresh(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if err := s.rows.(*embedded).db.Flush(); err != nil {
		t.Fatal(err)
	}
	keys := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(row.Token)) {
			t.Errorf("%s holds the row's content", filepath.Base(path))
		}
		keys += bytes.Count(data, []byte("id-in-the-key"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if keys == 0 {
		t.Error("the row's key is in no file either: the search finds nothing")
	}
}

func TestRowsAreBoundToKeyAndSecret(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ctx := t.Context()
	for _, id := range []string{"a", "b"} {
		if err := s.CreateRefresh(ctx, refresh(id)); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(id string) []byte {
		t.Helper()
		value, closer, err := s.rows.(*embedded).db.Get(rowKey("refresh-token", id))
		if err != nil {
			t.Fatal(err)
		}
		row := bytes.Clone(value)
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
		return row
	}
	a := raw("a")
	changed := bytes.Clone(a)
	changed[len(changed)-1] ^= 1
	for name, box := range map[string][]byte{"another row's": raw("b"), "changed": changed, "short": a[:5], "empty": {}} {
		if err := s.rows.(*embedded).db.Set(rowKey("refresh-token", "a"), box, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if _, err := s.GetRefresh(ctx, "a"); err == nil {
			t.Errorf("a row with %s bytes was read", name)
		}
		if _, err := s.ListRefreshTokens(ctx); err == nil {
			t.Errorf("a row with %s bytes was listed", name)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir, Options{Secret: bytes.Repeat([]byte{8}, 32)})
	if _, err := other.GetRefresh(ctx, "b"); err == nil {
		t.Error("a row was read with another secret")
	}
}
