package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SampleConfig says what sample to make. The same config, and the same files in
// FromBin, give the same bytes.
type SampleConfig struct {
	Dir     string // the tree will be Dir/release/Version, which must not exist
	Version string // v1.24.0, v1.25.0-rc.1, v1.24.0+build.5
	// Files is the number of files in the signed set of A2, at least 3; 0 stands
	// for 24, or for what FromBin has. More than FromBin has is filled up with
	// made-up files.
	Files int
	Seed  uint64 // of the made-up contents
	// FromBin holds real input: bin/<os>/<arch>/<name>, and perhaps
	// kubernetes-src.tar.gz (as git archive writes it) and kubernetes-source.spdx,
	// whose namespace is made to end as A1 says.
	FromBin string
	// Images are pushed to a registry, and listed beside the tree.
	Images  SampleImages
	Created time.Time // in archives and SBOMs; zero: 2022-05-03, when v1.24.0 came out
}

// SampleReport says what was made.
type SampleReport struct {
	Tree     string `json:"tree"`
	Signable int    `json:"signable"`              // files of the signed set; checksum files get bundles besides
	Files    int    `json:"files"`                 // all files
	Bytes    int64  `json:"bytes"`                 // of all files
	Images   int    `json:"images"`                // manifests and indexes that were pushed
	List     string `json:"images_list,omitempty"` // of them
}

// Sample makes a release tree by contract release-artifacts §A1. The tree appears
// under its name when it is complete; a sample that fails leaves nothing.
func Sample(ctx context.Context, c SampleConfig) (_ *SampleReport, err error) {
	if err := checkVersion(c.Version); err != nil {
		return nil, fmt.Errorf("make sample: %w", err)
	}
	if c.Created.IsZero() {
		c.Created = time.Date(2022, 5, 3, 0, 0, 0, 0, time.UTC)
	}
	parent := filepath.Join(c.Dir, "release")
	final := filepath.Join(parent, c.Version)
	for _, path := range []string{final, imageList(final)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("make sample: %s exists already", path)
		}
	}
	if err := c.Images.check(); err != nil {
		return nil, fmt.Errorf("make sample: %w", err)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // a release is for everyone to read
		return nil, fmt.Errorf("make sample: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".sample-")
	if err != nil {
		return nil, fmt.Errorf("make sample: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	b := &builder{SampleConfig: c, dir: tmp, size: map[string]int64{}}
	if err := b.build(ctx); err != nil {
		return nil, fmt.Errorf("make sample: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // as above
		return nil, fmt.Errorf("make sample: %w", err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return nil, fmt.Errorf("make sample: %w", err)
	}
	if c.Images.Count > 0 {
		if err := WriteImages(imageList(final), b.images); err != nil {
			return nil, fmt.Errorf("make sample: %w", err)
		}
	}
	return b.report(final)
}

// builder makes one tree in dir.
type builder struct {
	SampleConfig
	dir  string
	plan planned
	real map[string]bool // binaries that FromBin has
	size map[string]int64

	images []Image // pushed
}

func (b *builder) build(ctx context.Context) error {
	if err := b.choose(); err != nil {
		return err
	}
	for _, step := range []func() error{
		b.writeSource, b.writeBinaries, b.writeSingles, b.writeComponents, b.writeImages,
		b.writeSBOMs, func() (err error) { b.images, err = b.pushImages(ctx); return err },
		func() error { return b.writeSums(ctx) },
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// choose plans the tree: what FromBin has, all of it, and made-up names up to
// Files.
func (b *builder) choose() error {
	if b.FromBin == "" {
		if b.Files == 0 {
			b.Files = defaultFiles
		}
		var err error
		b.plan, err = plan(b.Files)
		return err
	}
	if err := b.chooseReal(); err != nil {
		return err
	}
	have := minFiles + len(b.plan.singles) + len(b.plan.components) + len(b.plan.binaries) + len(b.plan.images)
	if b.Files == 0 {
		return nil
	}
	if b.Files < have {
		return fmt.Errorf("%s makes %d signed files, more than the %d asked for", b.FromBin, have, b.Files)
	}
	for i := range b.Files - have {
		b.plan.binaries = append(b.plan.binaries, fmt.Sprintf("bin/linux/amd64/node-e2e-%05d.test", i+1))
	}
	return nil
}

// chooseReal plans from the binaries in FromBin: one client tarball per platform.
func (b *builder) chooseReal() error {
	b.real = map[string]bool{}
	byPlatform := map[string][]string{}
	root := os.DirFS(b.FromBin)
	err := fs.WalkDir(root, "bin", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		parts := strings.Split(name, "/")
		if len(parts) != 4 || !d.Type().IsRegular() || !Signable(name) {
			return fmt.Errorf("%s is not a regular file at bin/<os>/<arch>/<name>", name)
		}
		b.real[name] = true
		b.plan.binaries = append(b.plan.binaries, name)
		platform := parts[1] + "/" + parts[2]
		byPlatform[platform] = append(byPlatform[platform], strings.TrimSuffix(parts[3], ".exe"))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", b.FromBin, err)
	}
	if len(b.real) == 0 {
		return fmt.Errorf("%s holds no bin/<os>/<arch>/<name>", b.FromBin)
	}
	for platform, names := range byPlatform {
		b.plan.components = append(b.plan.components, component{"client", platform, names})
	}
	slices.SortFunc(b.plan.components, func(x, y component) int { return strings.Compare(x.platform, y.platform) })
	b.plan.singles = []string{"kubernetes.tar.gz", Provenance}
	return nil
}

func (b *builder) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

// create makes a file of the tree, with its directories.
func (b *builder) create(name string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil { //nolint:gosec // a release is for everyone to read
		return err
	}
	f, err := os.OpenFile(b.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b.size[name] = info.Size()
	return nil
}

func (b *builder) put(name string, data []byte) error {
	return b.create(name, 0o644, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// copyReal copies a file of FromBin into the tree.
func (b *builder) copyReal(name string, mode fs.FileMode) error {
	return b.create(name, mode, func(w io.Writer) (err error) {
		f, err := os.Open(filepath.Join(b.FromBin, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		_, err = io.Copy(w, f)
		return err
	})
}

// has reports whether FromBin has the file.
func (b *builder) has(name string) bool {
	if b.FromBin == "" {
		return false
	}
	info, err := os.Lstat(filepath.Join(b.FromBin, filepath.FromSlash(name)))
	return err == nil && info.Mode().IsRegular()
}

func (b *builder) writeSource() error {
	if b.has(sourceTarball) {
		return b.copyReal(sourceTarball, 0o644)
	}
	return b.writeArchive(sourceTarball, sourceEntries(b.Version, b.Seed))
}

func (b *builder) writeBinaries() error {
	for _, name := range b.plan.binaries {
		if b.real[name] {
			if err := b.copyReal(name, 0o755); err != nil {
				return err
			}
			continue
		}
		err := b.create(name, 0o755, func(w io.Writer) error {
			_, err := w.Write(pseudoRandom(b.Seed, name))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSingles writes all but provenance, which comes last and describes the rest.
func (b *builder) writeSingles() error {
	for _, name := range b.plan.singles {
		var entries []entry
		switch name {
		case "kubernetes.tar.gz":
			entries = launcherEntries(b.Version)
		case "kubernetes-manifests.tar.gz":
			entries = manifestEntries(b.Version)
		default:
			continue
		}
		if err := b.writeArchive(name, entries); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writeComponents() error {
	for _, c := range b.plan.components {
		var entries []entry
		for _, p := range c.binaries() {
			e := b.binary(p)
			e.name = c.inTarball(p)
			entries = append(entries, e)
		}
		if err := b.writeArchive(c.tarball(), entries); err != nil {
			return err
		}
	}
	return nil
}

// binary is the binary at p: from the tree, or what the tree would hold.
func (b *builder) binary(p string) entry {
	size, ok := b.size[p]
	if !ok {
		return bytesEntry(p, 0o755, pseudoRandom(b.Seed, p))
	}
	return entry{mode: 0o755, size: size, open: func() (io.ReadCloser, error) { return os.Open(b.path(p)) }}
}

func (b *builder) writeImages() error {
	for _, p := range b.plan.images {
		name, arch := strings.TrimSuffix(path.Base(p), ".tar"), path.Base(path.Dir(p))
		entries, err := imageEntries(name, arch, b.Version, b.Created, b.binary(strings.TrimSuffix(p, ".tar")))
		if err != nil {
			return err
		}
		if err := b.create(p, 0o644, func(w io.Writer) error { return writeTar(w, b.Created, entries) }); err != nil {
			return err
		}
		if err := b.put(strings.TrimSuffix(p, ".tar")+".docker_tag", []byte(dockerTag(b.Version))); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writeArchive(name string, entries []entry) error {
	return b.create(name, 0o644, func(w io.Writer) error { return writeTarGz(w, b.Created, entries) })
}

func (b *builder) report(dir string) (*SampleReport, error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	r := &SampleReport{Tree: dir, Files: len(t.files), Images: len(b.images)}
	if r.Images > 0 {
		r.List = imageList(dir)
	}
	for _, f := range t.files {
		r.Bytes += f.size
		if inSignedSet(f.path) {
			r.Signable++
		}
	}
	return r, t.close()
}
