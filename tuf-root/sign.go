package tufroot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// tufKey describes the public half as TUF does.
func tufKey(signer crypto.Signer) (*metadata.Key, error) {
	if signer == nil {
		return nil, errors.New("no key")
	}
	switch pub := signer.Public().(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		// The library would label other curves as P-256.
		if pub.Curve != elliptic.P256() {
			return nil, fmt.Errorf("curve %s is not P-256", pub.Params().Name)
		}
	default:
		return nil, fmt.Errorf("key of type %T is neither Ed25519 nor ECDSA", pub)
	}
	key, err := metadata.KeyFromPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	return key, nil
}

// messageSigner lets a crypto.Signer, which may be a token, sign metadata.
type messageSigner struct{ crypto.Signer }

// PublicKey implements signature.Signer.
func (s messageSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.Public(), nil
}

// SignMessage implements signature.Signer: Ed25519 signs the message itself,
// ECDSA its SHA-256.
func (s messageSigner) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	data, err := io.ReadAll(message)
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		return s.Sign(rand.Reader, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return s.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// seal signs m for its role, checks the signature as a client of root would and
// encodes it. What root does not trust never reaches the disk.
func seal[T metadata.Roles](role string, m *metadata.Metadata[T], root *metadata.Metadata[metadata.RootType], signer crypto.Signer) ([]byte, error) {
	if _, err := tufKey(signer); err != nil {
		return nil, fmt.Errorf("sign %s: %w", role, err)
	}
	m.ClearSignatures()
	if _, err := m.Sign(messageSigner{signer}); err != nil {
		return nil, fmt.Errorf("sign %s: %w", role, err)
	}
	if err := root.VerifyDelegate(role, m); err != nil {
		return nil, fmt.Errorf("sign %s: key is not the one of the root: %w", role, err)
	}
	data, err := m.ToBytes(true)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", role, err)
	}
	return data, nil
}

// expiry is in whole seconds UTC, the one form that every client parses.
func (r *Repository) expiry(life time.Duration) time.Time {
	return r.now().Add(life).UTC().Truncate(time.Second)
}

// metaFile refers to a file of metadata.
func metaFile(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{
		Version: version,
		Length:  int64(len(data)),
		Hashes:  metadata.Hashes{"sha256": sum[:]},
	}
}
