package main

import (
	"context"

	"github.com/spf13/cobra"

	"sigstack/internal/slsa"
)

func (a *app) vsaVerifyCommand() *cobra.Command {
	var v vsaVerifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE|oci://IMAGE --verifier-id URI --resource-uri URI",
		Short: "Verify an artifact by a summary of somebody's verification",
		Long: `Verify a verification summary (VSA) like any attestation, and then what it says: that
it is by the verifier whom you trust, who signs as you say, about the resource that you
asked for, that the artifact passed, and at least at the level you want. Each check is
shown; exit code 1 if one fails.`,
		Example: `  sigstack vsa verify --client kit --certificate-identity verifier@corp.example \
      --certificate-oidc-issuer https://dex.corp.example --verifier-id https://verifier.corp.example \
      --resource-uri pkg:generic/kubectl@v1.2.3 --level 3 kubectl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.vsaVerify(cmd.Context(), v, args[0]) },
	}
	f := cmd.Flags()
	v.verifierFlags.add(f)
	f.StringVar(&v.want.VerifierID, "verifier-id", "", "`URI` of the verifier that the signer signs for")
	f.StringVar(&v.want.ResourceURI, "resource-uri", "", "`URI` that the summary must be about")
	f.IntVar(&v.want.Level, "level", 1, "least SLSA build `level`, 0 to 3")
	f.StringVar(&v.bundle, "bundle", "", "`file` with the summary of a FILE (default: where vsa create puts it)")
	v.registryFlags.add(f)
	return cmd
}

type vsaVerifyFlags struct {
	verifierFlags
	want   slsa.Expectation
	bundle string
	registryFlags
}

func (a *app) vsaVerify(ctx context.Context, v vsaVerifyFlags, arg string) error {
	switch {
	case v.want.VerifierID == "" || v.want.ResourceURI == "":
		return usagef("--verifier-id and --resource-uri are needed: whom you trust, and what you asked for")
	case v.want.Level < 0 || v.want.Level > 3:
		return usagef("--level %d: want 0 to 3", v.want.Level)
	}
	w := verifyAttestationFlags{verifierFlags: v.verifierFlags, registryFlags: v.registryFlags, bundle: v.bundle}
	return a.verifyStatements(ctx, w, arg, []string{slsa.SummaryV1}, bySummary(v.want))
}

// notExpected begins what is told of a summary that is refused.
const notExpected = "the summary is not what is expected"

// bySummary judges summaries. Who signed was verified, and is whom the user expects to
// sign for the verifier.
func bySummary(want slsa.Expectation) judge {
	return func(got attested) judgement {
		s, err := slsa.ParseSummary(got.Predicate)
		if err != nil {
			return policyVerdict{slsa.Verdict{About: notExpected, Checks: append(proven(got), slsa.Check{Name: "predicate", Found: "not readable: " + err.Error(), Want: "a summary"})}}
		}
		want := want
		want.Signer = signerOf(got)
		out := want.Judge(s, signerOf(got))
		out.About = notExpected
		out.Checks = append(append(proven(got), slsa.Check{Name: "type", OK: true, Found: got.PredicateType, Want: slsa.SummaryV1}), out.Checks...)
		return policyVerdict{out}
	}
}
