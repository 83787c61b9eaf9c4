package attest

import (
	"os"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// TestProvenance has each step of C1 fail, with the reason that the explanation gives.
func TestProvenance(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name, who string
		old, new  string // in the provenance
		refused   string // "" if it passes
	}{
		{name: "right", who: builder},
		{name: "another signer", who: mallory, refused: "FAILED  builder: https://ci.example/builder signed by mallory"},
		{name: "another builder", who: builder, old: `ci.example/builder"`, new: `ci.example/laptop"`, refused: "FAILED  builder: https://ci.example/laptop"},
		{name: "unknown build type", who: builder, old: "release/v1", new: "release/v2", refused: "FAILED  build type: .*release/v2"},
		{name: "another parameter", who: builder, old: `"version": "v1.2.3"`, new: `"version": "v1.2.4"`, refused: `FAILED  parameter version: "v1.2.4"`},
		{name: "a parameter too many", who: builder, old: `"version"`, new: `"debug": 1, "version"`, refused: "FAILED  parameter debug: 1"},
		{name: "a parameter too few", who: builder, old: `"version": "v1.2.3", `, new: "", refused: "FAILED  parameter version: missing"},
		{name: "another source", who: builder, old: "git.example/project", new: "git.example/fork", refused: "FAILED  source: in 0 of 2"},
		{name: "another ref", who: builder, old: "refs/tags/v1.2.3", new: "refs/heads/main", refused: "FAILED  source ref: refs/heads/main"},
		{name: "another commit", who: builder, old: commit, new: strings.Repeat("0", 40), refused: "FAILED  source commit: 0000"},
		{name: "no commit", who: builder, old: "gitCommit", new: "other", refused: "FAILED  source commit: missing"},
		{name: "no builder", who: builder, old: `"id"`, new: `"name"`, refused: "not readable: .*does not name a builder"},
		{name: "no build type", who: builder, old: `"buildType"`, new: `"kind"`, refused: "not readable: .*no build type"},
		{name: "no parameters", who: builder, old: `"externalParameters"`, new: `"internalParameters"`, refused: "not readable: .*no externalParameters"},
		{name: "no invocation", who: builder, old: `"invocationId"`, new: `"id"`, refused: "FAILED  invocation: missing"},
		{name: "no times", who: builder, old: `"startedOn"`, new: `"began"`, refused: "FAILED  times: missing"},
	}
	policy := w.policy(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(provenance, tt.old) {
				t.Fatal("the test changes nothing")
			}
			file := w.file(t, "artifact", tt.name)
			w.attest(t, tt.who, file, "slsaprovenance1", strings.Replace(provenance, tt.old, tt.new, 1))
			r := w.run(t, nil, "verify", "--offline", "--policy", policy, file)
			if tt.refused != "" {
				wantRefused(t, r, tt.refused)
				return
			}
			wantPassed(t, r, "(?s)ok      signature.*ok      builder.*ok      subject.*ok      build type.*ok      parameter version.*ok      source.*SLSA_BUILD_LEVEL_3")
			if err := os.WriteFile(file, []byte("tampered"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, w.run(t, nil, "verify", "--policy", policy, file), "none of its 1 subjects has sha256:")
		})
	}
}

// TestProvenanceOfImages: one of several attestations has to pass, in each storage.
func TestProvenanceOfImages(t *testing.T) {
	w := newWorld(t)
	policy := w.policy(t)
	old := w.file(t, "policy.yaml", strings.ReplaceAll(w.policyText(), "v1.2.3", "v1.2.2"))
	for _, s := range storages(t) {
		image := w.image(t, s.registry, s.style)
		wantRefused(t, w.run(t, nil, "verify", "--policy", policy, image), "no attestation")
		w.attest(t, mallory, image, "slsaprovenance1", provenance, "--storage", s.style)
		wantRefused(t, w.run(t, nil, "verify", "--policy", policy, image), "FAILED  builder: .* signed by mallory")
		w.attest(t, builder, image, "slsaprovenance1", provenance, "--storage", s.style)
		wantPassed(t, w.run(t, nil, "verify", "--policy", policy, image), "level       SLSA_BUILD_LEVEL_3")
		wantRefused(t, w.run(t, nil, "verify", "--policy", old, image), `FAILED  parameter version: "v1.2.3"`)
		wantRefused(t, w.run(t, nil, "verify", "--policy", policy, w.image(t, s.registry, "other-"+s.style)), "no attestation")
	}
}

// krel is provenance v0.2 in the shape that Kubernetes' releases had.
const krel = `{
 "builder": {"id": "https://git.k8s.io/release/docs/krel"},
 "buildType": "https://cloudbuild.googleapis.com/CloudBuildYaml@v1",
 "invocation": {
  "configSource": {"uri": "git+https://github.com/kubernetes/release", "digest": {"sha1": "` + commit + `"}, "entryPoint": "cloudbuild.yaml"},
  "parameters": {"release_branch": "release-1.24"}
 },
 "metadata": {"buildInvocationID": "b-1", "buildStartedOn": "2022-05-03T13:00:00Z", "buildFinishedOn": "2022-05-03T14:00:00Z"},
 "materials": [{"uri": "git+https://github.com/kubernetes/kubernetes", "digest": {"sha1": "` + commit + `"}}]
}`

// TestLegacyProvenance reads what cosign 2 writes: Statement v0.1, provenance v0.2.
func TestLegacyProvenance(t *testing.T) {
	w := newWorld(t)
	text := strings.NewReplacer("https://ci.example/builder", "https://git.k8s.io/release/docs/krel",
		"https://ci.example/types/release/v1", "https://cloudbuild.googleapis.com/CloudBuildYaml@v1",
		"git+https://git.example/project, ref: refs/tags/v1.2.3", "git+https://github.com/kubernetes/kubernetes",
		"{version: v1.2.3, options: {fast: true}}", "{release_branch: release-1.24, configSource: {uri: git+https://github.com/kubernetes/release, digest: {sha1: "+commit+"}, entryPoint: cloudbuild.yaml}}",
	).Replace(w.policyText())
	policy := w.file(t, "policy.yaml", text)
	image := w.image(t, e2etest.PlainRegistry(t), "krel")
	e2etest.WantAccepted(t, "cosign 2 attests", clients.CosignV2().Sign(t, clients.Request{
		Kind: clients.ImageTagAttestation, Trust: clients.TrustOf(w.Stack, clients.Env), Image: strings.TrimPrefix(image, "oci://"),
		PredicateType: "slsaprovenance", Predicate: w.file(t, "krel.json", krel), Token: w.token(t, builder),
	}))
	wantPassed(t, w.run(t, nil, "verify", "--policy", policy, image), "level       SLSA_BUILD_LEVEL_3")
	other := w.file(t, "policy.yaml", strings.Replace(text, "release-1.24", "release-1.25", 1))
	wantRefused(t, w.run(t, nil, "verify", "--policy", other, image), `FAILED  parameter release_branch: "release-1.24"`)
	wantRefused(t, w.run(t, nil, "verify-attestation", "--type", "slsaprovenance1", "--policy", policy, image), "slsa.dev/provenance/v0.2")
}

// TestLines: several attestations in one file, whatever else is there.
func TestLines(t *testing.T) {
	w := newWorld(t)
	policy := w.policy(t)
	file := w.file(t, "artifact", "of lines")
	w.attest(t, mallory, file, "slsaprovenance1", provenance, "--append")
	wantRefused(t, w.run(t, nil, "verify", "--policy", policy, file), "FAILED  builder")
	w.attest(t, builder, file, "slsaprovenance1", provenance, "--append")
	w.attest(t, builder, file, "cyclonedx", cyclone("x"), "--append")
	wantPassed(t, w.run(t, nil, "verify", "--policy", policy, file), "in          .*artifact.intoto.jsonl:2")

	lines := strings.SplitAfter(e2etest.ReadFile(t, file+".intoto.jsonl"), "\n")
	bare := `{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA=="}]}` + "\n"
	for name, tt := range map[string]struct{ content, refused string }{
		"another order":   {lines[2] + lines[1] + lines[0], ""},
		"bare envelopes":  {bare + lines[1], ""},
		"other objects":   {"{}\n" + lines[1] + `{"a":1}`, ""},
		"no builder's":    {lines[0] + lines[2], "FAILED  builder"},
		"bare alone":      {bare, "bare envelope"},
		"torn":            {lines[1] + lines[2][:100], "line 2 is not a JSON object"},
		"text":            {"hello\n" + lines[1], "line 1 is not a JSON object"},
		"empty":           {"", "there are none"},
		"tampered":        {strings.Replace(lines[1], `"payload":"ey`, `"payload":"fy`, 1), "refused"},
		"one of no type":  {lines[2], "refused: attestation: its predicate type"},
		"many of no type": {lines[2] + lines[2], "none of 2 attestations is of type"},
	} {
		t.Run(name, func(t *testing.T) {
			path := w.file(t, "all.intoto.jsonl", tt.content)
			r := w.run(t, nil, "verify", "--policy", policy, "--bundle", path, file)
			if tt.refused == "" {
				wantPassed(t, r, "SLSA_BUILD_LEVEL_3")
				return
			}
			wantRefused(t, r, tt.refused)
		})
	}

	// A line is a bundle for others, too.
	line := w.file(t, "line.json", lines[1])
	args := append([]string{"verify-blob-attestation", "--trusted-root", w.Kit("trusted_root.json"), "--bundle", line, "--type", "slsaprovenance1"}, w.by(builder)...)
	e2etest.WantAccepted(t, "cosign 3", e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append(args, file)...))
}
