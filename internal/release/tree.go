package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// maxSums is the most bytes that a checksum file may have: 100,000 files.
const maxSums = 32 << 20

// ErrNoTree says that a directory holds no release tree.
var ErrNoTree = errors.New("no release tree")

// Locate finds the release tree in dir: dir itself, or the only one in dir or in
// dir/release. A tree is a directory that holds a checksum file or is named as a
// version (v1.24.0). The error is ErrNoTree, or names the trees to choose from.
func Locate(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find release tree: %w", err)
	}
	if info, err := os.Stat(abs); err != nil {
		return "", fmt.Errorf("find release tree: %w", err)
	} else if !info.IsDir() {
		return "", fmt.Errorf("find release tree: %s is no directory", dir)
	}
	if isTree(abs) {
		return abs, nil
	}
	var found []string
	for _, pattern := range []string{"*", filepath.Join("release", "*")} {
		// The only error is a bad pattern, and dir is not part of it.
		names, err := fs.Glob(os.DirFS(abs), filepath.ToSlash(pattern))
		if err != nil {
			return "", fmt.Errorf("find release tree: %w", err)
		}
		for _, name := range names {
			if sub := filepath.Join(abs, name); isTree(sub) {
				found = append(found, sub)
			}
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("find release tree in %s: %w", dir, ErrNoTree)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("find release tree in %s: there are several, name one of: %s", dir, strings.Join(found, ", "))
}

func isTree(dir string) bool {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return false
	}
	for _, name := range []string{SHA256Sums, SHA512Sums} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return checkVersion(filepath.Base(dir)) == nil
}

var versionPattern = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$`)

func checkVersion(v string) error {
	if !versionPattern.MatchString(v) {
		return fmt.Errorf("version %q is not of the form v1.24.0", v)
	}
	return nil
}

// tree is an opened release tree. All reads go through root, which no symlink or
// ".." can leave.
type tree struct {
	dir   string
	root  *os.Root
	files []file // regular files in walk order: lexical within each directory
	odd   []string

	buffers sync.Pool // *[readSize]byte

	mu   sync.Mutex
	dirs map[string]*os.Root // below root, those that were read from
}

// readSize is how much of a file is read at once, in bytes.
const readSize = 64 << 10

// file is a regular file of a tree.
type file struct {
	path string // relative, with slashes
	size int64
}

// openTree opens the tree at dir and lists it. Whatever is neither a directory
// nor a regular file, such as a symlink, is listed as odd.
func openTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open release tree: %w", err)
	}
	t := &tree{dir: dir, root: root, dirs: map[string]*os.Root{}}
	t.buffers.New = func() any { return new([readSize]byte) }
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() || checkPath(name) != nil {
			t.odd = append(t.odd, name)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		t.files = append(t.files, file{path: name, size: info.Size()})
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list release tree: %w", err), root.Close())
	}
	return t, nil
}

func (t *tree) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, dir := range t.dirs {
		errs = append(errs, dir.Close())
	}
	return errors.Join(append(errs, t.root.Close())...)
}

// open opens a file. Its directory is looked up once: from the root it is a step for each
// part of the name.
func (t *tree) open(name string) (*os.File, error) {
	dir, base := path.Split(name)
	parent, err := t.parent(dir)
	if err != nil {
		return nil, err
	}
	f, err := parent.Open(base)
	var failed *fs.PathError
	if errors.As(err, &failed) {
		failed.Path = name
	}
	return f, err
}

func (t *tree) parent(dir string) (*os.Root, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if parent, ok := t.dirs[dir]; ok {
		return parent, nil
	}
	if dir == "" {
		return t.root, nil
	}
	parent, err := t.root.OpenRoot(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	t.dirs[dir] = parent
	return parent, nil
}

// read returns a small file's content.
func (t *tree) read(name string, limit int64) (_ []byte, err error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	piece := t.buffers.Get().(*[readSize]byte)
	defer t.buffers.Put(piece)
	n, err := io.ReadFull(f, piece[:min(readSize, limit+1)])
	data := bytes.Clone(piece[:n])
	if err == nil { // there may be more
		var more []byte
		more, err = io.ReadAll(io.LimitReader(f, limit+1-int64(n)))
		data = append(data, more...)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, nil
}

// digests are a file's checksums, computed in one pass.
type digests struct {
	sha256 [sha256.Size]byte
	sha512 [sha512.Size]byte
}

// digest streams the file once, in bounded memory.
func (t *tree) digest(ctx context.Context, name string) (d digests, err error) {
	h256, h512 := sha256.New(), sha512.New()
	if err := t.stream(ctx, name, h256, h512); err != nil {
		return digests{}, err
	}
	h256.Sum(d.sha256[:0])
	h512.Sum(d.sha512[:0])
	return d, nil
}

// sha256 is digest where only that is needed.
func (t *tree) sha256(ctx context.Context, name string) (d [sha256.Size]byte, err error) {
	h := sha256.New()
	if err := t.stream(ctx, name, h); err != nil {
		return d, err
	}
	h.Sum(d[:0])
	return d, nil
}

// stream writes the content of a file to hashes.
func (t *tree) stream(ctx context.Context, name string, to ...hash.Hash) (err error) {
	f, err := t.open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	piece := t.buffers.Get().(*[readSize]byte)
	defer t.buffers.Put(piece)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(piece[:])
		for _, h := range to {
			h.Write(piece[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func digestOf(data []byte) digests {
	return digests{sha256: sha256.Sum256(data), sha512: sha512.Sum512(data)}
}
