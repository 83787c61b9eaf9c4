package pebblelog_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian/integration/storagetest"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/testonly"

	"sigstack/internal/merkle/pebblelog"
)

func open(t *testing.T, fs vfs.FS, dir string) *pebblelog.Store {
	t.Helper()
	s, err := pebblelog.Open(dir, pebblelog.Options{FS: fs, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestTrillianLogStorageSuite(t *testing.T) {
	storagetest.RunLogStorageTests(t, func(_ context.Context, t *testing.T) (storage.LogStorage, storage.AdminStorage) {
		s := open(t, nil, t.TempDir())
		return s, s.Admin()
	})
}

func TestTrillianAdminStorageSuite(t *testing.T) {
	tester := &testonly.AdminStorageTester{NewAdminStorage: func() storage.AdminStorage {
		return open(t, vfs.NewMem(), "db").Admin()
	}}
	tester.RunAllTests(t)
}
