package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"sigstack/internal/signing"
)

// sign is sign-bundle.
func sign(ctx context.Context, o options, stdout io.Writer) error {
	session, err := o.session()
	if err != nil {
		return err
	}
	signed, err := o.make(ctx, session)
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.bundle, signed.JSON, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "signed %s as %s, log index %d\n", signed.Result.Digest, signed.Result.Identity, signed.Result.LogIndex)
	return err
}

func (o options) session() (*signing.Session, error) {
	if o.trustedRoot == "" || o.signingConfig == "" {
		return nil, errors.New("sign-bundle needs --trusted-root and --signing-config: the public instances are not reached from here")
	}
	if o.token == "" {
		return nil, errors.New("sign-bundle needs --identity-token")
	}
	trusted, err := os.ReadFile(o.trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("read trust root: %w", err)
	}
	config, err := os.ReadFile(o.signingConfig)
	if err != nil {
		return nil, fmt.Errorf("read signing config: %w", err)
	}
	kit, err := signing.NewKit(o.trustedRoot, trusted, config)
	if err != nil {
		return nil, err
	}
	return signing.NewSession(signing.SessionConfig{
		Kit: kit, Token: signing.StaticToken(o.token), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
}

func (o options) make(ctx context.Context, session *signing.Session) (*signing.Signed, error) {
	if !o.inToto {
		return session.SignFile(ctx, o.artifact)
	}
	statement, err := os.ReadFile(o.artifact)
	if err != nil {
		return nil, fmt.Errorf("read statement: %w", err)
	}
	return session.SignStatement(ctx, statement)
}
