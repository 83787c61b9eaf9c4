package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/ctutil"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"

	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
)

// githubRun holds the changes that make an ordinary token one of a workflow run.
func githubRun() map[string]any {
	return map[string]any{
		"sub":        "repo:octo-org/octo-repo:ref:refs/heads/main",
		"event_name": "push", "sha": "1111", "workflow": "Release", "repository": "octo-org/octo-repo",
		"ref": "refs/heads/main", "job_workflow_ref": "octo-org/octo-repo/.github/workflows/b.yml@refs/heads/main",
		"job_workflow_sha": "2222", "workflow_ref": "octo-org/octo-repo/.github/workflows/r.yml@refs/heads/main",
		"workflow_sha": "3333", "runner_environment": "github-hosted", "repository_id": "74",
		"repository_owner": "octo-org", "repository_owner_id": "65", "run_id": "987", "run_attempt": "2",
		"repository_visibility": "public", "environment": "prod",
	}
}

func TestIssue(t *testing.T) {
	p256, p384, p521 := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521())
	edwards, rsaKey := newEd25519(t), newRSA(t, 2048)
	uri := ofType(identity.URI, "http://127.0.0.1")
	github := ofType(identity.GitHubWorkflow, "")
	inURI := map[string]any{"sub": "http://127.0.0.1/users/1"}
	const email, user, workflow = "alice@example.com", "http://127.0.0.1/users/1", "https://github.com/octo-org/octo-repo/.github/workflows/b.yml@refs/heads/main"
	const githubSub = "repo:octo-org/octo-repo:ref:refs/heads/main"
	withEmail := map[string]any{"sub": user, "email": email, "email_verified": true}

	tests := []struct {
		name   string
		issuer func(*fixture)
		claims map[string]any
		key    crypto.Signer
		body   object
		san    string // hex of the SAN's tag, then the name
		attrs  map[int]string
	}{
		{"email", nil, alice(), p256, challengeBody(t, p256, email), "81" + email, nil},
		{"email, P-384", nil, alice(), p384, challengeBody(t, p384, email), "81" + email, nil},
		{"email, P-521", nil, alice(), p521, challengeBody(t, p521, email), "81" + email, nil},
		{"email, Ed25519", nil, alice(), edwards, challengeBody(t, edwards, email), "81" + email, nil},
		{"email, RSA", nil, alice(), rsaKey, challengeBody(t, rsaKey, email), "81" + email, nil},
		{"email, CSR", nil, alice(), p256, csrBody(t, p256, x509.ECDSAWithSHA256), "81" + email, nil},
		{"email, CSR, P-384", nil, alice(), p384, csrBody(t, p384, x509.ECDSAWithSHA384), "81" + email, nil},
		{"email, CSR, RSA", nil, alice(), rsaKey, csrBody(t, rsaKey, x509.SHA256WithRSA), "81" + email, nil},
		{"email, CSR, Ed25519", nil, alice(), edwards, csrBody(t, edwards, x509.PureEd25519), "81" + email, nil},
		{"uri", uri, inURI, p256, challengeBody(t, p256, user), "86" + user, nil},
		{"uri, signed email", uri, withEmail, p256, challengeBody(t, p256, email), "86" + user, nil},
		{"github-workflow", github, githubRun(), p256, challengeBody(t, p256, githubSub), "86" + workflow, map[int]string{
			2: "70757368", 3: "31313131", 4: "52656c65617365", 5: "6f63746f2d6f72672f6f63746f2d7265706f", 6: "726566732f68656164732f6d61696e",
			9: utf8String(workflow), 10: "0c0432323232", 11: utf8String("github-hosted"),
			12: utf8String("https://github.com/octo-org/octo-repo"), 13: "0c0431313131", 14: utf8String("refs/heads/main"),
			15: "0c023734", 16: utf8String("https://github.com/octo-org"), 17: "0c023635",
			18: utf8String("https://github.com/octo-org/octo-repo/.github/workflows/r.yml@refs/heads/main"), 19: "0c0433333333",
			20: "0c0470757368", 21: utf8String("https://github.com/octo-org/octo-repo/actions/runs/987/attempts/2"),
			22: "0c067075626c6963",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.issuer)
			chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, tt.claims), tt.body))
			leaf := f.checkChain(t, chain, tt.key.Public())
			f.checkTransparency(t, chain)
			checkExtensions(t, leaf, tt.san, f.attributes(tt.claims, tt.attrs))
			if got := f.counter(t, "fulcio_new_certs"); got != 1 {
				t.Errorf("fulcio_new_certs = %v, want 1", got)
			}
		})
	}
}

func utf8String(s string) string {
	return hex.EncodeToString(append([]byte{0x0c, byte(len(s))}, s...))
}

// attributes adds the extensions of every certificate to those of its type.
func (f *fixture) attributes(claims map[string]any, more map[int]string) map[int]string {
	subject, ok := claims["sub"].(string)
	if !ok {
		subject = "subject-1"
	}
	all := map[int]string{
		1: hex.EncodeToString([]byte(f.issuer.URL)), 8: utf8String(f.issuer.URL), 24: utf8String(subject),
	}
	for arc, value := range more {
		all[arc] = value
	}
	return all
}

// checkChain recomputes the profile of the contract's §7 from the certificates
// alone and returns the leaf.
func (f *fixture) checkChain(t *testing.T, chain []*x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	if len(chain) != 3 || !chain[1].Equal(f.cfg.Chain[0]) || !chain[2].Equal(f.cfg.Chain[1]) {
		t.Fatalf("chain has %d certificates or another tail than the CA's", len(chain))
	}
	leaf := chain[0]
	keyID, err := pki.SubjectKeyID(pub)
	if err != nil {
		t.Fatal(err)
	}
	equaler, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !equaler.Equal(pub) {
		t.Error("leaf has another key than was proven")
	}
	for what, good := range map[string]bool{
		"version 3":                   leaf.Version == 3,
		"empty subject":               leaf.Subject.String() == "",
		"positive serial, 20 octets":  leaf.SerialNumber.Sign() > 0 && len(leaf.SerialNumber.Bytes()) <= 20,
		"starts now":                  leaf.NotBefore.Equal(f.now),
		"ten minutes":                 leaf.NotAfter.Sub(leaf.NotBefore) == 10*time.Minute,
		"digitalSignature only":       leaf.KeyUsage == x509.KeyUsageDigitalSignature,
		"codeSigning only":            slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}) && len(leaf.UnknownExtKeyUsage) == 0,
		"authority key id":            bytes.Equal(leaf.AuthorityKeyId, chain[1].SubjectKeyId) && len(leaf.AuthorityKeyId) == 20,
		"subject key id":              bytes.Equal(leaf.SubjectKeyId, keyID),
		"no basic constraints, no CA": !leaf.BasicConstraintsValid && !leaf.IsCA,
		"no unknown critical":         len(leaf.UnhandledCriticalExtensions) == 0,
		"hash of the CA's key":        leaf.SignatureAlgorithm == x509.ECDSAWithSHA256,
	} {
		if !good {
			t.Errorf("leaf fails: %s", what)
		}
	}
	if err := f.verify(leaf); err != nil {
		t.Errorf("leaf does not verify: %v", err)
	}
	return leaf
}

func (f *fixture) verify(leaf *x509.Certificate) error {
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(f.root)
	inter.AddCert(f.cfg.Chain[0])
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: inter, CurrentTime: f.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	return err
}

// checkExtensions holds the leaf's extensions to the byte: san is the hex of the
// name's tag and then the name, attrs the values of Fulcio's extensions in hex.
func checkExtensions(t *testing.T, leaf *x509.Certificate, san string, attrs map[int]string) {
	t.Helper()
	tag, name := san[:2], san[2:]
	want := []string{
		"2.5.29.15 true 03020780",
		"2.5.29.37 false 300a06082b06010505070303",
		"2.5.29.14 false 0414" + hex.EncodeToString(leaf.SubjectKeyId),
		"2.5.29.35 false 30168014" + hex.EncodeToString(leaf.AuthorityKeyId),
		"2.5.29.17 true 30" + hex.EncodeToString([]byte{byte(len(name) + 2)}) + tag + hex.EncodeToString([]byte{byte(len(name))}) + hex.EncodeToString([]byte(name)),
	}
	for arc := range 25 {
		if value, ok := attrs[arc]; ok {
			oid := append(slices.Clone(pki.OIDIssuerV1[:len(pki.OIDIssuerV1)-1]), arc)
			want = append(want, oid.String()+" false "+value)
		}
	}
	var got []string
	for _, e := range leaf.Extensions {
		text := e.Id.String() + map[bool]string{true: " true ", false: " false "}[e.Critical]
		if e.Id.Equal(pki.OIDSCTList) {
			want = append(want, text) // last, and checked with the log
			e.Value = nil
		}
		got = append(got, text+hex.EncodeToString(e.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("extensions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// checkSCT has certificate-transparency-go verify the only embedded SCT, and returns it.
func (f *fixture) checkSCT(t *testing.T, chain []*x509.Certificate) *ct.SignedCertificateTimestamp {
	t.Helper()
	var certs []*ctx509.Certificate
	for _, c := range chain {
		parsed, err := ctx509.ParseCertificate(c.Raw)
		if ctx509.IsFatal(err) {
			t.Fatal(err)
		}
		certs = append(certs, parsed)
	}
	scts, err := x509util.ParseSCTsFromCertificate(chain[0].Raw)
	if err != nil || len(scts) != 1 {
		t.Fatalf("%d SCTs (%v), want exactly one", len(scts), err)
	}
	if err := ctutil.VerifySCT(f.log.Key.Public(), certs, scts[0], true); err != nil {
		t.Errorf("embedded SCT: %v", err)
	}
	return scts[0]
}

// checkTransparency has certificate-transparency-go verify the only embedded SCT
// and compares the leaf without it to what the log has.
func (f *fixture) checkTransparency(t *testing.T, chain []*x509.Certificate) {
	t.Helper()
	sct := f.checkSCT(t, chain)
	if string(sct.Extensions) != "leaf index" {
		t.Errorf("SCT extensions = %q, want the log's", sct.Extensions)
	}
	tbs, err := ctx509.RemoveSCTList(chain[0].RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if entry := f.log.Only(t); !bytes.Equal(tbs, entry.TBSCertificate) {
		t.Errorf("certificate without SCT is\n%x\nthe log has\n%x", tbs, entry.TBSCertificate)
	}
}

func (f *fixture) counter(t *testing.T, name string) float64 {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestCreatePrecertificateAndIssueFinalCertificate: what is logged before there is
// an SCT can never be used; the certificate is the same with the SCT in its place.
func TestCreatePrecertificateAndIssueFinalCertificate(t *testing.T) {
	var pre []byte
	f := newFixture(t, func(f *fixture) {
		f.cfg.CTLogs[0].Submit = func(ctx context.Context, chain [][]byte) ([]byte, error) {
			pre = chain[0]
			if len(chain) != 3 || !bytes.Equal(chain[1], f.cfg.Chain[0].Raw) || !bytes.Equal(chain[2], f.root.Raw) {
				t.Error("the log was not given the whole chain")
			}
			return f.log.Submit(ctx, chain)
		}
	})
	key := newECDSA(t, elliptic.P256())
	chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, "alice@example.com")))
	precert, err := x509.ParseCertificate(pre)
	if err != nil {
		t.Fatal(err)
	}
	var unhandled x509.UnhandledCriticalExtension
	if err := f.verify(precert); !errors.As(err, &unhandled) {
		t.Errorf("precertificate verifies with %v, want an unhandled critical extension", err)
	}
	last := precert.Extensions[len(precert.Extensions)-1]
	if !last.Id.Equal(pki.OIDPoison) || !last.Critical || hex.EncodeToString(last.Value) != "0500" {
		t.Errorf("last extension of the precertificate = %+v, want the poison", last)
	}
	if err := f.verify(chain[0]); err != nil {
		t.Errorf("certificate does not verify: %v", err)
	}
	f.checkTransparency(t, chain)
	before, err := pki.TBSWithout(pre, pki.OIDPoison)
	if err != nil {
		t.Fatal(err)
	}
	after, err := pki.TBSWithout(chain[0].Raw, pki.OIDSCTList)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("certificate without SCT is %x (%v), precertificate without poison %x", after, err, before)
	}
}

func (f *fixture) request(t testing.TB) Request {
	t.Helper()
	key := newECDSA(t, elliptic.P256())
	return Request{
		Token:     f.issuer.Token(t, alice()),
		PublicKey: []byte(publicPEM(t, key.Public())),
		Proof:     sign(t, key, "alice@example.com"),
	}
}

// TestApproval: an approval is good once, and only where it was given.
func TestApproval(t *testing.T) {
	f, other := newFixture(t, nil), newFixture(t, nil)
	approval, err := f.service.Prepare(t.Context(), f.request(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.service.Issue(t.Context(), approval); err == nil {
		t.Error("another authority issued for the approval")
	}
	if _, err := f.service.Issue(t.Context(), approval); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Issue(t.Context(), approval); err == nil {
		t.Error("the approval was good twice")
	}
	f.log.Only(t)
}

// TestFailedApproval: one whose log failed is used up as well.
func TestFailedApproval(t *testing.T) {
	f := newFixture(t, nil)
	approval, err := f.service.Prepare(t.Context(), f.request(t))
	if err != nil {
		t.Fatal(err)
	}
	f.log.Answering(nil, errors.New("down"))
	if _, err := f.service.Issue(t.Context(), approval); err == nil {
		t.Fatal("issued without a log")
	}
	f.log.Answering(nil, nil)
	if _, err := f.service.Issue(t.Context(), approval); err == nil {
		t.Error("the approval was good twice")
	}
}

func TestTrust(t *testing.T) {
	f := newFixture(t, nil)
	got := f.service.Trust()
	if got.URI != "http://localhost:8080" || len(got.Chain) != 2 || !got.Window.Contains(f.now) || !got.Window.End.IsZero() {
		t.Errorf("Trust = %+v, want both certificates from their start on", got)
	}
}

// TestRun: keys are there before the first request, and Run ends with its context.
func TestRun(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.service.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// TestLogsHoldNoToken: neither a good request nor a refused one puts its token
// into the log.
func TestLogsHoldNoToken(t *testing.T) {
	f := newFixture(t, nil)
	key := newECDSA(t, elliptic.P256())
	good := f.issuer.Token(t, alice())
	expired := f.issuer.Token(t, map[string]any{"exp": 1})
	var answers []*httptest.ResponseRecorder
	for _, token := range []string{good, expired, good + "x", good[1:]} {
		answers = append(answers, f.post(t, v2Path, token, challengeBody(t, key, "alice@example.com")))
	}
	for _, token := range []string{good, expired} {
		for _, part := range strings.Split(token, ".")[1:] {
			if strings.Contains(f.logged.String(), part) {
				t.Errorf("log holds part of a token: %s", f.logged)
			}
			for _, w := range answers {
				if strings.Contains(w.Body.String(), part) {
					t.Errorf("answer holds part of a token: %s", w.Body)
				}
			}
		}
	}
	if !strings.Contains(f.logged.String(), "certificate issued") {
		t.Error("log says nothing of the certificate")
	}
}
