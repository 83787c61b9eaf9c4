package rekorv1_test

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog/tlogtest"
)

// TestPowerCutRightAfterA201 cuts the power the moment a 201 has arrived, with
// everything lost that was not synced, and demands every 201 from what is left.
// The same with the one sync option changed must notice the loss.
func TestPowerCutRightAfterA201(t *testing.T) {
	for _, entries := range []int{1, 2, 40} {
		t.Run(fmt.Sprint(entries), func(t *testing.T) {
			if err := powerCut(t, entries, false); err != nil {
				t.Errorf("with sync: %v", err)
			}
			err := powerCut(t, entries, true)
			if err == nil || !strings.Contains(err.Error(), "is missing") {
				t.Errorf("without sync: got %v, want a missing acknowledged entry named", err)
			}
		})
	}
}

// powerCut writes until so many 201s have arrived, cuts the power, and looks for
// each of them after a restart.
func powerCut(t *testing.T, entries int, noSync bool) error {
	t.Helper()
	disk := vfs.NewCrashableMem()
	tree := newTree(t, disk) // synced: only the entries are at stake
	before := serve(t, openTree(t, "db", pebblelog.Options{FS: disk, Now: time.Now, NoSync: noSync}, tree))
	acknowledged, left := writeUntilCut(t, before, disk, entries)
	after := serve(t, openTree(t, "db", pebblelog.Options{FS: left, Now: time.Now}, tree))
	for _, e := range acknowledged {
		if err := after.demand(t, e); err != nil {
			return err
		}
	}
	return nil
}

// newTree makes an empty tree and leaves it on disk.
func newTree(t *testing.T, disk vfs.FS) int64 {
	t.Helper()
	store, err := pebblelog.Open("db", pebblelog.Options{FS: disk, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	id, err := merkle.CreateTree(t.Context(), store, "rekor")
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return id
}

// writeUntilCut posts from several writers. The instant that the last 201 has
// arrived it takes what a power cut would leave of the disk.
func writeUntilCut(t *testing.T, r *rig, disk *vfs.MemFS, entries int) (acknowledged []tlogtest.Entry, left *vfs.MemFS) {
	t.Helper()
	var mu sync.Mutex // guards the results
	var wg sync.WaitGroup
	for range min(entries, 8) {
		signer := tlogtest.NewSigner(t)
		wg.Go(func() {
			for i := 0; ; i++ {
				a := r.do(t, http.MethodPost, "/api/v1/log/entries",
					tlogtest.JSON(t, tlogtest.HashedRekord(t, signer, crypto.SHA256, fmt.Append(nil, i))))
				mu.Lock()
				if left == nil && a.status == http.StatusCreated {
					e, err := r.log.CheckEntry(a.body)
					if err != nil {
						t.Error(err)
					}
					if acknowledged = append(acknowledged, e); len(acknowledged) == entries {
						left = disk.CrashClone(vfs.CrashCloneCfg{})
					}
				}
				over := left != nil || a.status != http.StatusCreated
				mu.Unlock()
				if over {
					return
				}
			}
		})
	}
	wg.Wait()
	if left == nil {
		t.Fatal("the writers stopped before the cut")
	}
	return acknowledged, left
}

// wantFound searches an acknowledged hashedrekord by its artifact and its key.
func (r *rig) wantFound(t *testing.T, e tlogtest.Entry) error {
	t.Helper()
	var rekord struct {
		Spec struct {
			Data      struct{ Hash struct{ Value string } }
			Signature struct{ PublicKey struct{ Content string } }
		}
	}
	if err := json.Unmarshal(e.Body, &rekord); err != nil {
		return err
	}
	a := r.post(t, "/api/v1/index/retrieve", tlogtest.Object{
		"hash": rekord.Spec.Data.Hash.Value, "operator": "and",
		"publicKey": tlogtest.Object{"format": "x509", "content": rekord.Spec.Signature.PublicKey.Content},
	})
	if want := fmt.Sprintf("[%q]\n", e.ID); string(a.body) != want {
		return fmt.Errorf("acknowledged entry %d is not found: search answered %d %s, want %s", e.LogIndex, a.status, a.body, want)
	}
	return nil
}

// demand wants an acknowledged entry back as it was, in a tree that extends the
// one its 201 showed, and found by what it signs.
func (r *rig) demand(t *testing.T, e tlogtest.Entry) error {
	t.Helper()
	a := r.do(t, http.MethodGet, "/api/v1/log/entries/"+e.ID, nil)
	if a.status == http.StatusNotFound {
		return fmt.Errorf("acknowledged entry %d (%s) is missing", e.LogIndex, e.ID)
	}
	got, err := r.log.CheckEntry(a.body)
	if err != nil {
		return fmt.Errorf("acknowledged entry %d: %w", e.LogIndex, err)
	}
	if got.LogIndex != e.LogIndex || got.IntegratedTime != e.IntegratedTime || !bytes.Equal(got.Body, e.Body) {
		return fmt.Errorf("acknowledged entry %d came back as index %d of time %d", e.LogIndex, got.LogIndex, got.IntegratedTime)
	}
	if err := r.wantFound(t, e); err != nil {
		return err
	}
	a = r.do(t, http.MethodGet, fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", e.Head.Size, got.Head.Size), nil)
	var proof struct {
		Hashes []string `json:"hashes"`
	}
	if err := json.Unmarshal(a.body, &proof); err != nil {
		return fmt.Errorf("consistency proof %q: %w", a.body, err)
	}
	var hashes [][]byte
	for _, h := range proof.Hashes {
		hash, err := hex.DecodeString(h)
		if err != nil {
			return err
		}
		hashes = append(hashes, hash)
	}
	if err := tlogtest.CheckConsistency(e.Head.Size, got.Head.Size, e.Head.Root, got.Head.Root, hashes); err != nil {
		return fmt.Errorf("tree does not extend that of entry %d: %w", e.LogIndex, err)
	}
	return nil
}
