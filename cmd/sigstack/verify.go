package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
)

func (a *app) verifyCommand() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a file against its bundle",
		Long: `Verify a file against its bundle: certificate chain, SCT, log entry, inclusion
proof, timestamps, signature and identity, all by the one trust root that the kit
holds and the verdict names. No connection is made.

Exit code 1, and the check that failed, if the file is not what was signed or not
by whom you say.`,
		Example: `  sigstack verify --client kit --certificate-identity demo@sigstack.local \
      --certificate-oidc-issuer http://localhost:8080/dex kubectl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), v, args[0]) },
	}
	v.clientFlags.add(cmd.Flags())
	v.identityFlags.add(cmd.Flags())
	cmd.Flags().StringVar(&v.bundle, "bundle", "", "`file` with the bundle (default FILE"+signing.BundleSuffix+")")
	return cmd
}

type verifyFlags struct {
	clientFlags
	identityFlags
	bundle string
}

func (a *app) verify(ctx context.Context, v verifyFlags, file string) error {
	id, err := v.identity()
	if err != nil {
		return err
	}
	kit, err := v.kit()
	if err != nil {
		return err
	}
	if err := wantFile(file); err != nil {
		return err
	}
	if v.bundle == "" {
		v.bundle = file + signing.BundleSuffix
	}
	bundle, err := loadBundle(v.bundle)
	if err != nil {
		return err
	}
	result, err := signing.VerifyFile(ctx, file, bundle, kit.Trusted, id)
	if err != nil {
		return err
	}
	a.result(result, func() {
		a.printf("verified %s\n", file)
		a.printf("  signed by   %s (%s)\n", result.Identity, result.Issuer)
		a.printf("  digest      %s\n", result.Digest)
		a.printf("  logged      %s, index %d\n", result.IntegratedTime.Format("2006-01-02 15:04:05Z07:00"), result.LogIndex)
		a.printf("  trust root  %s\n", result.TrustRoot)
	})
	return nil
}

func loadBundle(path string) (*signing.Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("read bundle: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, signing.MaxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return signing.ParseBundle(data)
}
