package slsa_test

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/slsa"
)

const (
	commit = "aa63b5a3b4a9ab3d1e0e2d3c4b5a69788796a5b4"

	good = `{
 "buildDefinition": {
  "buildType": "https://ci.example/types/release/v1",
  "externalParameters": {"version": "v1.2.3", "config": {"fast": true, "jobs": 12345678901234567890}},
  "internalParameters": {"anything": 1},
  "resolvedDependencies": [
   {"uri": "git+https://git.example/project@refs/tags/v1.2.3", "digest": {"gitCommit": "` + commit + `"}},
   {"uri": "pkg:golang/example.org/x@v1.0.0", "digest": {"sha256": "00"}}
  ]
 },
 "runDetails": {
  "builder": {"id": "https://ci.example/builder"},
  "metadata": {"invocationId": "run-7", "startedOn": "2026-11-22T10:00:00Z", "finishedOn": "2026-11-22T10:20:00Z"}
 }
}`

	goodPolicy = `
builders:
  - {id: https://ci.example/builder, identity: builder@ci.example, issuer: https://issuer.example, level: 3}
  - {id: https://laptop.example, identity: dev@ci.example, issuer: https://issuer.example, level: 1}
build_types: [https://ci.example/types/release/v1]
source: {uri: git+https://git.example/project, ref: refs/tags/v1.2.3, commit: ` + commit + `}
parameters:
  version: v1.2.3
  config: {jobs: 12345678901234567890, fast: true}
level: 2
`
)

var builder = slsa.Signer{Identity: "builder@ci.example", Issuer: "https://issuer.example"}

func policy(t *testing.T, text string) slsa.Policy {
	t.Helper()
	p, err := slsa.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// failed are the names of the checks that failed.
func failed(v slsa.Verdict) (names []string) {
	for _, c := range v.Checks {
		if !c.OK {
			names = append(names, c.Name)
		}
	}
	return names
}

// TestJudge breaks the good provenance, policy or signer in one place each.
func TestJudge(t *testing.T) {
	tests := []struct {
		name            string
		old, new        string // in the provenance
		policy, policy2 string // in the policy
		by              slsa.Signer
		failed          []string
	}{
		{name: "good", by: builder},
		{name: "unlisted builder", old: "ci.example/builder\"", new: "ci.example/other\"", by: builder, failed: []string{"builder", "level"}},
		{name: "another signer", by: slsa.Signer{Identity: "mallory@ci.example", Issuer: builder.Issuer}, failed: []string{"builder", "level"}},
		{name: "the signer of another builder", by: slsa.Signer{Identity: "dev@ci.example", Issuer: builder.Issuer}, failed: []string{"builder", "level"}},
		{name: "another issuer", by: slsa.Signer{Identity: builder.Identity, Issuer: "https://evil.example"}, failed: []string{"builder", "level"}},
		{name: "unknown build type", old: "types/release/v1", new: "types/release/v2", by: builder, failed: []string{"build type"}},
		{name: "another parameter", old: `"version": "v1.2.3"`, new: `"version": "v1.2.4"`, by: builder, failed: []string{"parameter version"}},
		{name: "a number that differs in its last digit", old: "567890}", new: "567891}", by: builder, failed: []string{"parameter config"}},
		{name: "an unlisted parameter", old: `"version": "v1.2.3"`, new: `"version": "v1.2.3", "debug": true`, by: builder, failed: []string{"parameter debug"}},
		{name: "a parameter missing", old: `"version": "v1.2.3", `, new: ``, by: builder, failed: []string{"parameter version"}},
		{name: "another repository", old: "git.example/project@", new: "git.example/fork@", by: builder, failed: []string{"source"}},
		{name: "another ref", old: "@refs/tags/v1.2.3", new: "@refs/heads/main", by: builder, failed: []string{"source ref"}},
		{name: "no ref", old: "@refs/tags/v1.2.3", new: "", by: builder, failed: []string{"source ref"}},
		{name: "another commit", old: commit, new: strings.Repeat("0", 40), by: builder, failed: []string{"source commit"}},
		{name: "no commit", old: `"gitCommit"`, new: `"sha256"`, by: builder, failed: []string{"source commit"}},
		{name: "no commit, any wanted", old: `"gitCommit"`, new: `"sha256"`, policy: ", commit: " + commit, by: builder, failed: []string{"source commit"}},
		{name: "two sources", old: `{"uri": "pkg:`, new: `{"uri": "git+https://git.example/project@x", "digest": {}}, {"uri": "pkg:`, by: builder, failed: []string{"source"}},
		{name: "no invocation", old: `"invocationId": "run-7", `, new: ``, by: builder, failed: []string{"invocation"}},
		{name: "no end", old: `, "finishedOn": "2026-11-22T10:20:00Z"`, new: ``, by: builder, failed: []string{"times"}},
		{name: "an end before the start", old: `10:20:00Z`, new: `09:20:00Z`, by: builder, failed: []string{"times"}},
		{name: "a level that the builder does not reach", policy: "level: 3}", policy2: "level: 1}", by: builder, failed: []string{"level"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) || !strings.Contains(goodPolicy, tt.policy) {
				t.Fatal("the test changes nothing")
			}
			v, err := slsa.ParseProvenance(slsa.ProvenanceV1, []byte(strings.Replace(good, tt.old, tt.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			got := policy(t, strings.Replace(goodPolicy, tt.policy, tt.policy2, 1)).Judge(v, tt.by)
			if !slices.Equal(failed(got), tt.failed) {
				t.Errorf("failed: %q, want %q", failed(got), tt.failed)
			}
			if err := got.Err(); (err == nil) != (tt.failed == nil) || got.Passed != (tt.failed == nil) || (got.Level == 3) != (tt.failed == nil) {
				t.Errorf("passed %v at level %d, %v", got.Passed, got.Level, err)
			}
		})
	}
}

// TestJudgeKey: a builder may sign with a key pair.
func TestJudgeKey(t *testing.T) {
	p := policy(t, strings.Replace(goodPolicy, "identity: builder@ci.example, issuer: https://issuer.example", "identity: 'key sha256:0a0b'", 1))
	v, err := slsa.ParseProvenance(slsa.ProvenanceV1, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for by, want := range map[slsa.Signer]bool{
		{Identity: "key sha256:0a0b"}:                                   true,
		{Identity: "key sha256:0a0c"}:                                   false,
		{Identity: "key sha256:0a0b", Issuer: "https://issuer.example"}: false,
		builder: false,
	} {
		if got := p.Judge(v, by); got.Passed != want {
			t.Errorf("signed by %+v: passed %v, want %v", by, got.Passed, want)
		}
	}
}

// krel is the shape in which Kubernetes' release process has published provenance.
const krel = `{
 "builder": {"id": "https://git.k8s.io/release/docs/krel"},
 "buildType": "https://cloudbuild.googleapis.com/CloudBuildYaml@v1",
 "invocation": {
  "configSource": {"uri": "git+https://github.com/kubernetes/release", "digest": {"sha1": "` + commit + `"}, "entryPoint": "gcb/release/cloudbuild.yaml"},
  "parameters": {"release_branch": "release-1.24"}
 },
 "metadata": {"buildInvocationID": "b-1", "buildStartedOn": "2022-05-03T13:00:00Z", "buildFinishedOn": "2022-05-03T14:00:00Z", "completeness": {"parameters": true}, "reproducible": false},
 "materials": [{"uri": "git+https://github.com/kubernetes/kubernetes", "digest": {"sha1": "` + commit + `"}}]
}`

func TestJudgeLegacy(t *testing.T) {
	v, err := slsa.ParseProvenance(slsa.ProvenanceV02, []byte(krel))
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t, `
builders: [{id: https://git.k8s.io/release/docs/krel, identity: krel-staging@k8s.example, issuer: https://accounts.example, level: 2}]
build_types: [https://cloudbuild.googleapis.com/CloudBuildYaml@v1]
source: {uri: git+https://github.com/kubernetes/kubernetes, commit: `+commit+`}
parameters:
  release_branch: release-1.24
  configSource: {uri: git+https://github.com/kubernetes/release, digest: {sha1: `+commit+`}, entryPoint: gcb/release/cloudbuild.yaml}
level: 2
`)
	got := p.Judge(v, slsa.Signer{Identity: "krel-staging@k8s.example", Issuer: "https://accounts.example"})
	if err := got.Err(); err != nil || got.Level != 2 {
		t.Errorf("level %d, %v, want 2", got.Level, err)
	}
	delete(p.Parameters, "configSource")
	if got := p.Judge(v, builder); !slices.Contains(failed(got), "parameter configSource") {
		t.Errorf("failed: %q, want the source of the configuration, which the policy does not list", failed(got))
	}
}

func TestParseProvenanceRefuses(t *testing.T) {
	tests := []struct{ name, predicateType, old, new, want string }{
		{"another type", "https://slsa.dev/provenance/v0.1", "", "", "no provenance"},
		{"no builder", slsa.ProvenanceV1, `{"id": "https://ci.example/builder"}`, `{}`, "builder"},
		{"no build type", slsa.ProvenanceV1, `"buildType": "https://ci.example/types/release/v1",`, ``, "build type"},
		{"no parameters", slsa.ProvenanceV1, `"externalParameters"`, `"otherParameters"`, "externalParameters"},
		{"a member twice", slsa.ProvenanceV1, `"buildType":`, `"buildType": "x", "buildType":`, "twice"},
		{"a member in other case", slsa.ProvenanceV1, `"buildType":`, `"BuildType": "x", "buildType":`, "spelt"},
		{"a nested one", slsa.ProvenanceV1, `"gitCommit"`, `"gitcommit": "x", "gitCommit"`, ""},
		{"a digest in other case", slsa.ProvenanceV1, `"digest": {"gitCommit"`, `"Digest": {}, "digest": {"gitCommit"`, "spelt"},
		{"no time", slsa.ProvenanceV1, `2026-11-22T10:00:00Z`, `yesterday`, "yesterday"},
		{"v0.2 without builder", slsa.ProvenanceV02, `"builder"`, `"bilder"`, "builder"},
		{"not an object", slsa.ProvenanceV1, good, `[]`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := good
			if tt.predicateType == slsa.ProvenanceV02 {
				text = krel
			}
			_, err := slsa.ParseProvenance(tt.predicateType, []byte(strings.Replace(text, tt.old, tt.new, 1)))
			if tt.name == "a nested one" {
				if err != nil {
					t.Errorf("a digest of a name that nobody asks for: %v", err)
				}
				return
			}
			if !errors.Is(err, slsa.ErrPredicate) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", goodPolicy, "", "read policy"},
		{"unknown member", "level: 2\n", "level: 2\nlevels: 2\n", "levels"},
		{"two documents", "level: 2\n", "level: 2\n---\nlevel: 3\n", "more than one"},
		{"no level", "level: 2\n", "", "level 0"},
		{"no build types", "build_types: [https://ci.example/types/release/v1]", "", "build_types"},
		{"a ref in the source", "git.example/project,", "git.example/project@refs/tags/x,", "say ref: refs/tags/x"},
		{"no git source", "git+https://git", "https://git", "git repository"},
		{"no commit", commit, "main", "not a commit"},
		{"a builder without signer", "identity: builder@ci.example, ", "", "builders[0]"},
		{"a key pair with an issuer", "identity: builder@ci.example", "identity: key sha256:00", "builders[0]"},
		{"a builder of level 4", "level: 3}", "level: 4}", "builders[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := slsa.ParsePolicy([]byte(strings.Replace(goodPolicy, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSource(t *testing.T) {
	for uri, want := range map[string][2]string{
		"git+https://h.example/p@refs/tags/v1":       {"git+https://h.example/p", "refs/tags/v1"},
		"git+https://h.example/p":                    {"git+https://h.example/p", ""},
		"git+ssh://git@h.example/p":                  {"git+ssh://git@h.example/p", ""},
		"git+ssh://git@h.example/p@refs/heads/main":  {"git+ssh://git@h.example/p", "refs/heads/main"},
		"git+https://user@h.example":                 {"git+https://user@h.example", ""},
		"git+https://h.example/p@https://evil/p@tag": {"git+https://h.example/p@https://evil/p", "tag"},
	} {
		repository, ref, ok := slsa.Resource{URI: uri}.Source()
		if !ok || repository != want[0] || ref != want[1] {
			t.Errorf("%s: %q %q %v, want %q", uri, repository, ref, ok, want)
		}
	}
	if _, _, ok := (slsa.Resource{URI: "https://h.example/p"}).Source(); ok {
		t.Error("an https URI is taken for git")
	}
}

func summary() slsa.Summary {
	at := time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)
	return slsa.Summary{
		Verifier: slsa.Verifier{ID: "https://verifier.example"}, TimeVerified: &at, ResourceURI: "git+https://git.example/project@v1",
		Policy: slsa.Descriptor{URI: "https://policies.example/release", Digest: map[string]string{"sha256": "00"}},
		Result: slsa.Passed, Levels: []string{"SLSA_BUILD_LEVEL_3"}, SLSAVersion: "1.0",
	}
}

func TestSummary(t *testing.T) {
	want := slsa.Expectation{VerifierID: "https://verifier.example", Signer: builder, ResourceURI: "git+https://git.example/project@v1", Level: 2}
	tests := []struct {
		name   string
		change func(*slsa.Summary)
		by     slsa.Signer
		failed []string
	}{
		{"good", func(*slsa.Summary) {}, builder, nil},
		{"another verifier", func(s *slsa.Summary) { s.Verifier.ID += "/x" }, builder, []string{"verifier"}},
		{"another signer", func(*slsa.Summary) {}, slsa.Signer{Identity: "x", Issuer: builder.Issuer}, []string{"verifier"}},
		{"another resource", func(s *slsa.Summary) { s.ResourceURI += "x" }, builder, []string{"resource"}},
		{"failed", func(s *slsa.Summary) { s.Result = slsa.Failed }, builder, []string{"result"}},
		{"a lower level", func(s *slsa.Summary) { s.Levels = []string{"SLSA_BUILD_LEVEL_1"} }, builder, []string{"level"}},
		{"another track", func(s *slsa.Summary) { s.Levels = []string{"SLSA_SOURCE_LEVEL_3"} }, builder, []string{"level"}},
		{"not evaluated", func(s *slsa.Summary) { s.Levels = []string{"SLSA_BUILD_LEVEL_UNEVALUATED"} }, builder, []string{"level"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := summary()
			tt.change(&s)
			data, err := s.Predicate()
			if err != nil {
				t.Fatal(err)
			}
			read, err := slsa.ParseSummary(data)
			if err != nil || !reflect.DeepEqual(read, s) {
				t.Fatalf("read %+v, %v, want %+v", read, err, s)
			}
			if got := want.Judge(read, tt.by); !slices.Equal(failed(got), tt.failed) || got.Passed != (tt.failed == nil) {
				t.Errorf("failed: %q, passed: %v, want %q", failed(got), got.Passed, tt.failed)
			}
		})
	}
}

func TestSummaryRefuses(t *testing.T) {
	for name, change := range map[string]func(*slsa.Summary){
		"verifier.id": func(s *slsa.Summary) { s.Verifier.ID = "" },
		"resourceUri": func(s *slsa.Summary) { s.ResourceURI = "" },
		"policy.uri":  func(s *slsa.Summary) { s.Policy.URI = "" },
		"neither":     func(s *slsa.Summary) { s.Result = "passed" },
		"no verified": func(s *slsa.Summary) { s.Levels = nil },
		"two of":      func(s *slsa.Summary) { s.Levels = []string{"SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_2"} },
		"is none":     func(s *slsa.Summary) { s.Levels = []string{"SLSA_BUILD_LEVEL_9"} },
	} {
		s := summary()
		change(&s)
		if _, err := s.Predicate(); !errors.Is(err, slsa.ErrPredicate) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzParseProvenance: what is read has a builder and a build type, and a policy that
// lists just what is in it is the only kind that lets its parameters pass.
func FuzzParseProvenance(f *testing.F) {
	f.Add(slsa.ProvenanceV1, []byte(good))
	f.Add(slsa.ProvenanceV02, []byte(krel))
	f.Fuzz(func(t *testing.T, predicateType string, data []byte) {
		v, err := slsa.ParseProvenance(predicateType, data)
		if err != nil {
			return
		}
		if v.BuilderID == "" || v.BuildType == "" {
			t.Fatalf("read %+v", v)
		}
		p := slsa.Policy{Parameters: map[string]any{}}
		for name, value := range v.Parameters {
			p.Parameters[name] = value
		}
		bad := func() bool {
			return slices.ContainsFunc(p.Judge(v, builder).Checks, func(c slsa.Check) bool { return strings.HasPrefix(c.Name, "parameter ") && !c.OK })
		}
		if bad() {
			t.Fatalf("parameters %s are not themselves", slices.Sorted(maps.Keys(v.Parameters)))
		}
		for name := range v.Parameters {
			delete(p.Parameters, name)
			if !bad() {
				t.Fatalf("parameter %q passes unlisted", name)
			}
			return
		}
	})
}

// FuzzParseSummary: what is read can be written, and reads the same.
func FuzzParseSummary(f *testing.F) {
	data, err := summary().Predicate()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(data))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := slsa.ParseSummary(data)
		if err != nil {
			return
		}
		again, err := s.Predicate()
		if err != nil {
			t.Fatal(err)
		}
		if read, err := slsa.ParseSummary(again); err != nil || read.Result != s.Result || !slices.Equal(read.Levels, s.Levels) || read.Verifier != s.Verifier {
			t.Fatalf("%+v, %v, want %+v", read, err, s)
		}
	})
}
