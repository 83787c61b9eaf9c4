package fleet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigstack/internal/durable"
)

// maxFile bounds a file that is replicated, in bytes.
const maxFile = 16 << 20

// folders are replicated as a whole.
var folders = []string{"keys", "tuf", "client", "peers"}

// own are a replica's own: what is in there, or is called so, is never replicated.
var own = []string{
	"db", "run", "audit", "checkpoints", "offline", "replica", "replica.yaml", "replica.key",
	"lock", "admin.sock", "client/env.sh", "init-unfinished",
}

// Last is how files are written that refer to others: after them.
const (
	timestampFile = "tuf/timestamp.json"
	configFile    = "config.yaml"
)

// keptFile is config.yaml from before a command changed it (config.KeptSuffix): whoever
// goes on with that command tells by it what the change was.
const keptFile = configFile + ".old"

// journals is the folder of the journals of rotations.
const journals = "rotations/"

// mayReplicate reports whether a path, with slashes, can be that of a replicated file:
// it leads to a place below the directory, and not to what is a replica's own.
func mayReplicate(p string) bool {
	if p != path.Clean(p) || !filepath.IsLocal(filepath.FromSlash(p)) || p == "." || strings.ContainsAny(p, "\x00\\") {
		return false
	}
	// Case, for file systems that do not tell it apart.
	lower := strings.ToLower(p)
	for _, o := range own {
		if lower == o || strings.HasPrefix(lower, o+"/") {
			return false
		}
	}
	return !strings.Contains(path.Base(p), ".tmp-")
}

// Replicated reports whether a path below the directory, with slashes, is replicated
// without being asked for: config.yaml and what it was before, the folders of keys, trust
// root and kit, journals, and the files in which a stack keeps its state.
func Replicated(p string) bool {
	if !mayReplicate(p) {
		return false
	}
	top, _, below := strings.Cut(p, "/")
	if below {
		return slices.Contains(folders, top) || strings.HasPrefix(p, journals)
	}
	return p == configFile || p == keptFile || p == "demo-user" || path.Ext(p) == ".json"
}

// file is one of a directory.
type file struct {
	content []byte
	mode    fs.FileMode
}

func (f file) sum() [32]byte { return sha256.Sum256(f.content) }

// scan reads what is replicated of a directory. Paths are those asked for besides.
func scan(dir string, paths []string) (map[string]file, error) {
	out := map[string]file{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file, or one that another act is just replacing
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && !mayReplicate(rel) {
				return fs.SkipDir
			}
			return nil
		}
		edited := (rel == configFile || slices.Contains(paths, rel)) && mayReplicate(rel)
		if edited && d.Type()&fs.ModeSymlink != 0 || d.Type().IsRegular() && (edited || Replicated(rel)) {
			return add(out, dir, rel) // operators swap what they edit by links, too
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the directory's files: %w", err)
	}
	return out, nil
}

func add(out map[string]file, dir, rel string) error {
	name := filepath.Join(dir, filepath.FromSlash(rel))
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	out[rel] = file{content, info.Mode().Perm()}
	return err
}

// order sorts paths so that whatever refers to others comes after them.
func order(paths []string) {
	rank := func(p string) int {
		switch {
		case p == configFile:
			return 3
		case p == timestampFile:
			return 2
		case strings.HasPrefix(p, "tuf/."):
			return 1
		}
		return 0
	}
	slices.SortFunc(paths, func(a, b string) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		return strings.Compare(a, b)
	})
}

// write puts a file into the directory, whole or not at all.
func write(dir, rel string, f file) error {
	name := filepath.Join(dir, filepath.FromSlash(rel))
	if err := durable.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(name, f.content, f.mode)
}

// remove takes a file away that the fleet has no more.
func remove(dir, rel string) error {
	err := os.Remove(filepath.Join(dir, filepath.FromSlash(rel)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
