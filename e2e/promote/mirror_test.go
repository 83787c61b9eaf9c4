package promote

import (
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// TestMirrors: a mirror that copies images by tag loses referrers, and one that copies
// referrers loses tags. Clients of the style that was lost refuse, and sigstack says what
// is missing and why.
func TestMirrors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	registries(t, func(t *testing.T, registry string) {
		crane := e2etest.Client(t, "crane")
		mirrors := e2etest.PlainRegistry(t)
		app := e2etest.PushImage(t, registry, "staging/app")
		digest := digestOf(app)
		sig := strings.Replace(digest, ":", "-", 1) + ".sig"

		// Staging has signed by tag, the promoter by referrer.
		e2etest.MustRun(t, []string{s.tokenEnv(t, staging)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--storage", "tag", "oci://"+app)
		stored := e2etest.MustRun(t, []string{s.tokenEnv(t, production)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--storage", "referrer", "oci://"+app)

		byTag := mirrors + "/by-tag/app"
		e2etest.MustRun(t, nil, crane, "copy", app, byTag+":v1")
		e2etest.MustRun(t, nil, crane, "copy", registry+"/staging/app:"+sig, byTag+":"+sig)
		s.wantVerdict(t, clients.CosignV2(), clients.ImageTag, true, staging, byTag+"@"+digest)
		s.wantVerdict(t, clients.CosignV3(), clients.ImageReferrer, false, production, byTag+"@"+digest)
		s.wantExplained(t, production, byTag+":v1", "tag "+sig+" holds 1", "loses referrers")

		byReferrer := mirrors + "/by-referrer/app"
		e2etest.MustRun(t, nil, crane, "copy", app, byReferrer+":v1")
		e2etest.MustRun(t, nil, crane, "copy", strings.TrimSpace(stored), byReferrer+"@"+digestOf(strings.TrimSpace(stored)))
		s.wantVerdict(t, clients.CosignV3(), clients.ImageReferrer, true, production, byReferrer+"@"+digest)
		s.wantVerdict(t, clients.CosignV2(), clients.ImageTag, false, staging, byReferrer+"@"+digest)
		s.wantExplained(t, staging, byReferrer+":v1", "there is no tag "+sig, "loses tags such as "+sig)

		bare := mirrors + "/bare/app"
		e2etest.MustRun(t, nil, crane, "copy", app, bare+":v1")
		s.wantExplained(t, production, bare+":v1", "there is no tag "+sig, "lists 0 referrers", "copying by tag loses referrers, and copying referrers loses tags")
	})
}

func (s *site) wantVerdict(t *testing.T, client clients.Client, kind clients.Kind, accepted bool, who, image string) {
	t.Helper()
	got := client.Verify(t, clients.Request{Kind: kind, Image: image, Identity: who, Issuer: s.issuer.URL, Trust: clients.TrustOf(s.Stack, clients.Kit)})
	if (got.Code == 0) != accepted {
		t.Errorf("%s on %s by %s: exit %d, want accepted %v\n%s%s", client.Name(), image, who, got.Code, accepted, got.Stdout, got.Stderr)
	}
}

func (s *site) wantExplained(t *testing.T, who, image string, says ...string) {
	t.Helper()
	got := s.verify(t, who, image)
	for _, want := range says {
		if got.Code != 1 || !strings.Contains(got.Stderr, want) {
			t.Errorf("%s by %s: exit %d and %s, want 1 and %q", image, who, got.Code, got.Stderr, want)
		}
	}
}
