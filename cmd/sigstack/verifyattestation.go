package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/release"
	"sigstack/internal/signing"
)

func (a *app) verifyAttestationCommand() *cobra.Command {
	var v verifyAttestationFlags
	cmd := &cobra.Command{
		Use:   "verify-attestation FILE|oci://IMAGE --type TYPE",
		Short: "Verify a statement about a file or an image",
		Long: `Verify an attestation like a signature (see sigstack verify), and that it is about
this artifact and of the type you say. --output json prints its predicate, which is
not judged, unless it is SLSA provenance and --policy says which builders, sources and
parameters are trusted. Each check is then shown; exit code 1 if one fails.`,
		Example: `  sigstack verify-attestation --client kit --type slsaprovenance1 \
      --certificate-identity builder@corp.example --certificate-oidc-issuer https://dex.corp.example \
      kubectl
  sigstack verify-attestation --client kit --type slsaprovenance1 --policy release.yaml \
      --certificate-identity builder@corp.example --certificate-oidc-issuer https://dex.corp.example \
      kubectl
  sigstack verify-attestation --key cosign.pub --type spdx --output json oci://registry.example/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.verifyAttestation(cmd.Context(), v, args[0]) },
	}
	f := cmd.Flags()
	v.verifierFlags.add(f)
	f.StringVar(&v.predicateType, "type", "", "predicate `type`: "+predicateNames+", or a URI")
	f.StringVar(&v.bundle, "bundle", "", "`file` with the bundle (default FILE"+release.AttestationSuffix+")")
	f.StringVar(&v.policy, "policy", "", "`file` with the policy (YAML) that SLSA provenance must pass")
	v.registryFlags.add(f)
	return cmd
}

type verifyAttestationFlags struct {
	verifierFlags
	predicateType, bundle, policy string
	registryFlags
}

// verifiedAttestation is the verdict on a file's attestation.
type verifiedAttestation struct {
	PredicateType string          `json:"predicate_type"`
	Predicate     json.RawMessage `json:"predicate"`
	signing.Result
}

func (a *app) verifyAttestation(ctx context.Context, v verifyAttestationFlags, arg string) error {
	types, err := predicateTypes(v.predicateType)
	if err != nil {
		return err
	}
	policy, err := readPolicy(v.policy, types)
	if err != nil {
		return err
	}
	if isImage(arg) && v.bundle != "" {
		return usagef("--bundle is for files; an image's attestations are in its registry")
	}
	c, err := v.load(ctx, a, arg)
	if err != nil {
		return err
	}
	if ref, ok := strings.CutPrefix(arg, imagePrefix); ok {
		got, err := v.open(a.now).VerifyAttestation(ctx, ref, c.trusted, c.id, types...)
		if err != nil {
			return err
		}
		if policy != nil {
			return a.judgeImage(got, *policy)
		}
		a.result(got, func() { a.printImage(got, "attestation") })
		return nil
	}
	if v.bundle == "" {
		v.bundle = arg + release.AttestationSuffix
	}
	got, err := c.attestation(arg, v.bundle, types)
	if err != nil {
		return err
	}
	show := func() {
		a.printf("verified attestation of %s\n", shown(arg))
		a.printf("  type        %s\n", got.PredicateType)
		a.printResult(got.Result)
	}
	if policy != nil {
		return a.judgeFile(got, *policy, show)
	}
	a.result(got, show)
	return nil
}

// attestation verifies a file's attestation, which must be of one of the types.
func (c verifier) attestation(file, bundle string, types []string) (verifiedAttestation, error) {
	b, err := loadBundle(bundle)
	if err != nil {
		return verifiedAttestation{}, err
	}
	digest, err := fileDigest(file)
	if err != nil {
		return verifiedAttestation{}, err
	}
	res, statement, err := signing.VerifyStatement(digest, "sha256", b, c.trusted, c.id, "")
	if err != nil {
		return verifiedAttestation{}, err
	}
	if !slices.Contains(types, statement.PredicateType) {
		return verifiedAttestation{}, &signing.RefusedError{
			Check: signing.CheckStatement, TrustRoot: c.trusted.String(),
			Err: fmt.Errorf("its predicate type is %q, want %s", statement.PredicateType, strings.Join(types, " or ")),
		}
	}
	return verifiedAttestation{statement.PredicateType, statement.Predicate, res}, nil
}
