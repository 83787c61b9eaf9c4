package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sigstack/internal/oci"
	"sigstack/internal/slsa"
)

// maxPolicyFile bounds what is read of a policy, in bytes.
const maxPolicyFile = 2 << 20

// readPolicy reads the policy at path, and returns its content too. It judges
// provenance and nothing else.
func readPolicy(path string, types []string) (slsa.Policy, []byte, error) {
	if types[0] != slsa.ProvenanceV1 && types[0] != slsa.ProvenanceV02 {
		return slsa.Policy{}, nil, usagef("--policy judges SLSA provenance: with --type slsaprovenance1 or slsaprovenance")
	}
	data, err := readGiven(path, maxPolicyFile)
	if err != nil {
		return slsa.Policy{}, nil, err
	}
	p, err := slsa.ParsePolicy(data)
	if err != nil {
		return slsa.Policy{}, nil, usagef("%s: %w", path, err)
	}
	return p, data, nil
}

// judge says what it thinks of an attestation that is genuine.
type judge func(attested) judgement

// judgement is that of a policy, of a consumer of summaries, or of files that an SBOM
// describes.
type judgement interface {
	// Err is nil if all is as it should be.
	Err() error
	print(a *app)
}

// byPolicy judges provenance.
func byPolicy(policy slsa.Policy) judge {
	return func(got attested) judgement { return policyVerdict{judgeProvenance(policy, got)} }
}

// judgeProvenance has the steps of the contract in their order (C1).
func judgeProvenance(policy slsa.Policy, got attested) slsa.Verdict {
	v, err := slsa.ParseProvenance(got.PredicateType, got.Predicate)
	if err != nil {
		return slsa.Verdict{Checks: append(proven(got), slsa.Check{Name: "predicate", Found: "not readable: " + err.Error(), Want: "provenance"})}
	}
	out := policy.Judge(v, signerOf(got))
	shown := proven(got)
	out.Checks = slices.Concat(shown[:1], out.Checks[:1], shown[1:], out.Checks[1:])
	return out
}

// proven are the checks that an attestation has passed before it is judged.
func proven(got attested) []slsa.Check {
	return []slsa.Check{
		{Name: "signature", OK: true, Found: fmt.Sprintf("by %s, log index %d", got.Identity, got.LogIndex), Want: "one that verifies"},
		{Name: "subject", OK: true, Found: got.Digest, Want: got.Digest},
	}
}

func signerOf(got attested) slsa.Signer {
	return slsa.Signer{Identity: got.Identity, Issuer: got.Issuer}
}

// policyVerdict is the verdict on provenance or on a summary of its verification.
type policyVerdict struct{ slsa.Verdict }

// MarshalJSON implements json.Marshaler.
func (v policyVerdict) MarshalJSON() ([]byte, error) { return json.Marshal(v.Verdict) }

// Err implements judgement.
func (v policyVerdict) Err() error {
	if err := v.Verdict.Err(); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}

func (v policyVerdict) print(a *app) {
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
		a.printf("  level       SLSA_BUILD_LEVEL_%d: %s\n", v.Level, levels[v.Level])
	}
}

// levels are what each build level says (slsa.dev/spec/v1.0/levels).
var levels = map[int]string{
	0: "nothing was shown of the build",
	1: "provenance is there",
	2: "provenance is signed by the build platform",
	3: "provenance is signed by the build platform, and no build can reach who signs",
}

// judgedFile is a file's attestation with what is thought of it.
type judgedFile struct {
	attested
	Policy judgement `json:"policy"`
}

// judgeFile demands that one of the attestations passes, and shows that one, or all.
func (a *app) judgeFile(file string, passed []attested, j judge) error {
	var failed []error
	verdicts := make([]judgement, len(passed))
	at := 0
	for i, got := range passed {
		verdicts[i] = j(got)
		err := verdicts[i].Err()
		if err == nil {
			at, failed = i, nil
			break
		}
		failed = append(failed, err)
	}
	a.result(judgedFile{passed[at], verdicts[at]}, func() {
		for i, v := range verdicts {
			if v != nil && (i == at || len(failed) > 0) {
				a.printAttested(file, passed[i], len(passed))
				v.print(a)
			}
		}
	})
	return errors.Join(failed...)
}

// judgedImage is an image's attestations with what is thought of each.
type judgedImage struct {
	oci.Verified
	Policy []judgement `json:"policy"` // of each that passed, in their order
}

// judgeImage demands that one of the attestations passes.
func (a *app) judgeImage(got oci.Verified, j judge) error {
	out, failed := judgedImage{got, nil}, []error{}
	for _, one := range ofImage(got) {
		v := j(one)
		out.Policy = append(out.Policy, v)
		if err := v.Err(); err != nil {
			failed = append(failed, err)
		}
	}
	a.result(out, func() {
		a.printImage(got, "attestation")
		for _, v := range out.Policy {
			v.print(a)
		}
	})
	if len(failed) < len(out.Policy) {
		return nil
	}
	return errors.Join(failed...)
}
