package promote

import (
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// TestRecursive: what cosign signs recursively sigstack verifies recursively, and each
// child that sigstack signs so cosign verifies; an index that is signed vouches for no
// child.
func TestRecursive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	registries(t, func(t *testing.T, registry string) {
		v2 := []string{"--fulcio-url", s.URL, "--rekor-url", s.URL, "--oidc-issuer", s.Issuer()}
		v3 := []string{"--signing-config", s.Kit("signing_config.v0.2.json"), "--trusted-root", s.Kit("trusted_root.json")}
		pem := []string{
			"SIGSTORE_ROOT_FILE=" + s.Kit("fulcio.crt.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + s.Kit("rekor.pub"),
			"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + s.Kit("ctfe.pub"),
		}
		for _, cosign := range []struct {
			name      string
			env, args []string
		}{{"cosign-v2", pem, v2}, {"cosign-v3", nil, v3}} {
			ref := registry + "/" + cosign.name + "/app:v1"
			_, children := pushIndex(t, ref)
			sign := func(recursive ...string) {
				t.Helper()
				args := append(append([]string{"sign", "--yes"}, cosign.args...), recursive...)
				env := append([]string{s.tokenEnv(t, staging)}, cosign.env...)
				e2etest.MustRun(t, env, e2etest.Client(t, cosign.name), append(args, ref)...)
			}
			sign()
			if r := s.verify(t, staging, ref); r.Code != 0 || !strings.Contains(r.Stdout, "not looked at") {
				t.Errorf("%s, the index alone: exit %d\n%s%s", cosign.name, r.Code, r.Stdout, r.Stderr)
			}
			if r := s.verify(t, staging, ref, "--recursive"); r.Code != 1 || !strings.Contains(r.Stderr, children[0]) || !strings.Contains(r.Stderr, children[1]) {
				t.Errorf("%s, the index alone: exit %d and %s, want both children named", cosign.name, r.Code, r.Stderr)
			}
			sign("--recursive")
			if r := s.verify(t, staging, ref, "--recursive"); r.Code != 0 {
				t.Errorf("%s, recursively: exit %d\n%s", cosign.name, r.Code, r.Stderr)
			}
			if r := s.verify(t, production, ref, "--recursive"); r.Code != 1 {
				t.Errorf("%s, another identity: exit %d, want 1", cosign.name, r.Code)
			}
		}

		repository := registry + "/sigstack/app"
		index, children := pushIndex(t, repository+":v1")
		s.sign(t, staging, repository+":v1")
		for _, digest := range append(children, index) {
			s.wantAll(t, true, staging, repository+"@"+digest)
		}
		s.wantVerdict(t, clients.CosignV3(), clients.ImageReferrer, false, production, repository+"@"+children[0])
	})
}
