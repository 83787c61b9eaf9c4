package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

func (a *app) verifyCommand() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE|-|oci://IMAGE",
		Short: "Verify a file against its bundle, or an image against its signatures",
		Long: `Verify a file against its bundle: certificate chain, SCT, log entry, inclusion
proof, timestamps, signature and identity, all by the one trust root that the flags
choose and the verdict names. No connection is made, but for --tuf-url without
--offline.

An image is verified by the signatures in its registry, however they are stored
there: one that passes in full suffices; with --recursive so must all that an index
lists, and what is not signed is named. Exit code 1, and the check that failed, if
the artifact is not what was signed or not by whom you say.

With --policy an artifact is verified by its SLSA provenance: that this is genuine,
about this artifact, and of a builder, source and parameters that the policy trusts.

With --as-of it is decided as a client at that time would have: by the trust root
that was published then, and not at all if its metadata had expired. Try the oldest
and the newest signatures so before and after each step of a rotation.`,
		Example: `  sigstack verify --client kit --certificate-identity demo@sigstack.local \
      --certificate-oidc-issuer http://localhost:8080/dex kubectl
  sigstack verify --trusted-root trusted_root.json --certificate-identity demo@sigstack.local \
      --certificate-oidc-issuer http://localhost:8080/dex -a env=prod oci://registry.example/app:v1
  sigstack verify --tuf-url http://localhost:8080/tuf --tuf-root root.json --key cosign.pub kubectl
  sigstack verify --client kit --policy release.yaml kubectl
  sigstack verify --as-of 2026-11-20T08:00:00Z --dir /var/lib/sigstack --key cosign.pub samples/`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (v.asOf.at != "" || v.policy != "") && (v.attachment != "" || v.save != ""):
				return usagef("--attachment and --save go with neither --as-of nor --policy")
			case v.asOf.at != "" && v.recursive:
				return usagef("--recursive is for images, --as-of for files")
			case v.policy != "" && (v.asOf.at != "" || len(args) > 1):
				return usagef("--policy judges the provenance of one artifact, and not with --as-of")
			case v.policy != "":
				return a.verifyByPolicy(cmd.Context(), v, args[0])
			case v.asOf.at != "":
				return a.verifyAsOf(cmd.Context(), v, args)
			case cmd.Flags().Changed("dir") || cmd.Flags().Changed("mirror"):
				return usagef("--dir and --mirror go with --as-of")
			case len(args) > 1:
				return usagef("accepts 1 arg(s), received %d; with --as-of there may be more", len(args))
			}
			return a.verify(cmd.Context(), v, args[0])
		},
	}
	f := cmd.Flags()
	v.verifierFlags.add(f)
	f.StringVar(&v.bundle, "bundle", "", "`file` with the bundle (default FILE"+signing.BundleSuffix+")")
	v.annotationFlag.add(f, "`key=value` that must be signed with the image; may be repeated")
	v.recursiveFlag.add(f, "verify what an index lists too, and what that lists")
	v.attachmentFlags.add(f)
	v.registryFlags.add(f)
	f.StringVar(&v.policy, "policy", "", "judge SLSA provenance instead of a signature, by the policy in this `file`, which also says who may have signed")
	v.asOf.add(f)
	return cmd
}

type verifyFlags struct {
	verifierFlags
	asOf           asOfFlags
	bundle, policy string
	annotationFlag
	recursiveFlag
	attachmentFlags
	registryFlags
}

func (a *app) verify(ctx context.Context, v verifyFlags, arg string) error {
	annotations, err := v.annotations()
	if err != nil {
		return err
	}
	switch {
	case isImage(arg) && v.bundle != "":
		return usagef("--bundle is for files; an image's signatures are in its registry")
	case arg == stdinArg && v.bundle == "":
		return usagef("what is read from stdin has no name: say where its bundle is with --bundle")
	case !isImage(arg) && annotations != nil:
		return usagef("--annotation is for images")
	}
	if err := v.recursiveFlag.check(arg); err != nil {
		return err
	}
	if err := v.attachmentFlags.check(arg, v.recursive); err != nil {
		return err
	}
	c, err := v.loadIf(ctx, a, func() error {
		if arg == stdinArg {
			return nil
		}
		return wantTarget(arg)
	})
	if err != nil {
		return err
	}
	if ref, ok := strings.CutPrefix(arg, imagePrefix); ok {
		if v.attachment != "" {
			return a.verifyAttachment(ctx, v.attachmentFlags, v.open(a.now), ref, c, annotations)
		}
		got, err := v.verifyImage(ctx, v.open(a.now), ref, c, annotations)
		if err != nil {
			return err
		}
		a.result(got, func() { a.printImage(got, "signature"); a.printChildren(got) })
		return nil
	}
	if v.bundle == "" {
		v.bundle = arg + signing.BundleSuffix
	}
	bundle, err := loadBundle(v.bundle)
	if err != nil {
		return err
	}
	check := func() (signing.Result, error) { return signing.VerifyFile(ctx, arg, bundle, c.trusted, c.id) }
	if arg == stdinArg {
		check = func() (signing.Result, error) {
			return await(ctx, func() (signing.Result, error) { return signing.Verify(ctx, a.in, bundle, c.trusted, c.id) })
		}
	}
	result, err := check()
	if err != nil {
		return err
	}
	a.result(result, func() {
		a.printf("verified %s\n", shown(arg))
		a.printResult(result)
	})
	return nil
}

// printImage prints a passed verification of an image.
func (a *app) printImage(got oci.Verified, what string) {
	a.printf("verified %s: %d of %d %s(s) passed\n", got.Image, len(got.Passed), got.Found, what)
	a.printKind(got)
	for _, p := range got.Passed {
		a.printf("%s\n", p.Stored)
		if p.PredicateType != "" {
			a.printf("  type        %s\n", p.PredicateType)
		}
		for _, key := range slices.Sorted(maps.Keys(p.Annotations)) {
			a.printf("  annotation  %s=%s\n", key, p.Annotations[key])
		}
		a.printResult(p.Result)
	}
}

func (a *app) printResult(r signing.Result) {
	by := r.Identity
	if r.Issuer != "" {
		by += " (" + r.Issuer + ")"
	}
	a.printf("  signed by   %s\n", by)
	if note := r.IssuerBacking.Note(); note != "" {
		a.printf("  issuer      %s\n", note)
	}
	if r.Authority != "" {
		a.printf("  authority   %s\n", shown(r.Authority))
	}
	a.printf("  digest      %s\n", r.Digest)
	switch {
	case !r.IntegratedTime.IsZero():
		a.printf("  logged      %s, index %d\n", r.IntegratedTime.Format(timeFormat), r.LogIndex)
	case !r.Timestamp.IsZero():
		a.printf("  logged      index %d; timestamp %s\n", r.LogIndex, r.Timestamp.Format(timeFormat))
	default: // a key pair's, in a log that states no time
		a.printf("  logged      index %d, at an unknown time\n", r.LogIndex)
	}
	a.printf("  trust root  %s\n", r.TrustRoot)
}

const timeFormat = "2006-01-02 15:04:05Z07:00"

func loadBundle(path string) (*signing.Bundle, error) {
	data, err := readGiven(path, signing.MaxBundle)
	if err != nil {
		return nil, err
	}
	return signing.ParseBundle(data)
}
