package release

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"sigstack/internal/durable"
)

// ImagesSuffix makes the name of a tree's image list, which lies beside the tree like
// its journal.
const ImagesSuffix = ".images"

// Limits of an image list.
const (
	maxImages     = 10_000
	maxImagesFile = 8 << 20 // bytes
)

// Image is a manifest or an index of a release, in a registry.
type Image struct {
	Ref    string `json:"ref"`    // registry/repository:tag, no scheme
	Digest string `json:"digest"` // sha256:<hex> of the manifest or index that the tag was given to
}

// String renders the image as a line of a list.
func (i Image) String() string { return i.Ref + "@" + i.Digest }

// Pinned names the image by digest alone: registry/repository@sha256:<hex>.
func (i Image) Pinned() string { return i.repository() + "@" + i.Digest }

// repository is Ref without its tag, which has no colon, while a registry may have one.
func (i Image) repository() string { return i.Ref[:strings.LastIndexByte(i.Ref, ':')] }

func (i Image) check() error {
	tag, err := name.NewTag(i.Ref, name.StrictValidation)
	if err != nil {
		return err
	}
	if tag.Name() != i.Ref {
		return fmt.Errorf("%q names %s: give registry, repository and tag in full", i.Ref, tag.Name())
	}
	hex, ok := strings.CutPrefix(i.Digest, "sha256:")
	if !ok {
		return fmt.Errorf("digest %q is not sha256:<hex>", i.Digest)
	}
	if _, err := parseDigest(hex, 32); err != nil {
		return err
	}
	return nil
}

// ParseImages reads an image list: a line REF@DIGEST for each image, no reference twice;
// empty lines and lines that begin with # are left out.
func ParseImages(data []byte) ([]Image, error) {
	var images []Image
	seen := map[string]bool{}
	for number, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		image, err := parseImage(line)
		if err == nil && seen[image.Ref] {
			err = fmt.Errorf("%s is listed twice", image.Ref)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number+1, err)
		}
		seen[image.Ref] = true
		images = append(images, image)
		if len(images) > maxImages {
			return nil, fmt.Errorf("there are more than %d images", maxImages)
		}
	}
	return images, nil
}

func parseImage(line string) (Image, error) {
	ref, digest, ok := strings.Cut(line, "@")
	if !ok {
		return Image{}, errors.New("want REF@DIGEST")
	}
	image := Image{Ref: ref, Digest: digest}
	return image, image.check()
}

// EncodeImages renders an image list in the order given.
func EncodeImages(images []Image) ([]byte, error) {
	var out bytes.Buffer
	for _, image := range images {
		fmt.Fprintln(&out, image)
	}
	if _, err := ParseImages(out.Bytes()); err != nil {
		return nil, fmt.Errorf("encode image list: %w", err)
	}
	return out.Bytes(), nil
}

// ReadImages reads the image list at path.
func ReadImages(path string) ([]Image, error) {
	data, err := readLimited(path, maxImagesFile)
	if err != nil {
		return nil, fmt.Errorf("read image list: %w", err)
	}
	images, err := ParseImages(data)
	if err != nil {
		return nil, fmt.Errorf("read image list %s: %w", path, err)
	}
	return images, nil
}

// WriteImages writes an image list to path, in place of one that is there.
func WriteImages(path string, images []Image) error {
	data, err := EncodeImages(images)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write image list: %w", err)
	}
	return nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
