package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/signing"
)

func (a *app) signCommand() *cobra.Command {
	var s signFlags
	cmd := &cobra.Command{
		Use:   "sign FILE|-|oci://IMAGE...",
		Short: "Sign files and images",
		Long: `Sign files and images: an identity token buys a short-lived certificate, the
signature goes into the log and is timestamped, and all evidence is verified before
it is stored. With --key a key pair signs, without a certificate or with one of the
user's own. Without --identity-token the token comes from where this runs: see
docs/signing.md.

For a file the evidence is FILE.sigstore.json (a v0.3 bundle). For an image, an
index (with --recursive also all that it lists) or any other artifact in a registry
it goes beside the image: as a referrer, which cosign 3 looks for, or with --storage
tag at the tag sha256-….sig, which cosign 2 and its like look for.`,
		Example: `  sigstack token > token
  sigstack sign --identity-token token kubectl
  sigstack sign --client kit --bundle out.json README.md      logs in first
  sigstack sign --client kit --device README.md               by a code, on another device
  sigstack sign --identity-token token oci://registry.example/app:v1
  sigstack sign --identity-token token --storage tag -a env=prod oci://registry.example/app:v1
  tar c . | sigstack sign --identity-token token --bundle out.json -
  sigstack sign --key leaf.key --certificate leaf.pem --certificate-chain chain.pem kubectl
  sigstack sign --key cosign.key --trusted-root trusted_root.json \
      --signing-config signing_config.v0.2.json kubectl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.sign(cmd.Context(), s, args) },
	}
	f := cmd.Flags()
	s.signerFlags.add(f)
	s.keyFlags.add(f)
	f.StringVar(&s.bundle, "bundle", "", "`file` to write the bundle to, for one FILE (default FILE"+signing.BundleSuffix+")")
	s.storageFlag.add(f)
	s.annotationFlag.add(f, "`key=value` to sign with the image; may be repeated")
	s.recursiveFlag.add(f, "sign what an index lists too, and what that lists")
	s.registryFlags.add(f)
	return cmd
}

type signFlags struct {
	signerFlags
	bundle string
	storageFlag
	annotationFlag
	recursiveFlag
	registryFlags
}

// signedFile is what sign and attest did for a file.
type signedFile struct {
	File   string `json:"file"`
	Bundle string `json:"bundle"`
	signing.Result
}

func (a *app) sign(ctx context.Context, s signFlags, args []string) error {
	if err := s.check(args); err != nil {
		return err
	}
	style, err := s.storage()
	if err != nil {
		return err
	}
	annotations, err := s.annotations()
	if err != nil {
		return err
	}
	session, err := s.session(ctx, a)
	if err != nil {
		return err
	}
	registry := s.open(a.now)
	if args, err = s.expand(ctx, registry, args); err != nil {
		return err
	}
	return a.signEach(args, func(arg string) (any, string, error) {
		if ref, ok := strings.CutPrefix(arg, imagePrefix); ok {
			signed, err := registry.Sign(ctx, session, ref, style, annotations)
			if err != nil {
				return nil, "", err
			}
			a.noteSigned(signed.Image, signed.Result)
			return signed, signed.Stored, nil
		}
		return a.signFile(ctx, session, arg, s.bundle)
	})
}

func (s signFlags) check(args []string) error {
	if s.bundle != "" && (len(args) > 1 || isImage(args[0])) {
		return usagef("--bundle names one file, for one FILE to sign")
	}
	if slices.Contains(args, stdinArg) {
		return s.checkStdin()
	}
	if (s.style != "" || len(s.pairs) > 0) && !slices.ContainsFunc(args, isImage) {
		return usagef("--storage and --annotation are for images; an image is named oci://REGISTRY/NAME:TAG")
	}
	if err := s.recursiveFlag.check(args...); err != nil {
		return err
	}
	for _, arg := range args {
		if err := wantTarget(arg); err != nil {
			return err
		}
		if isImage(arg) {
			continue
		}
		if err := wantOutput(cmp.Or(s.bundle, arg+signing.BundleSuffix), arg); err != nil {
			return err
		}
	}
	return nil
}

// stdinArg stands for what is to be signed, or verified, on standard input.
const stdinArg = "-"

// checkStdin: what has no name has no place for its bundle either.
func (s signFlags) checkStdin() error {
	switch {
	case s.bundle == "":
		return usagef("what is read from stdin has no name: say where its bundle goes with --bundle, and sign nothing else")
	case s.token == "-":
		return usagef("what to sign and --identity-token cannot both be stdin")
	case s.style != "" || len(s.pairs) > 0 || s.recursive:
		return usagef("--storage, --annotation and --recursive are for images")
	}
	return wantOutput(s.bundle)
}

// signEach signs one argument after the other and stops at the first failure. sign
// returns the result and where the evidence is.
func (a *app) signEach(args []string, sign func(arg string) (any, string, error)) error {
	results, places := make([]any, 0, len(args)), make([]string, 0, len(args))
	var failed error
	for _, arg := range args {
		result, place, err := sign(arg)
		if err != nil {
			failed = err
			break
		}
		results, places = append(results, result), append(places, place)
	}
	if failed != nil && len(args) > 1 {
		failed = fmt.Errorf("%d of %d signed, then: %w", len(results), len(args), failed)
	}
	if failed != nil && len(results) == 0 {
		return failed
	}
	// Those signed before a failure stay signed.
	a.result(results, func() {
		for _, place := range places {
			a.printf("%s\n", place)
		}
	})
	return failed
}

func (a *app) signFile(ctx context.Context, session *signing.Session, file, bundle string) (any, string, error) {
	sign := func() (*signing.Signed, error) { return session.SignFile(ctx, file) }
	if file == stdinArg {
		sign = func() (*signing.Signed, error) {
			return await(ctx, func() (*signing.Signed, error) { return session.Sign(ctx, a.in) })
		}
	}
	signed, err := sign()
	if err != nil {
		return nil, "", err
	}
	if bundle == "" {
		bundle = file + signing.BundleSuffix
	}
	if err := durable.WriteFile(bundle, signed.JSON, 0o644); err != nil {
		return nil, "", err
	}
	a.noteSigned(file, signed.Result)
	return signedFile{file, bundle, signed.Result}, bundle, nil
}

func (a *app) noteSigned(what string, by signing.Result) {
	a.notef("signed %s as %s: log index %d\n", shown(what), by.Identity, by.LogIndex)
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

// wantOutput makes a file that could not be written a usage error, before
// something is logged for good that would then be lost; and so it does with one of
// those that are read.
func wantOutput(path string, inputs ...string) error {
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return usagef("no place for the bundle: %w", err)
	} else if !info.IsDir() {
		return usagef("no place for the bundle: %s is not a directory", filepath.Dir(path))
	}
	out, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usagef("no place for the bundle: %w", err)
	}
	if !out.Mode().IsRegular() {
		return usagef("no place for the bundle: %s is not a regular file", path)
	}
	for _, input := range inputs {
		if in, err := os.Stat(input); err == nil && os.SameFile(in, out) {
			return usagef("the bundle would replace %s: name another file with --bundle", path)
		}
	}
	return nil
}

// shown is a name as a terminal may see it.
func shown(name string) string { return signing.Printable(name, maxShown) }

// maxShown bounds a name in messages, in bytes.
const maxShown = 4096

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
