package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// TestFiles has each client sign and verify a file of its own in each way, and
// refuse another identity: the adapters say to each what they mean to.
func TestFiles(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for _, c := range All() {
		t.Run(c.Name(), func(t *testing.T) {
			t.Logf("version %s", c.Version(t))
			for _, kind := range []Kind{Blob, BlobLegacy, Attestation} {
				for _, source := range []Source{Kit, TUF, Env} {
					t.Run(string(kind)+" "+string(source), func(t *testing.T) { roundTrip(t, s, c, kind, source, "") })
				}
			}
		})
	}
}

// TestImages is TestFiles for images, in a registry with the referrers API and
// in one without.
func TestImages(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	for label, registry := range map[string]string{"referrers": e2etest.ReferrersRegistry(t), "plain": e2etest.PlainRegistry(t)} {
		for _, c := range All() {
			for _, kind := range []Kind{ImageTag, ImageReferrer, ImageTagAttestation, ImageReferrerAttestation} {
				for _, source := range []Source{Kit, TUF, Env} {
					name := strings.ReplaceAll(strings.Join([]string{label, c.Name(), string(kind), string(source)}, "-"), " ", "-")
					t.Run(name, func(t *testing.T) {
						roundTrip(t, s, c, kind, source, e2etest.PushImage(t, registry, strings.ToLower(name)))
					})
				}
			}
		}
	}
}

func roundTrip(t *testing.T, s *e2etest.Stack, c Client, kind Kind, source Source, image string) {
	dir := t.TempDir()
	r := Request{
		Kind: kind, Trust: TrustOf(s, source), Timestamp: true,
		File: e2etest.WriteFile(t, dir, "blob", "hello\n"), Bundle: filepath.Join(dir, "bundle.json"),
		PredicateType: "https://example.com/predicate/v1",
		Predicate:     e2etest.WriteFile(t, dir, "predicate.json", `{"passed":true}`),
		Image:         image,
		Token:         s.Token(t), Identity: e2etest.DemoUser, Issuer: s.Issuer(),
	}
	if !wantOutcome(t, c.Name()+" signs", c.Sign(t, r), c.SignLimit(r)) {
		return
	}
	r.Signer = c.Name()
	wantOutcome(t, c.Name()+" verifies", c.Verify(t, r), c.VerifyLimit(r))
	r.Identity = "someone@else.example"
	if result := c.Verify(t, r); result.Code == 0 {
		t.Errorf("%s accepts another identity:\n%s%s", c.Name(), result.Stdout, result.Stderr)
	}
}

// wantOutcome returns whether the client did what was asked.
func wantOutcome(t *testing.T, what string, r e2etest.Result, limit *Limit) bool {
	t.Helper()
	if limit == nil {
		e2etest.WantAccepted(t, what, r)
		return r.Code == 0
	}
	if r.Code == 0 || !regexp.MustCompile(limit.Says).MatchString(r.Stdout+r.Stderr) {
		t.Errorf("%s: exit %d, want a refusal that says %q\n%s%s", what, r.Code, limit.Says, r.Stdout, r.Stderr)
	}
	return false
}
