package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sigstack/internal/signing"
)

// verify is verify-bundle.
func verify(ctx context.Context, o options, stdout io.Writer) error {
	id, err := o.signer()
	if err != nil {
		return err
	}
	trusted, err := o.trust()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(o.bundle)
	if err != nil {
		return fmt.Errorf("read bundle: %w", err)
	}
	b, err := signing.ParseBundle(text)
	if err != nil {
		return err
	}
	res, err := o.check(ctx, b, trusted, id)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "verified %s, by %s, log index %d (trust root %s)\n", res.Digest, id, res.LogIndex, res.TrustRoot)
	return err
}

// check verifies b, whose content says whether it signs the artifact itself or is
// an attestation of it.
func (o options) check(ctx context.Context, b *signing.Bundle, trusted *signing.TrustRoot, id *signing.Identity) (signing.Result, error) {
	digest, given := o.digest()
	switch {
	case !b.HoldsStatement() && given:
		return signing.VerifyDigest(digest, b, trusted, id)
	case !b.HoldsStatement():
		return signing.VerifyFile(ctx, o.artifact, b, trusted, id)
	case !given:
		var err error
		if digest, err = fileDigest(o.artifact); err != nil {
			return signing.Result{}, err
		}
	}
	res, _, err := signing.VerifyStatement(digest, "sha256", b, trusted, id, "")
	return res, err
}

// digest returns the digest that the artifact is given by. It is a file's name,
// too, if it is not of the right shape or such a file is there.
func (o options) digest() ([]byte, bool) {
	text, ok := strings.CutPrefix(o.artifact, "sha256:")
	digest, err := hex.DecodeString(text)
	if !ok || err != nil || len(digest) != sha256.Size {
		return nil, false
	}
	if _, err := os.Stat(o.artifact); !errors.Is(err, os.ErrNotExist) {
		return nil, false
	}
	return digest, true
}

// signer is the identity, or the key, that the options demand.
func (o options) signer() (*signing.Identity, error) {
	if o.key == "" {
		return signing.NewIdentity(o.identity, "", o.issuer, "")
	}
	if o.identity != "" || o.issuer != "" {
		return nil, errors.New("give --key or a certificate identity, not both")
	}
	text, err := os.ReadFile(o.key)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	pub, err := signing.LoadPublicKey(text)
	if err != nil {
		return nil, err
	}
	return signing.NewKeyIdentity(pub)
}

func fileDigest(path string) (digest []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	return h.Sum(nil), nil
}
