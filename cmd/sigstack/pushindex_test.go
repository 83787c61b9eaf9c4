package main

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
)

// pushindex REFERENCE pushes an index of two images of random content, and sets INDEX to
// its digest, CHILD0 and CHILD1 to theirs.
func pushIndex(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pushindex reference")
	}
	index, err := random.Index(64, 1, 2)
	ts.Check(err)
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	ts.Check(remote.WriteIndex(ref, index))
	m, err := index.IndexManifest()
	ts.Check(err)
	digest, err := index.Digest()
	ts.Check(err)
	ts.Setenv("INDEX", digest.String())
	for i, child := range m.Manifests {
		ts.Setenv(fmt.Sprintf("CHILD%d", i), child.Digest.String())
	}
}
