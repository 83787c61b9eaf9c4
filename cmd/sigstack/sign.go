package main

import (
	"context"
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
  sigstack sign --client kit --bundle out.json README.md      logs in first`,
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
		if info, err := os.Stat(f); err != nil {
			return usagef("%w", err)
		} else if !info.Mode().IsRegular() {
			return usagef("%s is not a regular file", f)
		}
	}
	session, err := s.session(a)
	if err != nil {
		return err
	}
	done := make([]signedFile, 0, len(files))
	for _, f := range files {
		signed, err := session.SignFile(ctx, f)
		if err != nil {
			return err
		}
		out := s.bundle
		if out == "" {
			out = f + signing.BundleSuffix
		}
		if err := durable.WriteFile(out, signed.JSON, 0o644); err != nil {
			return err
		}
		a.notef("signed %s as %s: log index %d\n", f, signed.Result.Identity, signed.Result.LogIndex)
		done = append(done, signedFile{f, out, signed.Result})
	}
	a.result(done, func() {
		for _, d := range done {
			a.printf("%s\n", d.Bundle)
		}
	})
	return nil
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
