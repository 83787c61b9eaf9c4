package signing

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"sigstack/internal/pki"
)

// bareKey is a public key that is trusted by itself.
type bareKey struct {
	public crypto.PublicKey
	hash   [sha256.Size]byte // of its SPKI

	message  signature.Verifier // over a digest; Ed25519 is Ed25519ph then
	envelope signature.Verifier
}

func newBareKey(pub crypto.PublicKey) (*bareKey, error) {
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		return nil, err
	}
	message, err := signature.LoadDefaultVerifier(pub, options.WithED25519ph())
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	envelope, err := signature.LoadDefaultVerifier(pub)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	return &bareKey{public: pub, hash: sha256.Sum256(spki), message: message, envelope: envelope}, nil
}

// String names the key by the hash of its SPKI.
func (k *bareKey) String() string { return "key sha256:" + hex.EncodeToString(k.hash[:]) }

// is reports whether other, whatever a log entry holds, is the key.
func (k *bareKey) is(other any) bool {
	key, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && other != nil && key.Equal(other)
}

// keyMaterial is a trust root to which a bare key was added. The hint in a bundle
// is only a hint: one key is trusted here, whatever it is called there.
type keyMaterial struct {
	root.TrustedMaterial
	verifier signature.Verifier
}

// PublicKeyVerifier returns the key; it is the caller's business how long it lasts.
func (m keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return root.NewExpiringKey(m.verifier, time.Time{}, time.Time{}), nil
}

// material is what a bundle is judged by: the trust root, and the bare key or other
// certificate authority if id names one.
func (id *Identity) material(b *Bundle, trusted *TrustRoot) root.TrustedMaterial {
	material := trusted.material
	if b.leafOnly {
		material = rememberingMaterial{material, &trusted.memo}
	}
	if id.authority != nil {
		material = authorityMaterial{material, id.authority}
	}
	if b.envelope != nil {
		material = envelopeMaterial{material, b.envelope}
	}
	switch {
	case id.key == nil:
		return material
	case b.HoldsStatement():
		return keyMaterial{material, id.key.envelope}
	default:
		return keyMaterial{material, id.key.message}
	}
}
