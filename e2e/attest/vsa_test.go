package attest

import (
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// Of summaries.
const (
	verifierID = "https://verifier.example"
	resource   = "pkg:generic/app@v1.2.3"
	summary    = "https://slsa.dev/verification_summary/v1"
)

// create has somebody sum up what the policy says of an artifact.
func (w *world) create(t *testing.T, who, policy, artifact string, more ...string) e2etest.Result {
	t.Helper()
	args := append([]string{"--policy", policy, "--policy-uri", "https://policies.example/1", "--verifier-id", verifierID, "--resource-uri", resource}, more...)
	return w.run(t, w.env(t, who), "vsa create", append(args, artifact)...)
}

// TestSummary has each step of C3 fail, on files and on images.
func TestSummary(t *testing.T) {
	w := newWorld(t)
	policy := w.policy(t)
	failing := w.file(t, "policy.yaml", strings.ReplaceAll(w.policyText(), "v1.2.3", "v1.2.2"))
	places := storages(t)
	pairs := map[string]func(name string) (artifact string, storage []string){
		"file": func(name string) (string, []string) { return w.file(t, name, name), nil },
		"referrer": func(name string) (string, []string) {
			return w.image(t, places[0].registry, name), []string{"--storage", "referrer"}
		},
		"tag": func(name string) (string, []string) {
			return w.image(t, places[1].registry, name), []string{"--storage", "tag"}
		},
	}
	for kind, newArtifact := range pairs {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			artifact, storage := newArtifact("right")
			if r := w.create(t, verifier, policy, artifact, storage...); r.Code == 0 {
				t.Fatalf("summed up an artifact without provenance:\n%s", r.Stdout)
			}
			w.attest(t, builder, artifact, "slsaprovenance1", provenance, storage...)
			wantPassed(t, w.create(t, verifier, policy, artifact, storage...), "result      PASSED")
			verify := func(artifact string, change ...string) e2etest.Result {
				args := append(w.by(verifier), "--verifier-id", verifierID, "--resource-uri", resource, "--level", "3")
				return w.run(t, nil, "vsa verify", append(append(args, change...), artifact)...)
			}
			wantPassed(t, verify(artifact), "(?s)ok      signature.*ok      subject.*ok      type.*ok      verifier.*ok      resource.*ok      result.*ok      level")
			wantRefused(t, verify(artifact, "--certificate-identity", mallory), "refused: identity|expected identit|identity")
			wantRefused(t, verify(artifact, "--verifier-id", "https://other.example"), "FAILED  verifier")
			wantRefused(t, verify(artifact, "--resource-uri", "pkg:generic/app@v1.2.4"), "FAILED  resource")

			other, storage := newArtifact("other")
			w.attest(t, builder, other, "slsaprovenance1", strings.Replace(provenance, `"v1.2.3"`, `"v9"`, 1), storage...)
			if r := verify(other); r.Code == 0 {
				t.Errorf("passed without a summary:\n%s", r.Stdout)
			}
			wantRefused(t, w.create(t, verifier, failing, other, storage...), "result      FAILED")
			wantRefused(t, verify(other, "--level", "0"), "FAILED  result: FAILED")

			low, storage := newArtifact("low")
			w.attest(t, builder, low, "slsaprovenance1", provenance, storage...)
			two := w.file(t, "policy.yaml", strings.ReplaceAll(w.policyText(), "level: 3", "level: 2"))
			wantPassed(t, w.create(t, verifier, two, low, storage...), "SLSA_BUILD_LEVEL_2")
			wantRefused(t, verify(low), "FAILED  level: SLSA_BUILD_LEVEL_2")
			wantPassed(t, verify(low, "--level", "2"), "SLSA_BUILD_LEVEL_2")

			// Anybody may claim to be the verifier, and signs as somebody else.
			forged, storage := newArtifact("forged")
			w.attest(t, builder, forged, "slsaprovenance1", provenance, storage...)
			wantPassed(t, w.create(t, mallory, policy, forged, storage...), "PASSED")
			wantRefused(t, verify(forged), "identity")
		})
	}
}

// TestSummaryOfAnother: a summary is about the digest of its subject.
func TestSummaryOfAnother(t *testing.T) {
	w := newWorld(t)
	file, other := w.file(t, "app", "one"), w.file(t, "app", "two")
	w.attest(t, builder, file, "slsaprovenance1", provenance, "--append")
	wantPassed(t, w.create(t, verifier, w.policy(t), file), "PASSED")
	verify := func(bundle, artifact string) e2etest.Result {
		return w.run(t, nil, "vsa verify", append(w.by(verifier), "--verifier-id", verifierID, "--resource-uri", resource, "--bundle", bundle, artifact)...)
	}
	lines := strings.SplitAfter(e2etest.ReadFile(t, file+".intoto.jsonl"), "\n")
	only := w.file(t, "vsa.json", lines[1])
	wantPassed(t, verify(only, file), "PASSED")
	wantRefused(t, verify(only, other), "none of its 1 subjects has sha256:")
	wantRefused(t, verify(w.file(t, "provenance.json", lines[0]), file), "predicate type|identity")

	// Both cosigns verify it as any attestation.
	for _, c := range []clients.Client{clients.CosignV3(), clients.CosignV2()} {
		e2etest.WantAccepted(t, c.Name(), c.Verify(t, clients.Request{
			Kind: clients.Attestation, Trust: clients.TrustOf(w.Stack, clients.Kit), File: file, Bundle: only,
			PredicateType: summary, Identity: verifier, Issuer: w.issuer.URL, Signer: "sigstack", Offline: true,
		}))
	}
}
