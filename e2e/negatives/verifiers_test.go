package negatives

import (
	"crypto"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigstack/e2e/e2etest"
)

// shown is a signature, or an attestation, as it is put before the clients, who
// are told what it must be.
type shown struct {
	artifact []byte
	bundle   object

	trusted   object           // trusted root; the kit's when nil
	key       crypto.PublicKey // wanted signer; alice when nil
	predicate string           // wanted type of an attestation; empty for a signature
	timed     bool             // timestamps are demanded, besides the log's word
}

// show puts it before every client.
func (n *negatives) show(t *testing.T, s shown) attempt {
	t.Helper()
	dir := t.TempDir()
	f := shownFiles{
		artifact: e2etest.WriteFile(t, dir, "artifact", string(s.artifact)),
		bundle:   e2etest.WriteFile(t, dir, "bundle", text(s.bundle)),
		kit:      n.stack.Kit(""),
	}
	if s.trusted != nil {
		f.kit = filepath.Join(dir, "client")
		if err := os.CopyFS(f.kit, os.DirFS(n.stack.Kit(""))); err != nil {
			t.Fatal(err)
		}
		e2etest.WriteFile(t, f.kit, "trusted_root.json", text(s.trusted))
	}
	if s.key != nil {
		f.key = e2etest.WriteFile(t, dir, "key", e2etest.PublicPEM(t, s.key))
	}
	return attempt{
		bySigstack: func(t *testing.T) verdict { return n.sigstackOn(t, s, f) },
		byCosign3:  func(t *testing.T) verdict { return n.cosignOn(t, e2etest.Client(t, "cosign-v3"), s, f) },
		byCosign2: func(t *testing.T) verdict {
			return n.cosignOn(t, e2etest.Client(t, "cosign-v2"), s, f, "--new-bundle-format")
		},
		byJS: func(t *testing.T) verdict {
			q := question{
				Bundle: f.bundle, Artifact: f.artifact, TrustedRoot: f.trustedRoot(), Key: f.key,
				Subject: alice, Issuer: n.issuer.URL,
			}
			if s.timed {
				q.Timestamps = 2
			}
			return n.js.judge(t, q)
		},
	}
}

// shownFiles are where it lies.
type shownFiles struct{ artifact, bundle, kit, key string }

func (f shownFiles) trustedRoot() string { return filepath.Join(f.kit, "trusted_root.json") }

// wanted are the flags for whose signature it must be.
func (n *negatives) wanted(f shownFiles) []string {
	if f.key != "" {
		return []string{"--key", f.key}
	}
	return []string{"--certificate-identity", alice, "--certificate-oidc-issuer", n.issuer.URL}
}

func (n *negatives) sigstackOn(t *testing.T, s shown, f shownFiles) verdict {
	t.Helper()
	args := []string{"verify"}
	if s.predicate != "" {
		args = []string{"verify-attestation", "--type", s.predicate}
	}
	if s.timed {
		args = append(args, "--require-timestamp")
	}
	args = append(args, "--client", f.kit, "--bundle", f.bundle)
	return verdictOf(t, e2etest.Run(t, nil, e2etest.Sigstack(t), append(append(args, n.wanted(f)...), f.artifact)...))
}

func (n *negatives) cosignOn(t *testing.T, program string, s shown, f shownFiles, flags ...string) verdict {
	t.Helper()
	args := append([]string{"verify-blob"}, flags...)
	if s.predicate != "" {
		args = append([]string{"verify-blob-attestation", "--type", s.predicate}, flags...)
	}
	if s.timed {
		args = append(args, "--use-signed-timestamps")
	}
	args = append(args, "--trusted-root", f.trustedRoot(), "--bundle", f.bundle)
	return verdictOf(t, e2etest.Run(t, nil, program, append(append(args, n.wanted(f)...), f.artifact)...))
}

// exits are those of a verdict: all clients accept with 0 and refuse with 1, and
// cosign also refuses images with 10, none found, and 12, none that matches.
var exits = []int{0, 1, 10, 12}

// verdictOf reads a client's exit. Any other is a failure of another kind.
func verdictOf(t *testing.T, r e2etest.Result) verdict {
	t.Helper()
	if !slices.Contains(exits, r.Code) {
		t.Errorf("exit %d, want one of %v: %s%s", r.Code, exits, r.Stdout, r.Stderr)
	}
	return verdict{r.Code == 0, r.Stdout + r.Stderr}
}
