package signedset

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestOffline: what verifies offline does so where there is no network at all, and asks
// for none: no socket is made.
func TestOffline(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("unshare"); err != nil || exec.Command("unshare", "-rn", "true").Run() != nil {
		t.Skip("this machine has no network namespaces for users")
	}
	s := e2etest.Start(t, t.TempDir())
	dir := t.TempDir()
	kit, blob := s.Kit(""), e2etest.WriteFile(t, dir, "blob", "content\n")
	keyed, key := e2etest.WriteFile(t, dir, "keyed", "content\n"), filepath.Join(dir, "key.pem")
	predicate := e2etest.WriteFile(t, dir, "predicate", `{"passed":true}`)
	e2etest.MustRun(t, nil, "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
	e2etest.MustRun(t, nil, "openssl", "ec", "-in", key, "-pubout", "-out", key+".pub")
	token := []string{s.TokenEnv(t)}
	run := func(env []string, args ...string) { e2etest.MustRun(t, env, e2etest.Sigstack(t), args...) }
	run(token, "sign", "--client", kit, blob)
	run(nil, "sign", "--client", kit, "--key", key, keyed)
	run(token, "attest", "--client", kit, "--type", "https://example.com/t", "--predicate", predicate, blob)
	run(nil, "release", "sample", dir, "--files", "3")
	run(token, "release", "sign", dir, "--client", kit)
	cache := []string{"XDG_CACHE_HOME=" + t.TempDir()}
	tuf := []string{"--tuf-url", s.URL + "/tuf", "--tuf-root", s.Kit("root.json")}
	verify := append([]string{"verify"}, s.IdentityArgs()...)
	run(cache, append(append(verify[:len(verify):len(verify)], tuf...), blob)...) // fills the cache

	for name, args := range map[string][]string{
		"kit":          append(verify, "--client", kit, blob),
		"trusted root": append(verify, "--trusted-root", s.Kit("trusted_root.json"), blob),
		"TUF":          append(append(verify, tuf...), blob),
		"key pair":     {"verify", "--client", kit, "--key", key + ".pub", keyed},
		"attestation":  append([]string{"verify-attestation", "--type", "https://example.com/t", "--client", kit, blob}, s.IdentityArgs()...),
		"release":      append([]string{"release", "verify", dir, "--client", kit}, s.IdentityArgs()...),
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{e2etest.Sigstack(t)}, append(args, "--offline")...)
			e2etest.MustRun(t, cache, "unshare", append([]string{"-rn", "--"}, args...)...)
			if _, err := exec.LookPath("strace"); err != nil {
				t.Log("no strace on this machine: whether a socket was made is not known")
				return
			}
			trace := filepath.Join(t.TempDir(), "trace")
			e2etest.MustRun(t, cache, "strace", append([]string{"-f", "-e", "trace=socket,connect", "-o", trace, "--"}, args...)...)
			if calls := e2etest.ReadFile(t, trace); strings.Contains(calls, "socket(") || !strings.Contains(calls, "exited with 0") {
				t.Errorf("calls for the network: %s", calls)
			}
		})
	}

	// There really is none, and what needs one says so.
	for name, args := range map[string][]string{
		"TUF without --offline": append(append(verify, tuf...), blob),
		"signing":               {"sign", "--client", kit, "--key", key, keyed},
	} {
		if r := e2etest.Run(t, cache, "unshare", append([]string{"-rn", "--", e2etest.Sigstack(t)}, args...)...); r.Code != 3 {
			t.Errorf("%s, without a network: exit %d, want 3: %s%s", name, r.Code, r.Stdout, r.Stderr)
		}
	}
	if r := e2etest.Run(t, cache, e2etest.Sigstack(t), "verify", "--offline", "--client", kit, "--key", "hashivault://team", keyed); r.Code != 2 || !strings.Contains(r.Stderr, "--offline") {
		t.Errorf("a key service's key offline: exit %d, %s, want a mistake", r.Code, r.Stderr)
	}
}
