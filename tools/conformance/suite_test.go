package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/signing"
)

// The identity that the suite's cases are signed by unless they say otherwise.
const (
	suiteIdentity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	suiteIssuer   = "https://token.actions.githubusercontent.com"
)

// A verdict is what a case must come to.
type verdict struct {
	check signing.Check // that refuses it; empty: it is accepted
	text  string        // of an error before any check; empty: there is none
}

// verdicts has a row for each case: the check that must refuse it, which is the
// one that the case was made for.
var verdicts = map[string]verdict{
	"bundle-empty-certificate-chain_fail":  {check: signing.CheckBundle},
	"bundle-from-wrong-instance_fail":      {check: signing.CheckLog},
	"bundle-invalid-base64-signature_fail": {check: signing.CheckBundle},
	"bundle-malformed-json_fail":           {check: signing.CheckBundle},
	"bundle-negative-log-index_fail":       {check: signing.CheckEntry},
	"bundle-unknown-version_fail":          {check: signing.CheckBundle},
	// A root that clients of version 0.1 put into the chain is not trusted, and does not
	// refuse a bundle by itself; this one's proof has no checkpoint.
	"bundle-with-root-cert_fail":                                {check: signing.CheckInclusion},
	"bundle-with-sct-with-extensions":                           {},
	"checkpoint-bad-keyhint_fail":                               {check: signing.CheckInclusion},
	"checkpoint-wrong-roothash_fail":                            {check: signing.CheckInclusion},
	"dsse-invalid-sig_fail":                                     {check: signing.CheckEntry},
	"dsse-mismatch-envelope_fail":                               {check: signing.CheckEntry},
	"dsse-mismatch-sig_fail":                                    {check: signing.CheckEntry},
	"happy-path-intoto-in-dsse-v3":                              {},
	"happy-path-v0.1":                                           {},
	"happy-path-v0.2":                                           {},
	"happy-path-v0.3":                                           {},
	"happy-path-v0.3-new-mediaType":                             {},
	"inclusion-proof-corrupted-hash_fail":                       {check: signing.CheckInclusion},
	"incorrect-public-key_fail":                                 {check: signing.CheckEntry},
	"integrated-time-in-future_fail":                            {check: signing.CheckEntry},
	"intoto-expired-certificate_fail":                           {check: signing.CheckEntry},
	"intoto-log-entry-mismatch_fail":                            {check: signing.CheckEntry},
	"intoto-missing-inclusion-proof_fail":                       {check: signing.CheckInclusion},
	"intoto-set-outside-signing-cert-validity_fail":             {check: signing.CheckEntry},
	"intoto-tsa-timestamp-outside-cert-validity_fail":           {check: signing.CheckCertificate},
	"intoto-with-custom-trust-root":                             {},
	"invalid-checkpoint-signature_fail":                         {check: signing.CheckInclusion},
	"invalid-ct-key_fail":                                       {check: signing.CheckSCT},
	"invalid-inclusion-proof_fail":                              {check: signing.CheckInclusion},
	"managed-key-and-trusted-root":                              {},
	"managed-key-happy-path":                                    {},
	"managed-key-no-key_fail":                                   {check: signing.CheckBundle},
	"managed-key-wrong-key_fail":                                {text: "not on curve"}, // no key at all
	"message-digest-mismatch_fail":                              {check: signing.CheckArtifact},
	"rekor2-checkpoint-cosigned":                                {},
	"rekor2-checkpoint-missing-log-signature_fail":              {check: signing.CheckInclusion},
	"rekor2-checkpoint-missing-origin_fail":                     {check: signing.CheckInclusion},
	"rekor2-checkpoint-missing-root-hash_fail":                  {check: signing.CheckInclusion},
	"rekor2-checkpoint-missing-size_fail":                       {check: signing.CheckInclusion},
	"rekor2-checkpoint-multiple-cosigs":                         {},
	"rekor2-checkpoint-no-matching-signature_fail":              {check: signing.CheckInclusion},
	"rekor2-checkpoint-origin-not-first":                        {},
	"rekor2-checkpoint-two-sigs-cosigned":                       {},
	"rekor2-checkpoint-two-sigs-from-origin":                    {},
	"rekor2-dsse-happy-path":                                    {},
	"rekor2-dsse-invalid-sig_fail":                              {check: signing.CheckEntry},
	"rekor2-dsse-mismatch-envelope_fail":                        {check: signing.CheckEntry},
	"rekor2-dsse-mismatch-sig_fail":                             {check: signing.CheckEntry},
	"rekor2-happy-path":                                         {},
	"rekor2-no-inclusion-proof_fail":                            {check: signing.CheckInclusion},
	"rekor2-no-timestamp_fail":                                  {check: signing.CheckTimestamp},
	"rekor2-timestamp-outside-trust-root-tsa-validity_fail":     {check: signing.CheckTimestamp},
	"rekor2-timestamp-outside-tsa-cert-validity_fail":           {check: signing.CheckTimestamp},
	"rekor2-timestamp-payload-mismatch_fail":                    {check: signing.CheckTimestamp},
	"rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail":    {check: signing.CheckTimestamp},
	"rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": {check: signing.CheckTimestamp},
	"rekor2-timestamp-with-embedded-cert":                       {},
	"rekor2-timestamp-with-expired-cert-chain":                  {},
	"rekor2-timestamp-with-incorrect-time_fail":                 {check: signing.CheckBundle}, // its base64 is broken, too: see TestRepairedTimestamp
	"rekor2-timestamp-without-embedded-cert":                    {},
	"set-invalid-signature_fail":                                {check: signing.CheckPromise},
	"signature-mismatch_fail":                                   {check: signing.CheckEntry},
	"trust-root-tlog-missing-validity-start_fail":               {text: "missing public key validity period start"},
	"trust-root-tlog-validity-end-inclusive":                    {},
	"trust-root-tsa-validity-end-inclusive":                     {},
	"wrong-hashedrekord-artifact_fail":                          {check: signing.CheckEntry},
	"wrong-hashedrekord-cert-and-sig_fail":                      {check: signing.CheckEntry},
	"wrong-hashedrekord-entry_fail":                             {check: signing.CheckEntry},
	"wrong-material_fail":                                       {check: signing.CheckArtifact},
}

// TestSuite runs every published case twice, by the artifact and by its digest.
func TestSuite(t *testing.T) {
	dirs, err := filepath.Glob("testdata/bundle-verify/*/bundle.sigstore.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) != len(verdicts) {
		t.Errorf("got %d cases, want %d", len(dirs), len(verdicts))
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		want, ok := verdicts[name]
		if refused := want != (verdict{}); !ok || refused != strings.HasSuffix(name, "_fail") {
			t.Errorf("%s: got %v, %v in the table, want the verdict that its name asks for", name, want, ok)
		}
		artifact := filepath.Join(dir, "artifact")
		if _, err := os.Stat(artifact); err != nil {
			artifact = "testdata/bundle-verify/a.txt"
		}
		for kind, given := range map[string]string{"file": artifact, "digest": digestOf(t, artifact)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				wantVerdict(t, run(t.Context(), arguments(dir, path, given), io.Discard), want)
			})
		}
	}
}

// TestRepairedTimestamp removes the line breaks inside the base64 of a case that
// is refused for them alone, so that it is judged for its time.
func TestRepairedTimestamp(t *testing.T) {
	dir := "testdata/bundle-verify/rekor2-timestamp-with-incorrect-time_fail"
	text, err := os.ReadFile(filepath.Join(dir, "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	repaired := filepath.Join(t.TempDir(), "bundle.json")
	start := bytes.Index(text, []byte(`"signedTimestamp"`))
	end := start + bytes.IndexByte(text[start:], '}')
	text = bytes.Join([][]byte{text[:start], bytes.ReplaceAll(text[start:end], []byte(`\n`), nil), text[end:]}, nil)
	if err := os.WriteFile(repaired, text, 0o600); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), arguments(dir, repaired, "testdata/bundle-verify/a.txt"), io.Discard)
	wantVerdict(t, err, verdict{check: signing.CheckCertificate})
}

// arguments are those of the suite's harness for the case in dir.
func arguments(dir, bundle, artifact string) []string {
	args := []string{"verify-bundle", "--bundle", bundle}
	if key := filepath.Join(dir, "key.pub"); exists(key) {
		args = append(args, "--key", key)
	} else {
		args = append(args, "--certificate-identity", content(dir, "identity", suiteIdentity),
			"--certificate-oidc-issuer", content(dir, "issuer", suiteIssuer))
	}
	if root := filepath.Join(dir, "trusted_root.json"); exists(root) {
		args = append(args, "--trusted-root", root)
	}
	return append(args, artifact)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func content(dir, name, otherwise string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return otherwise
	}
	return strings.TrimSpace(string(text))
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func wantVerdict(t *testing.T, err error, want verdict) {
	t.Helper()
	var refused *signing.RefusedError
	switch {
	case want == verdict{}:
		if err != nil {
			t.Errorf("got %v, want it accepted", err)
		}
	case want.text != "":
		if err == nil || !strings.Contains(err.Error(), want.text) {
			t.Errorf("got %v, want an error with %q", err, want.text)
		}
	case !errors.As(err, &refused) || refused.Check != want.check:
		t.Errorf("got %v, want a refusal at %q", err, want.check)
	}
}
