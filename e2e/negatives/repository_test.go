package negatives

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"sigstack/internal/keys"
)

// repository is a stack's TUF repository, to be changed and signed again with its
// own keys: metadata and targets by path.
type repository struct {
	files map[string][]byte
	keys  map[string]keys.Key // by role
}

// The files of a repository that was published once.
const (
	rootFile      = "1.root.json"
	targetsFile   = "1.targets.json"
	snapshotFile  = "1.snapshot.json"
	timestampFile = "timestamp.json"
)

func (f *forge) repository(t *testing.T) repository {
	t.Helper()
	r := repository{files: map[string][]byte{}, keys: map[string]keys.Key{}}
	dir := filepath.Join(f.stack.Dir, "tuf")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		r.files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for role, folder := range map[string]string{"root": "offline", "targets": "offline", "snapshot": "keys", "timestamp": "keys"} {
		r.keys[role] = loadKey(t, filepath.Join(f.stack.Dir, folder), "tuf-"+role)
	}
	return r
}

// clone is a copy to be changed; file contents are replaced, never written to.
func (r repository) clone() repository { return repository{maps.Clone(r.files), r.keys} }

// change changes what a file of metadata says, without a new signature.
func (r repository) change(t *testing.T, file string, change func(signed object)) {
	t.Helper()
	var metadata object
	if err := json.Unmarshal(r.files[file], &metadata); err != nil {
		t.Fatal(err)
	}
	change(metadata["signed"].(object))
	r.files[file] = []byte(text(metadata))
}

// publish changes a file of metadata and signs it anew, by a role's key, and all
// that vouches for it.
func (r repository) publish(t *testing.T, file string, change func(signed object)) {
	t.Helper()
	r.change(t, file, change)
	r.sign(t, file, r.keys[roleOf(file)])
	above := map[string]string{targetsFile: snapshotFile, snapshotFile: timestampFile}[file]
	if above == "" {
		return
	}
	r.publish(t, above, func(signed object) {
		sum := sha256.Sum256(r.files[file])
		meta := signed["meta"].(object)[roleOf(file)+".json"].(object)
		meta["hashes"], meta["length"] = object{"sha256": hex.EncodeToString(sum[:])}, len(r.files[file])
	})
}

func roleOf(file string) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(file, ".json"), "1."), "2.")
}

// sign replaces a file's signature (TUF §4.2: over canonical JSON).
func (r repository) sign(t *testing.T, file string, key keys.Key) {
	t.Helper()
	var metadata struct {
		Signatures []object       `json:"signatures"`
		Signed     map[string]any `json:"signed"`
	}
	if err := json.Unmarshal(r.files[file], &metadata); err != nil {
		t.Fatal(err)
	}
	canonical, err := cjson.EncodeCanonical(metadata.Signed)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(canonical)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	metadata.Signatures[0]["sig"] = hex.EncodeToString(signature)
	r.files[file] = []byte(text(object{"signatures": metadata.Signatures[:1], "signed": metadata.Signed}))
}

// mirror serves one state of a repository at a time.
type mirror struct {
	url   string
	state atomic.Pointer[repository]
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := m.state.Load().files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}
