package oci

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push writes an image or an index, with all that it holds, to the tag or digest that ref
// names, and returns its digest, "sha256:<hex>".
func (r *Registry) Push(ctx context.Context, ref string, artifact remote.Taggable) (string, error) {
	parsed, err := parseReference(ref, r.allowHTTP)
	if err != nil {
		return "", err
	}
	raw, err := artifact.RawManifest()
	if err != nil {
		return "", fmt.Errorf("push %s: %w", parsed.Name(), err)
	}
	if err := r.bulk.pusher.Push(ctx, parsed, artifact); err != nil {
		return "", fmt.Errorf("push %s: %w", parsed.Name(), explain(parsed.Context().RegistryStr(), err))
	}
	return hashOf(raw).String(), nil
}
