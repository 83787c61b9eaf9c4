package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/signing"
)

func (a *app) signCommand() *cobra.Command {
	var s signFlags
	cmd := &cobra.Command{
		Use:   "sign FILE...",
		Short: "Sign files keylessly",
		Long: `Sign files: an identity token buys a short-lived certificate, the signature goes
into the log and is timestamped, and all evidence is written to FILE.sigstore.json
(a v0.3 bundle), verified before it is written.`,
		Example: `  sigstack token > token
  sigstack sign --identity-token token kubectl
  sigstack sign --client kit --bundle out.json README.md      logs in first
  sigstack sign --client kit --device README.md               by a code, on another device`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.sign(cmd.Context(), s, args) },
	}
	s.signerFlags.add(cmd.Flags())
	cmd.Flags().StringVar(&s.bundle, "bundle", "", "`file` to write the bundle to, for one FILE (default FILE"+signing.BundleSuffix+")")
	return cmd
}

type signFlags struct {
	signerFlags
	bundle string
}

// signedFile is one line of sign's result.
type signedFile struct {
	File   string `json:"file"`
	Bundle string `json:"bundle"`
	signing.Result
}

func (a *app) sign(ctx context.Context, s signFlags, files []string) error {
	if s.bundle != "" && len(files) > 1 {
		return usagef("--bundle names one file, but there are %d to sign", len(files))
	}
	for _, f := range files {
		if err := wantFile(f); err != nil {
			return err
		}
	}
	session, err := s.session(a)
	if err != nil {
		return err
	}
	done, err := a.signFiles(ctx, session, files, s.bundle)
	if err != nil && len(files) > 1 {
		err = fmt.Errorf("%d of %d files signed, then: %w", len(done), len(files), err)
	}
	if err != nil && len(done) == 0 {
		return err
	}
	// Those signed before a failure stay signed.
	a.result(done, func() {
		for _, d := range done {
			a.printf("%s\n", d.Bundle)
		}
	})
	return err
}

// signFiles signs one file after the other and stops at the first failure.
func (a *app) signFiles(ctx context.Context, session *signing.Session, files []string, bundle string) ([]signedFile, error) {
	done := make([]signedFile, 0, len(files))
	for _, f := range files {
		signed, err := session.SignFile(ctx, f)
		if err != nil {
			return done, err
		}
		out := bundle
		if out == "" {
			out = f + signing.BundleSuffix
		}
		if err := durable.WriteFile(out, signed.JSON, 0o644); err != nil {
			return done, err
		}
		a.notef("signed %s as %s: log index %d\n", f, signed.Result.Identity, signed.Result.LogIndex)
		done = append(done, signedFile{f, out, signed.Result})
	}
	return done, nil
}

// wantFile makes naming anything but a regular file a usage error.
func wantFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return usagef("%w", err)
	}
	if !info.Mode().IsRegular() {
		return usagef("%s is not a regular file", path)
	}
	return nil
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
