package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/release"
)

// images is how many manifests and indexes the release has: all of two names, and of a
// third one architecture and its index.
const images = 12

// imageTampering is a change in the registry, and what has to be said of it.
type imageTampering struct {
	tampering
	ref  string // what is overwritten
	with string // by what that is
}

// tamperImages has every change in the registry refused, and undone.
func (d *demo) tamperImages(ctx context.Context, r *releaser) error {
	list, err := release.ReadImages(r.tree() + release.ImagesSuffix)
	if err != nil {
		return err
	}
	if len(list) != images {
		return fmt.Errorf("the release has %d images, want %d", len(list), images)
	}
	for _, c := range imageTamperings(list[0], list[1], r.signer()) {
		err := d.step("refuse: "+c.name, func() (string, error) { return r.refuseImage(ctx, c) })
		if err != nil {
			return err
		}
	}
	return nil
}

func imageTamperings(victim, other release.Image, by signer) []imageTampering {
	find := func(path, kind, reason string) tampering {
		return tampering{by: by, want: []finding{{path, kind, regexp.MustCompile(reason)}}}
	}
	moved := find(victim.String(), "moved", "^the tag points at "+other.Digest+" now$")
	moved.name = "a tag that names another image"
	swapped := find(victim.Pinned(), "refused", "signature payload: it is for "+other.Digest)
	swapped.name = "an image with the signature of another"
	return []imageTampering{
		{moved, victim.Ref, other.Ref},
		{swapped, signatureTag(victim), signatureTag(other)},
	}
}

// signatureTag is where the signature of an image is kept in style tag.
func signatureTag(i release.Image) string {
	repository, _, _ := strings.Cut(i.Pinned(), "@")
	return repository + ":" + strings.Replace(i.Digest, ":", "-", 1) + ".sig"
}

// refuseImage makes a change, demands that the release is refused for it and nothing else,
// and undoes it.
func (r *releaser) refuseImage(ctx context.Context, c imageTampering) (_ string, err error) {
	was, err := getImage(ctx, c.ref)
	if err != nil {
		return "", err
	}
	with, err := getImage(ctx, c.with)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, putImage(ctx, c.ref, was)) }()
	if err := putImage(ctx, c.ref, with); err != nil {
		return "", fmt.Errorf("tamper: %w", err)
	}
	v, err := r.verify(ctx, r.tree(), c.by)
	if err != nil {
		return "", err
	}
	if err := c.check(v); err != nil {
		return "", err
	}
	return clip(v.Problems[0].Kind+": "+v.Problems[0].Detail, 110), nil // the reference would fill the line
}

func getImage(ctx context.Context, ref string) (v1.Image, error) {
	parsed, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return nil, err
	}
	return remote.Image(parsed, remote.WithContext(ctx))
}

func putImage(ctx context.Context, ref string, image v1.Image) error {
	parsed, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(parsed, image, remote.WithContext(ctx))
}
