package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
)

// SampleImages says what images to push for a sample.
type SampleImages struct {
	Count    int // of manifests and indexes; 0: none
	Registry *oci.Registry
	Prefix   string // registry/path that the repositories are below
}

func (i SampleImages) check() error {
	switch {
	case i.Count < 0 || i.Count > maxImages:
		return fmt.Errorf("%d images: want 0 to %d", i.Count, maxImages)
	case i.Count == 0:
		return nil
	case i.Registry == nil:
		return errors.New("images need a registry")
	}
	return Image{Ref: i.Prefix + "/name:tag", Digest: "sha256:" + strings.Repeat("0", 64)}.check()
}

// registryImageNames are the repositories of A3; more images than these make go into
// numbered ones.
var registryImageNames = []string{
	"conformance", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl",
}

// imageGroup is one name: an index over its architectures, or a lone architecture.
type imageGroup struct {
	name      string
	platforms []string
}

// planImages chooses n manifests: for each name one of each server architecture and an
// index over them, and fewer architectures in the last one.
func planImages(n int) (groups []imageGroup) {
	for i := 0; n > 0; i++ {
		name := fmt.Sprintf("e2e-test-image-%04d", i-len(registryImageNames)+1)
		if i < len(registryImageNames) {
			name = registryImageNames[i]
		}
		size := max(1, min(n-1, len(serverPlatforms)))
		groups = append(groups, imageGroup{name, serverPlatforms[:size]})
		n -= size
		if n > 0 {
			n-- // the index
		}
	}
	return groups
}

// pushImages pushes the images of the sample and returns their list.
func (b *builder) pushImages(ctx context.Context) ([]Image, error) {
	var images []Image
	push := func(name string, artifact remote.Taggable) error {
		ref := b.Images.Prefix + "/" + name + ":" + dockerTag(b.Version)
		digest, err := b.Images.Registry.Push(ctx, ref, artifact)
		images = append(images, Image{Ref: ref, Digest: digest})
		return err
	}
	for _, group := range planImages(b.Images.Count) {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, platform := range group.platforms {
			img, err := b.image(group.name, path.Base(platform))
			if err != nil {
				return nil, err
			}
			if err := push(group.name+"-"+path.Base(platform), img); err != nil {
				return nil, err
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "linux", Architecture: path.Base(platform)},
			}})
		}
		if len(images) == b.Images.Count {
			break // there is no index over the last one
		}
		if err := push(group.name, index); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// image is one with a single layer that holds a made-up binary.
func (b *builder) image(name, arch string) (v1.Image, error) {
	binary := bytesEntry("usr/local/bin/"+name, 0o755, pseudoRandom(b.Seed, "image/"+arch+"/"+name))
	var archive bytes.Buffer
	if err := writeTar(&archive, b.Created, []entry{binary}); err != nil {
		return nil, err
	}
	layer, err := partial.UncompressedToLayer(imageLayer(archive.Bytes()))
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{
		Created: v1.Time{Time: b.Created}, CreatedBy: "COPY " + name + " /usr/local/bin/",
	}})
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Created = arch, "linux", v1.Time{Time: b.Created.Truncate(time.Second)}
	config.Config.Entrypoint = []string{"/usr/local/bin/" + name}
	config.Config.Labels = map[string]string{"org.opencontainers.image.version": b.Version}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	return img, nil
}

// imageLayer is the archive of a layer, which is compressed on its way.
type imageLayer []byte

// DiffID implements partial.UncompressedLayer.
func (l imageLayer) DiffID() (v1.Hash, error) {
	hash, _, err := v1.SHA256(bytes.NewReader(l))
	return hash, err
}

// Uncompressed implements partial.UncompressedLayer.
func (l imageLayer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l)), nil
}

// MediaType implements partial.UncompressedLayer.
func (l imageLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// imageList is where the list of the tree at dir is.
func imageList(dir string) string { return filepath.Clean(dir) + ImagesSuffix }
