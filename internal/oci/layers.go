package oci

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/signing"
)

// Media types of contract release-artifacts §B.
const (
	signatureType   = types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")
	attestationType = types.MediaType("application/vnd.dsse.envelope.v1+json")
	bundleType      = types.MediaType("application/vnd.dev.sigstore.bundle.v0.3+json")
	emptyType       = types.MediaType("application/vnd.oci.empty.v1+json")
)

// Annotations of a layer that is stored by tag (B1).
const (
	signatureKey   = "dev.cosignproject.cosign/signature"
	certificateKey = "dev.sigstore.cosign/certificate"
	chainKey       = "dev.sigstore.cosign/chain"
	promiseKey     = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
	predicateKey   = "predicateType"
)

// Annotations of a manifest that refers to its subject (B2). Nothing that is
// decided rests on them.
const (
	createdKey         = "org.opencontainers.image.created"
	contentKey         = "dev.sigstore.bundle.content"
	bundlePredicateKey = "dev.sigstore.bundle.predicateType"
)

// isBundle reports whether a layer or artifact type is that of a bundle of any
// version.
func isBundle(t string) bool {
	return strings.HasPrefix(t, "application/vnd.dev.sigstore.bundle")
}

// layerAnnotations renders everything of a signature but its payload.
func layerAnnotations(t signing.TagSignature, predicateType string) map[string]string {
	a := map[string]string{signatureKey: base64.StdEncoding.EncodeToString(t.Signature)}
	if len(t.Certificate) > 0 {
		a[certificateKey] = string(t.Certificate)
		a[chainKey] = string(t.Chain) // there whenever the certificate is, even if empty
	}
	if len(t.Promise) > 0 {
		a[promiseKey] = string(t.Promise)
	}
	if len(t.Timestamp) > 0 {
		a[timestampKey] = string(t.Timestamp)
	}
	if predicateType != "" {
		a[predicateKey] = predicateType
	}
	return a
}

// tagSignature is the reverse of layerAnnotations: it reads a layer's annotations
// and takes its content as payload. What is not there stays empty.
func tagSignature(desc v1.Descriptor, content []byte) (signing.TagSignature, error) {
	a := desc.Annotations
	encoded, ok := a[signatureKey]
	if !ok {
		return signing.TagSignature{}, fmt.Errorf("the layer has no annotation %s", signatureKey)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return signing.TagSignature{}, fmt.Errorf("decode annotation %s: %w", signatureKey, err)
	}
	if (desc.MediaType == attestationType) != (len(sig) == 0) {
		return signing.TagSignature{}, errors.New("an attestation has its signature in the envelope, a signature in its annotation")
	}
	t := signing.TagSignature{Payload: content, Signature: sig}
	for key, part := range map[string]*[]byte{
		certificateKey: &t.Certificate, chainKey: &t.Chain, promiseKey: &t.Promise, timestampKey: &t.Timestamp,
	} {
		if a[key] != "" {
			*part = []byte(a[key])
		}
	}
	return t, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
