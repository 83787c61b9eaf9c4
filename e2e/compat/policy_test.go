package compat

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// TestPolicyController has policy-controller's own tester judge images that
// sigstack signed, with trust from the stack's TUF repository and from the kit.
func TestPolicyController(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	registry := e2etest.ReferrersRegistry(t)
	dir := t.TempDir()
	r := clients.Request{
		Trust: clients.TrustOf(s, clients.Kit), Timestamp: true, Token: s.Token(t),
		PredicateType: predicateType, Predicate: e2etest.WriteFile(t, dir, "predicate.json", predicate),
	}
	sign := func(kind clients.Kind) string {
		r.Kind, r.Image = kind, e2etest.PushImage(t, registry, slug(string(kind)))
		e2etest.WantAccepted(t, "sigstack signs the "+string(kind), clients.Sigstack().Sign(t, r))
		return r.Image
	}
	signed, attested := sign(clients.ImageTag), sign(clients.ImageTagAttestation)
	bundled := sign(clients.ImageReferrerAttestation)
	file := func(name string) string {
		return base64.StdEncoding.EncodeToString([]byte(e2etest.ReadFile(t, s.Kit(name))))
	}
	byTUF := e2etest.WriteFile(t, dir, "tuf.yaml", fmt.Sprintf(tufResource, file("root.json"), s.URL+"/tuf"))
	byKeys := e2etest.WriteFile(t, dir, "keys.yaml", fmt.Sprintf(keysResource,
		s.URL, file("fulcio.crt.pem"), s.URL, file("rekor.pub"), s.URL, file("ctfe.pub"), s.URL, file("tsa.crt.pem")))

	signature := imagePolicy(s.Issuer(), e2etest.DemoUser, "legacy", "")
	attestation := imagePolicy(s.Issuer(), e2etest.DemoUser, "legacy", predicateType)
	bundle := imagePolicy(s.Issuer(), e2etest.DemoUser, "bundle", predicateType)
	tests := []struct {
		name, root, policy, image string
		refusal                   string // "" when the image is admitted
	}{
		{"signature, by TUF", byTUF, signature, signed, ""},
		{"signature, by keys", byKeys, signature, signed, ""},
		{"other identity", byTUF, imagePolicy(s.Issuer(), "mallory@example.com", "legacy", ""), signed, "none of the expected identities matched"},
		{"unsigned", byTUF, signature, e2etest.PushImage(t, registry, "unsigned"), "no signatures found"},
		{"attestation, by TUF", byTUF, attestation, attested, ""},
		{"attestation, by keys", byKeys, attestation, attested, ""},
		{"other predicate type", byTUF, imagePolicy(s.Issuer(), e2etest.DemoUser, "legacy", predicateType+"/other"), attested, "no matching attestations"},
		{"not attested", byTUF, attestation, signed, "no matching attestations"},
		// What cannot work with the tester, though it may in a cluster: of TUF it
		// reads the PEM targets, without the type of a trusted root that bundles
		// need, and with keys in the resource it mistakes the log's ID.
		{"bundle, by TUF", byTUF, bundle, bundled, "unsupported TrustedRoot media type"},
		{"bundle, by keys", byKeys, bundle, bundled, "not enough verified log entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			policy := e2etest.WriteFile(t, dir, "policy.yaml", tt.policy)
			got := e2etest.Run(t, []string{"TUF_ROOT=" + filepath.Join(dir, "tuf")}, e2etest.Client(t, "policy-tester"),
				"-policy", policy, "-image", tt.image, "-trustroot", tt.root)
			if tt.refusal == "" {
				e2etest.WantAccepted(t, "policy-tester", got)
				return
			}
			wantRefused(t, "policy-tester", got, tt.refusal)
		})
	}
}

const tufResource = `apiVersion: policy.sigstore.dev/v1alpha1
kind: TrustRoot
metadata:
  name: sigstack
spec:
  remote:
    root: %s
    mirror: %s
`

const keysResource = `apiVersion: policy.sigstore.dev/v1alpha1
kind: TrustRoot
metadata:
  name: sigstack
spec:
  sigstoreKeys:
    certificateAuthorities:
    - subject: {organization: sigstack, commonName: sigstack}
      uri: %s
      certChain: %s
    tLogs:
    - {baseURL: "%s", hashAlgorithm: sha-256, publicKey: %s}
    ctLogs:
    - {baseURL: "%s", hashAlgorithm: sha-256, publicKey: %s}
    timestampAuthorities:
    - subject: {organization: sigstack, commonName: sigstack}
      uri: %s
      certChain: %s
`

// imagePolicy admits what one identity signed or, with a predicate type,
// attested.
func imagePolicy(issuer, subject, format, predicateType string) string {
	p := fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: everything
spec:
  images:
  - glob: "**"
  authorities:
  - name: sigstack
    signatureFormat: %s
    keyless:
      trustRootRef: sigstack
      identities:
      - issuer: %s
        subject: %s
    ctlog:
      trustRootRef: sigstack
`, format, issuer, subject)
	if predicateType == "" {
		return p
	}
	return strings.TrimSuffix(p, "\n") + fmt.Sprintf(`
    attestations:
    - name: review
      predicateType: %s
`, predicateType)
}
