package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"sigstack/internal/signing"
	"sigstack/internal/trust"
)

// checkSign is the name of the check that signs and verifies with the files.
const checkSign = "sign"

const nextSign = "see in the log of the process why, or try sigstack sign --key with the stack as it is"

// signs proves the files by use: the log's newest entry is verified with them and,
// where the log takes entries, a signature is made of artifact, logged, stamped and
// verified. Nobody can use its key again, which is made for it and forgotten; it is
// the one trace that a publication leaves in the log.
func (s *Stack) signs(ctx context.Context, c *liveCheck, artifact []byte) {
	if len(c.config.TLogs) == 0 {
		return
	}
	kit, err := signing.NewKit(trust.TrustedRootName, c.files[trust.TrustedRootName], c.files[trust.SigningConfigName])
	if err != nil {
		c.flaw(checkSign, nextSign, err)
		return
	}
	kit.Trusted.DemandTimestamp = len(c.config.TSAs) > 0
	c.flaw(checkSign, nextSign, c.readNewest(ctx, kit))
	if s.serving {
		c.flaw(checkSign, nextSign, s.signOnce(ctx, c, kit, artifact))
	}
}

// readNewest verifies the newest entry: its promise, its checkpoint and the proof
// that leads from the one to the other.
func (c *liveCheck) readNewest(ctx context.Context, kit *signing.Kit) error {
	if c.entries == 0 {
		return nil
	}
	log, err := kit.NewLogReader("", c.now)
	if err != nil {
		return err
	}
	if _, err := log.Through(c.http).Get(ctx, c.newest()); err != nil {
		return fmt.Errorf("the log's newest entry, %s, does not verify with the files: %w", c.newest(), err)
	}
	return nil
}

// signOnce signs with a key that is forgotten afterwards.
func (s *Stack) signOnce(ctx context.Context, c *liveCheck, kit *signing.Kit, artifact []byte) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	session, err := signing.NewSession(signing.SessionConfig{Kit: kit, Key: key, HTTP: c.http, Now: s.opts.Now, Log: s.opts.Log})
	if err != nil {
		return err
	}
	_, err = session.SignDigest(ctx, sha256.Sum256(artifact))
	var away *signing.UnreachableError
	if errors.As(err, &away) {
		return fmt.Errorf("signing with the files: %s at %s cannot be reached: %w", away.Service, away.URL, away.Err)
	}
	if err != nil {
		return fmt.Errorf("signing with the files: %w", err)
	}
	return nil
}
