package entry_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/go-openapi/runtime"
	"github.com/go-openapi/strfmt"
	v1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"
	"github.com/sigstore/sigstore/pkg/signature"
)

// upstream runs a proposed entry through the reference server's own library, in
// the order of its handler: schema, entry, algorithms, canonical form.
func upstream(proposed []byte) ([]byte, error) {
	e, err := upstreamEntry(proposed)
	if err != nil {
		return nil, err
	}
	return types.CanonicalizeEntry(context.Background(), e)
}

// upstreamTerms are the words that the reference server's library indexes.
func upstreamTerms(proposed []byte) ([]string, error) {
	e, err := upstreamEntry(proposed)
	if err != nil {
		return nil, err
	}
	return e.IndexKeys()
}

func upstreamEntry(proposed []byte) (types.EntryImpl, error) {
	pe, err := models.UnmarshalProposedEntry(bytes.NewReader(proposed), runtime.JSONConsumer())
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if err := pe.Validate(strfmt.Default); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	e, err := types.CreateVersionedEntry(pe)
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	if pe.Kind() == "hashedrekord" {
		err = upstreamAlgorithm(e)
	}
	return e, err
}

func upstreamAlgorithm(e types.EntryImpl) error {
	registry, err := signature.NewAlgorithmRegistryConfig([]v1.PublicKeyDetails{
		v1.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256,
		v1.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
		v1.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256,
		v1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		v1.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
		v1.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512,
		v1.PublicKeyDetails_PKIX_ED25519,
		v1.PublicKeyDetails_PKIX_ED25519_PH,
	})
	if err != nil {
		return err
	}
	artifact, err := e.ArtifactHash()
	if err != nil {
		return err
	}
	hash := crypto.SHA256
	for name, h := range map[string]crypto.Hash{"sha384:": crypto.SHA384, "sha512:": crypto.SHA512} {
		if len(artifact) > len(name) && artifact[:len(name)] == name {
			hash = h
		}
	}
	keys, err := e.Verifiers()
	if err != nil {
		return err
	}
	for _, k := range keys {
		ids, err := k.Identities()
		if err != nil {
			return err
		}
		for _, id := range ids {
			pub := id.Crypto
			if c, ok := pub.(*x509.Certificate); ok {
				pub = c.PublicKey
			}
			if ok, err := registry.IsAlgorithmPermitted(pub, hash); err != nil || !ok {
				return errors.Join(errors.New("algorithm not permitted"), err)
			}
		}
	}
	return nil
}
