package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/slsa"
)

func (a *app) verifyAttestationCommand() *cobra.Command {
	var v verifyAttestationFlags
	cmd := &cobra.Command{
		Use:   "verify-attestation FILE|oci://IMAGE --type TYPE",
		Short: "Verify a statement about a file or an image",
		Long: `Verify an attestation like a signature (see sigstack verify), and that it is about
this artifact and of the type you say. Those of a file are in FILE` + release.AttestationSuffix + ` and
FILE` + signing.AttestationsSuffix + `, one a line; one that passes suffices. Those of an image are in
its registry, unless --bundle names a file, and the image its digest. --output json
prints the predicate, which is not judged, but for two kinds:

SLSA provenance is judged with --policy, which says which builders, sources and
parameters are trusted; who may have signed is said there too, so that you need not.
SBOMs are compared with --components DIR: each file that they name has to be there,
with the checksums that they have. Each check is shown; exit code 1 if one fails.`,
		Example: `  sigstack verify-attestation --client kit --type slsaprovenance1 \
      --certificate-identity builder@corp.example --certificate-oidc-issuer https://dex.corp.example \
      kubectl
  sigstack verify-attestation --client kit --type slsaprovenance1 --policy release.yaml kubectl
  sigstack verify-attestation --key cosign.pub --type spdx --components rootfs oci://registry.example/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.verifyAttestation(cmd.Context(), v, args[0]) },
	}
	f := cmd.Flags()
	v.verifierFlags.add(f)
	f.StringVar(&v.predicateType, "type", "", "predicate `type`: "+predicateNames+", or a URI")
	f.StringVar(&v.bundle, "bundle", "", "`file` with the bundle, or with several, one a line, if it ends in .jsonl")
	f.StringVar(&v.policy, "policy", "", "`file` with the policy (YAML) that SLSA provenance must pass")
	f.StringVar(&v.components, "components", "", "`directory` with the files that an SBOM describes")
	v.registryFlags.add(f)
	return cmd
}

type verifyAttestationFlags struct {
	verifierFlags
	predicateType, bundle, policy, components string
	registryFlags
}

func (a *app) verifyAttestation(ctx context.Context, v verifyAttestationFlags, arg string) error {
	types, err := predicateTypes(v.predicateType)
	if err != nil {
		return err
	}
	j, err := v.judge(types)
	if err != nil {
		return err
	}
	return a.verifyStatements(ctx, v, arg, types, j)
}

// verifyByPolicy is verify with --policy: by provenance of either version.
func (a *app) verifyByPolicy(ctx context.Context, v verifyFlags, arg string) error {
	if len(v.pairs) > 0 || v.recursive || v.attachment != "" || v.save != "" {
		return usagef("--annotation, --recursive and --attachment are for signatures, and --policy is for provenance")
	}
	types := []string{slsa.ProvenanceV1, slsa.ProvenanceV02}
	w := verifyAttestationFlags{verifierFlags: v.verifierFlags, registryFlags: v.registryFlags, bundle: v.bundle, policy: v.policy}
	j, err := w.judge(types)
	if err != nil {
		return err
	}
	return a.verifyStatements(ctx, w, arg, types, j)
}

// judge returns what the flags ask of a predicate, nil if nothing.
func (v verifyAttestationFlags) judge(types []string) (judge, error) {
	switch {
	case v.policy != "" && v.components != "":
		return nil, usagef("--policy is for provenance, --components for SBOMs")
	case v.policy != "":
		policy, _, err := readPolicy(v.policy, types)
		if err != nil {
			return nil, err
		}
		return byPolicy(policy), nil
	case v.components != "":
		return byComponents(v.components, types)
	}
	return nil, nil
}

// anybody makes the flags say that whoever the trust root certified may have signed,
// if they say nothing: a policy names its signers itself.
func (v *verifierFlags) anybody() {
	if v.subject+v.subjectRegexp+v.issuer+v.issuerRegexp+v.key == "" {
		v.subjectRegexp, v.issuerRegexp = "(?s).*", "(?s).*"
	}
}

// verifyStatements verifies what is said about an artifact, and what j asks of it.
func (a *app) verifyStatements(ctx context.Context, v verifyAttestationFlags, arg string, types []string, j judge) error {
	if isImage(arg) && v.bundle != "" {
		if _, err := imageSubject(arg); err != nil {
			return fmt.Errorf("--bundle is for files, and for images by digest: %w", err)
		}
	}
	if v.policy != "" {
		v.anybody()
	}
	c, err := v.load(ctx, a, arg)
	if err != nil {
		return err
	}
	if ref, ok := strings.CutPrefix(arg, imagePrefix); ok && v.bundle == "" {
		got, err := v.open(a.now).VerifyAttestation(ctx, ref, c.trusted, c.id, types...)
		if err != nil {
			return err
		}
		if j == nil {
			a.result(got, func() { a.printImage(got, "attestation") })
			return nil
		}
		return a.judgeImage(got, j)
	}
	passed, err := c.attestations(arg, v.bundle, types)
	if err != nil {
		return err
	}
	if j != nil {
		return a.judgeFile(arg, passed, j)
	}
	a.result(passed[0], func() { a.printAttested(arg, passed[0], len(passed)) })
	return nil
}

// printAttested prints the attestation of a file that decided, of n that passed.
func (a *app) printAttested(file string, got attested, n int) {
	a.printf("verified attestation of %s\n", shown(file))
	a.printf("  in          %s\n", shown(got.Place))
	if n > 1 {
		a.printf("  passed      %d; this is one of them\n", n)
	}
	a.printf("  type        %s\n", got.PredicateType)
	a.printResult(got.Result)
}
