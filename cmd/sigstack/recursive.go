package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/oci"
)

// recursiveFlag says whether what an index lists is meant too.
type recursiveFlag struct{ recursive bool }

func (r *recursiveFlag) add(f *pflag.FlagSet, usage string) {
	f.BoolVarP(&r.recursive, "recursive", "r", false, usage)
}

func (r recursiveFlag) check(args ...string) error {
	if r.recursive && !slices.ContainsFunc(args, isImage) {
		return usagef("--recursive is for images; an image is named oci://REGISTRY/NAME:TAG")
	}
	return nil
}

// expand puts in the place of each index, if that is wanted, the index and all below it,
// by digest: a tag that moves meanwhile changes nothing.
func (r recursiveFlag) expand(ctx context.Context, registry *oci.Registry, args []string) ([]string, error) {
	if !r.recursive {
		return args, nil
	}
	var all []string
	for _, arg := range args {
		ref, ok := strings.CutPrefix(arg, imagePrefix)
		if !ok {
			all = append(all, arg)
			continue
		}
		tree, err := registry.Tree(ctx, ref)
		if err != nil {
			return nil, err
		}
		for _, ref := range tree {
			if !slices.Contains(all, imagePrefix+ref) { // of two indexes that share a child
				all = append(all, imagePrefix+ref)
			}
		}
	}
	return all, nil
}

// verifyImage verifies an image, and all below it if that is wanted.
func (r recursiveFlag) verifyImage(ctx context.Context, registry *oci.Registry, ref string, c verifier, annotations map[string]string) (oci.Verified, error) {
	if r.recursive {
		return registry.VerifyRecursive(ctx, ref, c.trusted, c.id, annotations)
	}
	return registry.Verify(ctx, ref, c.trusted, c.id, annotations)
}

// printChildren says what is known of the manifests below an index.
func (a *app) printChildren(got oci.Verified) {
	if got.ChildrenNotVerified {
		a.printf("  children    not looked at: it is an index, and --recursive verifies what it lists too\n")
	}
	for _, child := range got.Children {
		a.printImage(child, "signature")
	}
}
