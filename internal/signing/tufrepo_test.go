package signing_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// tufRepo is a TUF repository in memory, with one key for all roles.
type tufRepo struct {
	tb      testing.TB
	key     ed25519.PrivateKey
	root    *metadata.Metadata[metadata.RootType]
	expires time.Time
	version int64 // of what was published last

	mu    sync.Mutex // guards files, which clients read
	files map[string][]byte
}

func newTUFRepo(tb testing.TB) *tufRepo {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	r := &tufRepo{tb: tb, key: key, expires: now().Add(time.Hour), files: map[string][]byte{}}
	r.root = metadata.Root(now().Add(24 * time.Hour))
	r.root.Signed.ConsistentSnapshot = true
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := r.root.Signed.AddKey(r.publicKey(key), role); err != nil {
			tb.Fatal(err)
		}
	}
	r.put("1.root.json", seal(r, r.root, r.key))
	return r
}

// seal adds key's signature to m and renders it.
func seal[T metadata.Roles](r *tufRepo, m *metadata.Metadata[T], key ed25519.PrivateKey) []byte {
	r.tb.Helper()
	signer, err := signature.LoadED25519Signer(key)
	if err != nil {
		r.tb.Fatal(err)
	}
	if _, err := m.Sign(signer); err != nil {
		r.tb.Fatal(err)
	}
	data, err := m.ToBytes(true)
	if err != nil {
		r.tb.Fatal(err)
	}
	return data
}

func (r *tufRepo) publicKey(key ed25519.PrivateKey) *metadata.Key {
	r.tb.Helper()
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		r.tb.Fatal(err)
	}
	return public
}

func (r *tufRepo) put(name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = data
}

func (r *tufRepo) get(name string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.files[name]
	return data, ok
}

// edit changes the file whose name ends so.
func (r *tufRepo) edit(suffix string, change func([]byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, data := range r.files {
		if strings.HasSuffix(name, suffix) {
			r.files[name] = change(bytes.Clone(data))
			return
		}
	}
	r.tb.Fatalf("no file %s", suffix)
}

// publish makes the next version of everything but the root.
func (r *tufRepo) publish(targets map[string][]byte) {
	r.version++
	version := strconv.FormatInt(r.version, 10)
	role := metadata.Targets(r.expires)
	role.Signed.Version = r.version
	for name, data := range targets {
		sum := sha256.Sum256(data)
		role.Signed.Targets[name] = &metadata.TargetFiles{Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}, Path: name}
		r.put("targets/"+hex.EncodeToString(sum[:])+"."+name, data)
	}
	text := seal(r, role, r.key)
	r.put(version+".targets.json", text)
	snapshot := metadata.Snapshot(r.expires)
	snapshot.Signed.Version = r.version
	snapshot.Signed.Meta["targets.json"] = metaFile(r.version, text)
	text = seal(r, snapshot, r.key)
	r.put(version+".snapshot.json", text)
	timestamp := metadata.Timestamp(r.expires)
	timestamp.Signed.Version = r.version
	timestamp.Signed.Meta["snapshot.json"] = metaFile(r.version, text)
	r.put("timestamp.json", seal(r, timestamp, r.key))
}

func metaFile(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{Version: version, Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// rotate replaces the repository's key by a new root version, which both sign.
func (r *tufRepo) rotate() {
	r.tb.Helper()
	next := newTUFRepo(r.tb).key
	before, err := r.publicKey(r.key).ID()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := errors.Join(r.root.Signed.AddKey(r.publicKey(next), role), r.root.Signed.RevokeKey(before, role)); err != nil {
			r.tb.Fatal(err)
		}
	}
	r.root.Signed.Version++
	r.root.ClearSignatures()
	seal(r, r.root, r.key)
	r.key = next
	r.put(strconv.FormatInt(r.root.Signed.Version, 10)+".root.json", seal(r, r.root, next))
}
