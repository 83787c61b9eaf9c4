package negatives

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
)

// The media types of contract release-artifacts §B.
const (
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope  = "application/vnd.dsse.envelope.v1+json"
	bundleV03     = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyConfig   = "application/vnd.oci.empty.v1+json"
)

// newImage puts an image into the registry.
func (n *negatives) newImage(t *testing.T) name.Digest {
	t.Helper()
	return digestOf(t, e2etest.PushImage(t, n.registry, repositoryOf(t)))
}

// newIndex puts an index over one image into the registry.
func (n *negatives) newIndex(t *testing.T) (index, child name.Digest) {
	t.Helper()
	idx, err := random.Index(256, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	repo := n.registry + "/" + repositoryOf(t)
	tag, err := name.NewTag(repo + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, idx, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	hash, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digestOf(t, repo+"@"+hash.String()), digestOf(t, repo+"@"+manifest.Manifests[0].Digest.String())
}

// repositoryOf is a name that nobody else has.
func repositoryOf(t *testing.T) string {
	t.Helper()
	sum := sha256.Sum256([]byte(t.TempDir()))
	return "negatives/" + hex.EncodeToString(sum[:8])
}

func digestOf(t *testing.T, ref string) name.Digest {
	t.Helper()
	digest, err := name.NewDigest(ref)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// stored is a signature or an attestation as it is stored by tag: a layer.
type stored struct {
	mediaType   string
	content     []byte
	annotations map[string]string
}

// The annotations of a layer.
const (
	signatureKey   = "dev.cosignproject.cosign/signature"
	certificateKey = "dev.sigstore.cosign/certificate"
	chainKey       = "dev.sigstore.cosign/chain"
	promiseKey     = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
)

// byTag makes the layer for a signature over content.
func (f *forge) byTag(e *evidence, content []byte) stored {
	s := stored{simpleSigning, content, map[string]string{
		signatureKey: base64.StdEncoding.EncodeToString(e.signature),
		promiseKey:   text(e.promise()),
		timestampKey: text(object{"SignedRFC3161Timestamp": e.timestamp}),
	}}
	if e.signer.cert != nil {
		s.annotations[certificateKey] = string(pki.CertificatesPEM([]*x509.Certificate{e.signer.cert}))
		s.annotations[chainKey] = string(pki.CertificatesPEM(f.ca.chain))
	}
	if e.envelope != nil {
		s.mediaType, s.content = dsseEnvelope, []byte(text(e.dsse()))
		s.annotations[signatureKey] = ""
		s.annotations["predicateType"] = tested
	}
	return s
}

// promise is an entry as cosign's own bundle has it.
func (e *evidence) promise() object {
	return object{
		"SignedEntryTimestamp": e.entry.Verification.SET,
		"Payload": object{
			"body": e.entry.Body, "integratedTime": e.entry.IntegratedTime,
			"logIndex": e.entry.LogIndex, "logID": e.entry.LogID,
		},
	}
}

// storeByTag puts it beside an image: suffix is sig or att.
func storeByTag(t *testing.T, image name.Digest, suffix string, s stored) {
	t.Helper()
	layers, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer: static.NewLayer(s.content, types.MediaType(s.mediaType)), Annotations: s.annotations,
	})
	if err != nil {
		t.Fatal(err)
	}
	tag := image.Tag(strings.Replace(image.DigestStr(), ":", "-", 1) + "." + suffix)
	if err := remote.Write(tag, layers, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// storeReferrer puts a bundle beside an image, as a manifest that refers to it.
func storeReferrer(t *testing.T, image name.Digest, bundle object, predicateType string) {
	t.Helper()
	head, err := remote.Head(image, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	blob := func(mediaType, content string) object {
		layer := static.NewLayer([]byte(content), types.MediaType(mediaType))
		if err := remote.WriteLayer(image.Context(), layer, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		return object{"mediaType": mediaType, "size": len(content), "digest": sha256Of(content)}
	}
	manifest := manifest(text(object{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": bundleV03,
		"config": blob(emptyConfig, "{}"), "layers": []object{blob(bundleV03, text(bundle))},
		"subject": v1.Descriptor{MediaType: head.MediaType, Size: head.Size, Digest: head.Digest},
		"annotations": object{
			"org.opencontainers.image.created":  "2026-01-01T00:00:00Z",
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": predicateType,
		},
	}))
	if err := remote.Put(image.Digest(sha256Of(string(manifest))), manifest, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// sha256Of is the digest of a blob as registries write it.
func sha256Of(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// manifest is one, rendered.
type manifest string

// RawManifest is what a registry stores.
func (m manifest) RawManifest() ([]byte, error) { return []byte(m), nil }

// MediaType is the manifest's own.
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
