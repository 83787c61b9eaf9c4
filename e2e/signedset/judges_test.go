package signedset

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// A verdict is accepted, or the words of a refusal.
type verdict struct {
	accepted bool
	words    string
}

func verdictOf(t *testing.T, r e2etest.Result) verdict {
	t.Helper()
	if r.Code != 0 && r.Code != 1 {
		t.Errorf("exit %d, want 0 or 1: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	return verdict{r.Code == 0, r.Stdout + r.Stderr}
}

// want fails the test unless the verdict is a refusal that says words, or for no
// words is none.
func (v verdict) want(t *testing.T, who, words string) {
	t.Helper()
	switch {
	case words == "" && !v.accepted:
		t.Errorf("%s refuses: %s", who, v.words)
	case words != "" && (v.accepted || !strings.Contains(v.words, words)):
		t.Errorf("%s: accepted %v, want a refusal that says %q: %s", who, v.accepted, words, v.words)
	}
}

// sigstack judges one file by its bundle.
func (l *lab) sigstack(t *testing.T, tree, name string, identity []string) verdict {
	t.Helper()
	args := append([]string{"verify", "--client", l.stack.Kit(""), "--offline", filepath.Join(tree, name)}, identity...)
	return verdictOf(t, e2etest.Run(t, nil, e2etest.Sigstack(t), args...))
}

// release judges a whole tree, by sigstack.
func (l *lab) release(t *testing.T, tree string, identity []string) []release.Problem {
	t.Helper()
	args := append([]string{"release", "verify", tree, "--client", l.stack.Kit(""), "--offline", "--output", "json"}, identity...)
	r := e2etest.Run(t, nil, e2etest.Sigstack(t), args...)
	var report release.Report
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || (r.Code == 0) != (len(report.Problems) == 0) || r.Code > 1 {
		t.Fatalf("release verify: exit %d, %d problems, %v: %s", r.Code, len(report.Problems), err, r.Stderr)
	}
	return report.Problems
}

// cosign2 judges one file by signature and certificate, which it looks up in the log.
func (l *lab) cosign2(t *testing.T, tree, name string, identity []string, more ...string) verdict {
	t.Helper()
	env := []string{
		"SIGSTORE_ROOT_FILE=" + l.stack.Kit("fulcio.crt.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + l.stack.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + l.stack.Kit("ctfe.pub"),
	}
	path := filepath.Join(tree, name)
	args := append([]string{
		"verify-blob", "--rekor-url", l.stack.URL, "--signature", path + signing.SignatureSuffix, "--certificate", path + signing.CertificateSuffix, path,
	}, identity...)
	return verdictOf(t, e2etest.Run(t, env, e2etest.Client(t, "cosign-v2"), append(args, more...)...))
}

// cosign3 judges one file by its bundle. Nothing but the trusted root tells it where
// anything is, and that has no say in it.
func (l *lab) cosign3(t *testing.T, tree, name string, identity []string) verdict {
	t.Helper()
	path := filepath.Join(tree, name)
	args := append([]string{
		"verify-blob", "--offline", "--trusted-root", l.stack.Kit("trusted_root.json"), "--bundle", path + signing.BundleSuffix, path,
	}, identity...)
	return verdictOf(t, e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), args...))
}
