package main

import (
	"errors"
	"fmt"
	"os"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
	"sigstack/internal/slsa"
)

// readPolicy reads the policy of --policy, nil without one. It judges provenance and
// nothing else.
func readPolicy(path string, types []string) (*slsa.Policy, error) {
	if path == "" {
		return nil, nil
	}
	if types[0] != slsa.ProvenanceV1 && types[0] != slsa.ProvenanceV02 {
		return nil, usagef("--policy judges SLSA provenance: with --type slsaprovenance1 or slsaprovenance")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("%w", err)
	}
	p, err := slsa.ParsePolicy(data)
	if err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	return &p, nil
}

// judgedFile is a file's attestation with what the policy says of it.
type judgedFile struct {
	verifiedAttestation
	Policy slsa.Verdict `json:"policy"`
}

func (a *app) judgeFile(got verifiedAttestation, policy slsa.Policy, show func()) error {
	verdict, err := judge(policy, got.PredicateType, got.Predicate, got.Result)
	if err != nil {
		return err
	}
	a.result(judgedFile{got, verdict}, func() {
		show()
		a.printPolicy(verdict)
	})
	return refusedBy(verdict)
}

// judgedImage is an image's attestations with what the policy says of each.
type judgedImage struct {
	oci.Verified
	Policy []slsa.Verdict `json:"policy"` // of each that passed, in their order
}

// judgeImage demands that one of the attestations passes the policy.
func (a *app) judgeImage(got oci.Verified, policy slsa.Policy) error {
	out, failed := judgedImage{got, nil}, []error{}
	for _, p := range got.Passed {
		verdict, err := judge(policy, p.PredicateType, p.Predicate, p.Result)
		if err != nil {
			verdict = slsa.Verdict{Checks: []slsa.Check{{Name: "predicate", Found: err.Error(), Want: "provenance"}}}
		}
		out.Policy = append(out.Policy, verdict)
		if err := refusedBy(verdict); err != nil {
			failed = append(failed, err)
		}
	}
	a.result(out, func() {
		a.printImage(got, "attestation")
		for _, v := range out.Policy {
			a.printPolicy(v)
		}
	})
	if len(failed) < len(out.Policy) {
		return nil
	}
	return errors.Join(failed...)
}

func judge(policy slsa.Policy, predicateType string, predicate []byte, r signing.Result) (slsa.Verdict, error) {
	v, err := slsa.ParseProvenance(predicateType, predicate)
	if err != nil {
		return slsa.Verdict{}, fmt.Errorf("refused: %w", err)
	}
	return policy.Judge(v, slsa.Signer{Identity: r.Identity, Issuer: r.Issuer}), nil
}

func refusedBy(v slsa.Verdict) error {
	if err := v.Err(); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}

func (a *app) printPolicy(v slsa.Verdict) {
	for _, c := range v.Checks {
		mark := "ok     "
		if !c.OK {
			mark = "FAILED "
		}
		a.printf("  policy      %s %s: %s\n", mark, shown(c.Name), shown(c.Found))
		if !c.OK {
			a.printf("              want %s\n", shown(c.Want))
		}
	}
	if v.Passed {
		a.printf("  level       SLSA_BUILD_LEVEL_%d\n", v.Level)
	}
}
