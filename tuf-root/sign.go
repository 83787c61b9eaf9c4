package tufroot

import (
	"cmp"
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
	return describeKey(signer.Public())
}

// describeKey describes a key as TUF does, if a role can have it.
func describeKey(public crypto.PublicKey) (*metadata.Key, error) {
	switch pub := public.(type) {
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key of %d bytes", len(pub))
		}
	case *ecdsa.PublicKey:
		// The library would label other curves as P-256.
		if pub.Curve != elliptic.P256() {
			return nil, fmt.Errorf("curve %s is not P-256", pub.Params().Name)
		}
	default:
		return nil, fmt.Errorf("key of type %T is neither Ed25519 nor ECDSA", pub)
	}
	key, err := metadata.KeyFromPublicKey(public)
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

// tellingSigner remembers why it could not sign, which the library keeps to itself.
type tellingSigner struct {
	messageSigner

	err error
}

// SignMessage implements signature.Signer.
func (s *tellingSigner) SignMessage(message io.Reader, opts ...signature.SignOption) (sig []byte, err error) {
	sig, s.err = s.messageSigner.SignMessage(message, opts...)
	return sig, s.err
}

// seal signs m for its role, checks the signatures as a client of root would and
// encodes it. What root does not trust never reaches the disk.
func seal[T metadata.Roles](role string, m *metadata.Metadata[T], root *metadata.Metadata[metadata.RootType], signers ...crypto.Signer) ([]byte, error) {
	m.ClearSignatures()
	signed := map[string]bool{}
	for _, signer := range signers {
		key, err := tufKey(signer)
		if err != nil {
			return nil, fmt.Errorf("sign %s: %w", role, err)
		}
		id, err := key.ID()
		if err != nil {
			return nil, fmt.Errorf("sign %s: %w", role, err)
		}
		if signed[id] {
			continue
		}
		signed[id] = true
		s := &tellingSigner{messageSigner: messageSigner{signer}}
		if _, err := m.Sign(s); err != nil {
			return nil, fmt.Errorf("sign %s: %w", role, cmp.Or(s.err, err))
		}
	}
	if err := root.VerifyDelegate(role, m); err != nil {
		return nil, fmt.Errorf("sign %s: key is not the one of the root: %w", role, err)
	}
	return encode(role, m)
}

func encode[T metadata.Roles](role string, m *metadata.Metadata[T]) ([]byte, error) {
	data, err := m.ToBytes(true)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", role, err)
	}
	return data, nil
}

// captor is a signer that keeps what it was to sign.
type captor struct{ message []byte }

// PublicKey implements signature.Signer.
func (*captor) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return make(ed25519.PublicKey, ed25519.PublicKeySize), nil
}

// SignMessage implements signature.Signer.
func (c *captor) SignMessage(message io.Reader, _ ...signature.SignOption) (sig []byte, err error) {
	c.message, err = io.ReadAll(message)
	return nil, err
}

// payload is what is signed of m, in the library's canonical form.
func payload[T metadata.Roles](m *metadata.Metadata[T]) ([]byte, error) {
	unsigned := metadata.Metadata[T]{Signed: m.Signed}
	var c captor
	if _, err := unsigned.Sign(&c); err != nil {
		return nil, fmt.Errorf("encode what is signed: %w", err)
	}
	return c.message, nil
}

func (r *Repository) expiry(life time.Duration) time.Time { return expiry(r.now(), life) }

// expiry is in whole seconds UTC, the one form that every client parses.
func expiry(now time.Time, life time.Duration) time.Time {
	return now.Add(life).UTC().Truncate(time.Second)
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
