package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
	"sigstack/internal/slsa"
)

func (a *app) vsaCommand() *cobra.Command {
	return group("vsa", "Verification summaries: verify once, so that others need not", a.vsaCreateCommand(), a.vsaVerifyCommand())
}

func (a *app) vsaCreateCommand() *cobra.Command {
	var s vsaFlags
	cmd := &cobra.Command{
		Use:   "create FILE|oci://IMAGE --policy FILE --policy-uri URI --verifier-id URI --resource-uri URI",
		Short: "Judge provenance by a policy, and sign what came of it",
		Long: `Verify the SLSA provenance of a file or an image by a policy, as sigstack verify
--policy does, and sign the result: a verification summary (VSA) that says PASSED and
which level was shown, or FAILED; then the exit code is 1, too. Without provenance that
is genuine and about this artifact there is nothing to sum up.

The summary names the policy with its digest, and the attestations that were looked at
with theirs. That of a file is added to FILE` + signing.AttestationsSuffix + `, or goes to --bundle; that
of an image goes beside it in the registry.`,
		Example: `  sigstack vsa create --client kit --identity-token token --policy release.yaml \
      --policy-uri https://policies.corp.example/release --verifier-id https://verifier.corp.example \
      --resource-uri pkg:generic/kubectl@v1.2.3 kubectl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.vsaCreate(cmd.Context(), s, args[0]) },
	}
	f := cmd.Flags()
	s.signerFlags.add(f)
	s.keyFlags.add(f)
	f.StringVar(&s.policy, "policy", "", "`file` with the policy (YAML) that the provenance must pass")
	f.StringVar(&s.policyURI, "policy-uri", "", "`URI` that others know the policy by")
	f.StringVar(&s.verifierID, "verifier-id", "", "`URI` that others know this verifier by")
	f.StringVar(&s.resourceURI, "resource-uri", "", "`URI` that others know the artifact by, such as where they get it")
	f.StringVar(&s.provenance, "provenance", "", "`file` with the provenance of a FILE (default: where attest puts it)")
	f.StringVar(&s.bundle, "bundle", "", "`file` to write the summary's bundle to, for a FILE; one that ends in .jsonl is added to")
	s.storageFlag.add(f)
	s.registryFlags.add(f)
	return cmd
}

type vsaFlags struct {
	signerFlags
	policy, policyURI, verifierID, resourceURI string
	provenance, bundle                         string
	storageFlag
	registryFlags
}

func (s vsaFlags) check(arg string) error {
	for name, value := range map[string]string{
		"policy": s.policy, "policy-uri": s.policyURI, "verifier-id": s.verifierID, "resource-uri": s.resourceURI,
	} {
		if value == "" {
			return usagef("--%s is needed: --policy, --policy-uri, --verifier-id and --resource-uri are what a summary says", name)
		}
	}
	switch {
	case isImage(arg) && s.bundle+s.provenance != "":
		return usagef("--bundle and --provenance are for files; an image's attestations are in its registry")
	case !isImage(arg) && s.style != "":
		return usagef("--storage is for images; an image is named oci://REGISTRY/NAME:TAG")
	}
	if err := wantTarget(arg); err != nil || isImage(arg) {
		return err
	}
	return s.place(arg).check(arg, s.policy)
}

// place is where the summary of a file goes.
func (s vsaFlags) place(file string) place {
	switch {
	case s.bundle == "":
		return place{file + signing.AttestationsSuffix, enlarge}
	case holdsSeveral(s.bundle):
		return place{s.bundle, enlarge}
	}
	return place{s.bundle, replace}
}

// createdVSA is a summary that was signed, and what it is of.
type createdVSA struct {
	Stored  string       `json:"stored"`
	Summary slsa.Summary `json:"summary"`
	Policy  slsa.Verdict `json:"policy"`
	signing.Result
}

func (a *app) vsaCreate(ctx context.Context, s vsaFlags, arg string) error {
	if err := s.check(arg); err != nil {
		return err
	}
	style, err := s.storage()
	if err != nil {
		return err
	}
	types := []string{slsa.ProvenanceV1, slsa.ProvenanceV02}
	policy, text, err := readPolicy(s.policy, types)
	if err != nil {
		return err
	}
	kit, err := s.kit(ctx, a)
	if err != nil {
		return err
	}
	session, err := s.session(ctx, a)
	if err != nil {
		return err
	}
	looked, ref, err := a.provenanceOf(ctx, s, kit, arg, types)
	if err != nil {
		return err
	}
	verdict := judgeBest(policy, looked)
	summary := s.summary(a, looked, verdict, text)
	predicate, err := summary.Predicate()
	if err != nil {
		return usagef("%w", err) // what is wrong came from flags
	}
	out := createdVSA{Summary: summary, Policy: verdict}
	if ref != "" {
		signed, err := s.open(a.now).Attest(ctx, session, ref, style, slsa.SummaryV1, predicate)
		if err != nil {
			return err
		}
		out.Stored, out.Result = signed.Stored, signed.Result
	} else if out.Stored, out.Result, err = a.signSummary(ctx, session, arg, s.place(arg), looked[0].artifact, predicate); err != nil {
		return err
	}
	a.noteSigned("a verification summary of "+arg, out.Result)
	shown := policyVerdict{verdict}
	a.result(out, func() {
		a.printf("%s\n", out.Stored)
		a.printf("  result      %s\n", summary.Result)
		shown.print(a)
	})
	return shown.Err()
}

// provenanceOf verifies the provenance of an artifact: at least one that passed. Of an
// image it returns the reference by digest, so that what was verified is what is signed.
func (a *app) provenanceOf(ctx context.Context, s vsaFlags, kit *signing.Kit, arg string, types []string) ([]attested, string, error) {
	var who verifierFlags
	who.anybody() // the policy tells who may
	id, err := who.identity()
	if err != nil {
		return nil, "", err
	}
	if ref, ok := strings.CutPrefix(arg, imagePrefix); ok {
		got, err := s.open(a.now).VerifyAttestation(ctx, ref, kit.Trusted, id, types...)
		return ofImage(got), got.Image, err
	}
	looked, err := verifier{trusted: kit.Trusted, id: id}.attestations(arg, s.provenance, types)
	return looked, "", err
}

// judgeBest returns the verdict on the first provenance that passes, else on the first.
func judgeBest(policy slsa.Policy, looked []attested) slsa.Verdict {
	first := judgeProvenance(policy, looked[0])
	for _, one := range looked {
		if v := judgeProvenance(policy, one); v.Passed {
			return v
		}
	}
	return first
}

func (s vsaFlags) summary(a *app, looked []attested, verdict slsa.Verdict, policy []byte) slsa.Summary {
	at := a.now().UTC()
	out := slsa.Summary{
		Verifier: slsa.Verifier{ID: s.verifierID}, TimeVerified: &at, ResourceURI: s.resourceURI,
		Policy: descriptor(s.policyURI, documentDigest(policy)),
		Result: slsa.Failed, Levels: []string{slsa.Failed}, SLSAVersion: "1.0",
	}
	if verdict.Passed {
		out.Result, out.Levels = slsa.Passed, []string{fmt.Sprintf("SLSA_BUILD_LEVEL_%d", verdict.Level)}
	}
	for _, one := range looked {
		out.InputAttestations = append(out.InputAttestations, descriptor(one.Place, one.Document))
	}
	return out
}

func descriptor(uri, digest string) slsa.Descriptor {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return slsa.Descriptor{URI: uri, Digest: map[string]string{algorithm: hex}}
}

// signSummary signs a summary of the file of which the digest was verified.
func (a *app) signSummary(ctx context.Context, session *signing.Session, file string, to place, sha256 string, predicate json.RawMessage) (string, signing.Result, error) {
	statement, err := signing.NewStatement([]signing.Subject{subjectOf(file, sha256)}, slsa.SummaryV1, predicate)
	if err != nil {
		return "", signing.Result{}, err
	}
	signed, err := session.SignStatement(ctx, statement)
	if err != nil {
		return "", signing.Result{}, err
	}
	return to.path, signed.Result, to.write(signed.JSON)
}
