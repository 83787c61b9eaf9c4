package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sigstack/internal/oci"
)

// NoImages in the place of an image list leaves images out.
const NoImages = "none"

// ImagesConfig says which images of a release to sign or verify, and where.
type ImagesConfig struct {
	List     string        // file; "": that beside the tree, if there is one; NoImages: none
	Registry *oci.Registry // may be nil without images
	Styles   []oci.Style   // to sign or to demand in; none: both

	done *atomic.Int64 // images that this run has signed
}

// load reads the list for the tree at dir. Without images path is empty.
func (c *ImagesConfig) load(dir string) (path string, images []Image, err error) {
	if c.List == NoImages {
		return "", nil, nil
	}
	path = c.List
	if path == "" {
		path = imageList(dir)
	}
	images, err = ReadImages(path)
	if c.List == "" && errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	switch {
	case err != nil:
		return "", nil, err
	case len(images) == 0:
		return "", nil, fmt.Errorf("image list %s is empty; remove it, or leave images out", path)
	case c.Registry == nil:
		return "", nil, fmt.Errorf("there are images in %s, and offline no registry may be asked: leave out --offline, or leave images out with --images %s", path, NoImages)
	}
	c.Registry, c.done = c.Registry.PuttingOff().Remembering(), new(atomic.Int64)
	if len(c.Styles) == 0 {
		c.Styles = []oci.Style{oci.Tag, oci.Referrer}
	}
	for _, style := range c.Styles {
		if err := style.Check(); err != nil {
			return "", nil, err
		}
	}
	return path, images, nil
}

// target is a manifest to sign or verify: of the list, or below an index of the list, where
// those who pull by the index look for its signature.
type target struct {
	Image
	pinned string // registry/repository@sha256:<hex>
	child  bool   // below the index that Image names
	// glance is what was read of it so far, until it is done.
	glance *oci.Registry
}

// found is what became of one line of a list.
type found struct {
	targets  []target // itself first; none if it cannot be read
	problems []Problem
}

// findTargets looks every image of a list up: that its tag points at its digest, and what
// is below it. The error is the context's.
func findTargets(ctx context.Context, registry *oci.Registry, images []Image, workers int) ([]target, []Problem, error) {
	files := make([]file, len(images))
	for i, image := range images {
		files[i].path = image.Ref
	}
	all := make([]found, len(images))
	err := each(ctx, files, workers, nil, func(ctx context.Context, i int, _ file) error {
		all[i] = findTarget(ctx, registry, images[i])
		return ctx.Err()
	})
	if err != nil {
		return nil, nil, err
	}
	var targets []target
	var problems []Problem
	seen := map[string]bool{}
	for _, f := range all {
		problems = append(problems, f.problems...)
		targets = append(targets, slices.DeleteFunc(f.targets, func(t target) bool {
			again := seen[t.pinned]
			seen[t.pinned] = true
			return again
		})...)
	}
	return targets, problems, nil
}

func findTarget(ctx context.Context, registry *oci.Registry, image Image) (f found) {
	problem := func(kind Kind, detail string) {
		f.problems = append(f.problems, Problem{Path: image.String(), Kind: kind, Detail: detail})
	}
	glance := registry.Glance()
	there, err := glance.CheckTag(ctx, image.Ref, image.Digest)
	var moved *oci.TagMovedError
	switch {
	case errors.As(err, &moved):
		problem(Moved, "the tag points at "+moved.Is+" now")
	case err != nil:
		problem(Unreadable, err.Error())
		return f
	case !there:
		problem(Missing, "the registry has no such tag")
	}
	refs, err := glance.Tree(ctx, image.Pinned())
	switch {
	case isNotFound(err):
		problem(Missing, err.Error())
	case err != nil:
		problem(Unreadable, err.Error())
	}
	for i, ref := range refs {
		f.targets = append(f.targets, target{Image: image, pinned: ref, child: i > 0, glance: glance.Glance(ref)})
	}
	return f
}

func isNotFound(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound
}

// registryFailed reports whether err is that of a registry that gave no usable answer.
func registryFailed(err error) bool {
	var answered *transport.Error
	var unreachable *oci.UnreachableError
	return errors.As(err, &answered) || errors.As(err, &unreachable)
}

// work is what one run does: files and images in turn, since files keep this machine busy
// and images wait for registries. Images are done by half, so that files are left to do
// while their signatures settle.
type work struct {
	items []file
	index []int // into the files, or the images after them
}

func mix(files []file, targets []target) work {
	var w work
	f, t := 0, 0
	for f < len(files) || t < len(targets) {
		if t == len(targets) || f < len(files) && 2*f*len(targets) <= t*len(files) {
			w.items, w.index, f = append(w.items, files[f]), append(w.index, f), f+1
			continue
		}
		w.items, w.index, t = append(w.items, file{path: targets[t].pinned}), append(w.index, len(files)+t), t+1
	}
	return w
}
