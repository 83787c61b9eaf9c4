package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/ctutil"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"

	"sigstack/internal/fault"
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
			22: "0c067075626c6963", 23: "0c0470726f64",
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

// checkTransparency has certificate-transparency-go verify the only embedded SCT
// and compares the leaf without it to what the log has.
func (f *fixture) checkTransparency(t *testing.T, chain []*x509.Certificate) {
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
	if err := ctutil.VerifySCT(f.log.key.Public(), certs, scts[0], true); err != nil {
		t.Errorf("embedded SCT: %v", err)
	}
	if string(scts[0].Extensions) != "leaf index" {
		t.Errorf("SCT extensions = %q, want the log's", scts[0].Extensions)
	}
	tbs, err := ctx509.RemoveSCTList(chain[0].RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if entry := f.log.only(t); !bytes.Equal(tbs, entry.TBSCertificate) {
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

// TestPoison: what is logged before there is an SCT can never be used.
func TestPoison(t *testing.T) {
	var pre []byte
	f := newFixture(t, func(f *fixture) {
		f.cfg.Submit = func(ctx context.Context, chain [][]byte) ([]byte, error) {
			pre = chain[0]
			if len(chain) != 3 || !bytes.Equal(chain[1], f.cfg.Chain[0].Raw) || !bytes.Equal(chain[2], f.root.Raw) {
				t.Error("the log was not given the whole chain")
			}
			return f.log.submit(ctx, chain)
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
	f.log.only(t)
}

// TestFailedApproval: one whose log failed is used up as well.
func TestFailedApproval(t *testing.T) {
	f := newFixture(t, nil)
	approval, err := f.service.Prepare(t.Context(), f.request(t))
	if err != nil {
		t.Fatal(err)
	}
	f.log.answering(nil, errors.New("down"))
	if _, err := f.service.Issue(t.Context(), approval); err == nil {
		t.Fatal("issued without a log")
	}
	f.log.answering(nil, nil)
	if _, err := f.service.Issue(t.Context(), approval); err == nil {
		t.Error("the approval was good twice")
	}
}

// TestLogFailures: whatever the log does wrong, there is no certificate.
func TestLogFailures(t *testing.T) {
	forger := newFakeLog(t, time.Now())
	tests := []struct {
		name         string
		change       func(*ct.AddChainResponse)
		err          error
		status, code int
	}{
		{"down", nil, errors.New("dial tcp 10.0.0.9: refused"), http.StatusInternalServerError, 13},
		{"unavailable", nil, fault.New(fault.Unavailable, "busy"), http.StatusServiceUnavailable, 14},
		{"times out", nil, fault.New(fault.Timeout, "slow"), http.StatusServiceUnavailable, 14},
		{"refuses us", nil, fault.New(fault.Invalid, "unknown root"), http.StatusInternalServerError, 13},
		{"other log", func(r *ct.AddChainResponse) { r.ID = make([]byte, 32) }, nil, http.StatusInternalServerError, 13},
		{"other version", func(r *ct.AddChainResponse) { r.SCTVersion = 1 }, nil, http.StatusInternalServerError, 13},
		{"other time", func(r *ct.AddChainResponse) { r.Timestamp++ }, nil, http.StatusInternalServerError, 13},
		{"other extensions", func(r *ct.AddChainResponse) { r.Extensions = "" }, nil, http.StatusInternalServerError, 13},
		{"extensions no base64", func(r *ct.AddChainResponse) { r.Extensions = "?" }, nil, http.StatusInternalServerError, 13},
		{"flipped signature", func(r *ct.AddChainResponse) { r.Signature[len(r.Signature)-1] ^= 1 }, nil, http.StatusInternalServerError, 13},
		{"no signature", func(r *ct.AddChainResponse) { r.Signature = nil }, nil, http.StatusInternalServerError, 13},
		{"other hash", func(r *ct.AddChainResponse) { r.Signature[0] = 2 }, nil, http.StatusInternalServerError, 13},
		{"other algorithm", func(r *ct.AddChainResponse) { r.Signature[1] = 1 }, nil, http.StatusInternalServerError, 13},
		{"data after the signature", func(r *ct.AddChainResponse) { r.Signature = append(r.Signature, 0) }, nil, http.StatusInternalServerError, 13},
		{"forged", func(r *ct.AddChainResponse) { forge(t, forger, r) }, nil, http.StatusInternalServerError, 13},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.log.answering(tt.change, tt.err)
			key := newECDSA(t, elliptic.P256())
			w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, "alice@example.com"))
			if strings.Contains(w.Body.String(), "10.0.0.9") || strings.Contains(w.Body.String(), "CERTIFICATE-") {
				t.Errorf("answer leaks: %s", w.Body)
			}
			wantRefusal(t, w, tt.status, tt.code, "Error entering certificate in CTL")
			if got := f.counter(t, "fulcio_new_certs"); got != 0 {
				t.Errorf("fulcio_new_certs = %v, want 0", got)
			}
		})
	}
}

// forge puts another log's signature into an answer.
func forge(t *testing.T, forger *fakeLog, r *ct.AddChainResponse) {
	t.Helper()
	sct := addChainResponse{Timestamp: r.Timestamp}
	signed, err := sct.signedBytes([32]byte{}, nil)
	if err != nil {
		t.Error(err)
	}
	signature := sign(t, forger.key, string(signed))
	r.Signature = append([]byte{hashSHA256, signatureECDSA, 0, byte(len(signature))}, signature...)
}

// TestSlowLog: the wait for a log that never answers ends below five seconds.
func TestSlowLog(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.Submit = func(ctx context.Context, _ [][]byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	f.service.tokens.Warm(t.Context()) // no network inside the bubble
	token, body := f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := f.post(t, v2Path, token, body)
		if took := time.Since(start); took >= 5*time.Second {
			t.Errorf("answered after %v, want less than 5s", took)
		}
		wantRefusal(t, w, http.StatusServiceUnavailable, 14, "Error entering certificate in CTL")
	})
}

// TestClientLeaves: a client's departure is neither the log's fault nor a success.
func TestClientLeaves(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.Submit = func(ctx context.Context, _ [][]byte) ([]byte, error) { return nil, ctx.Err() }
	})
	approval, err := f.service.Prepare(t.Context(), f.request(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.service.Issue(ctx, approval); fault.KindOf(err) != fault.Canceled {
		t.Errorf("error = %v, want kind canceled", err)
	}
}

// brokenSigner is a key whose store is out of order.
type brokenSigner struct {
	crypto.Signer
	err error // nil: signs something else
}

func (s brokenSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(r, append([]byte{digest[0] ^ 1}, digest[1:]...), opts)
}

// TestSignerFaults: the signer's failures are ours, never the client's.
func TestSignerFaults(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fixture)
	}{
		{"fails", func(f *fixture) { f.cfg.Signer = brokenSigner{f.signer, errors.New("hsm: slot 3 locked")} }},
		{"signs wrongly", func(f *fixture) { f.cfg.Signer = brokenSigner{f.signer, nil} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.change)
			w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com"))
			if strings.Contains(w.Body.String(), "hsm") {
				t.Errorf("answer leaks: %s", w.Body)
			}
			wantRefusal(t, w, http.StatusInternalServerError, 13, "error communicating with CA backend")
		})
	}
}

// TestChainTooOld: nothing is issued that would outlast a CA.
func TestChainTooOld(t *testing.T) {
	f := newFixture(t, nil)
	expiry := f.cfg.Chain[0].NotAfter
	for _, tt := range []struct {
		before time.Duration
		status int
	}{{10 * time.Minute, http.StatusOK}, {10*time.Minute - time.Second, http.StatusInternalServerError}} {
		f.now = expiry.Add(-tt.before)
		f.log.now = f.now
		w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com"))
		if w.Code != tt.status {
			t.Errorf("%v before the CA's end: status %d %s, want %d", tt.before, w.Code, w.Body, tt.status)
		}
	}
}

// TestRSAAuthority: the other kind of CA and log key.
func TestRSAAuthority(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		key := newRSA(t, 2048)
		root, err := pki.NewRoot(key, pkix.Name{CommonName: "rsa root", Organization: []string{"test"}}, f.now)
		if err != nil {
			t.Fatal(err)
		}
		f.root, f.cfg.Chain, f.cfg.Signer = root, []*x509.Certificate{root}, key
	})
	chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")))
	if chain[0].SignatureAlgorithm != x509.SHA256WithRSA || len(chain) != 2 {
		t.Errorf("algorithm %v in a chain of %d, want SHA256-RSA in 2", chain[0].SignatureAlgorithm, len(chain))
	}
	f.checkTransparency(t, chain)
}

// TestRSALog: an SCT signed by an RSA key verifies, and only as such.
func TestRSALog(t *testing.T) {
	key := newRSA(t, 2048)
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	log, err := newCTLog(spki)
	if err != nil {
		t.Fatal(err)
	}
	tbs, issuer := []byte("tbs"), [32]byte{1}
	sct := addChainResponse{ID: log.id[:], Timestamp: 5, Extensions: []byte("x")}
	signed, err := sct.signedBytes(issuer, tbs)
	if err != nil {
		t.Fatal(err)
	}
	sct.Signature = append([]byte{hashSHA256, signatureRSA, 1, 0}, sign(t, key, string(signed))...)
	response, err := json.Marshal(sct)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.verify(response, issuer, tbs); err != nil {
		t.Errorf("SCT of an RSA log: %v", err)
	}
	if _, err := log.verify(response, [32]byte{2}, tbs); err == nil {
		t.Error("SCT for another issuer verifies")
	}
	if _, err := log.verify(response, issuer, []byte("tbt")); err == nil {
		t.Error("SCT for another certificate verifies")
	}
}

// TestNew: each refusal of the contract's §7, valid but for one fact.
func TestNew(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config, *fixture)
		want   string
	}{
		{"no chain", func(c *Config, _ *fixture) { c.Chain = nil }, "chain or signer is missing"},
		{"no signer", func(c *Config, _ *fixture) { c.Signer = nil }, "chain or signer is missing"},
		{"reversed chain", func(c *Config, _ *fixture) { c.Chain = []*x509.Certificate{c.Chain[1], c.Chain[0]} }, ""},
		{"no root", func(c *Config, _ *fixture) { c.Chain = c.Chain[:1] }, ""},
		{"other signer", func(c *Config, _ *fixture) { c.Signer = newECDSA(t, elliptic.P256()) }, "not the signing key"},
		{"expired chain", func(c *Config, f *fixture) { c.Now = func() time.Time { return f.now.AddDate(20, 0, 0) } }, ""},
		{"Ed25519 authority", ed25519Authority(t), "neither ECDSA nor RSA"},
		{"weak authority", weakAuthority(t), "1024 bits is not allowed"},
		{"relative URL", func(c *Config, _ *fixture) { c.URL = "ca" }, "not an absolute URL"},
		{"no URL", func(c *Config, _ *fixture) { c.URL = "" }, "not an absolute URL"},
		{"final slash", func(c *Config, _ *fixture) { c.URL += "/" }, "final slash"},
		{"no log", func(c *Config, _ *fixture) { c.Submit = nil }, "no CT log"},
		{"no log key", func(c *Config, _ *fixture) { c.CTLogKey = nil }, "parse CT log key"},
		{"Ed25519 log", func(c *Config, _ *fixture) { c.CTLogKey = spkiOf(t, newEd25519(t)) }, "neither ECDSA nor RSA"},
		{"no issuer", func(c *Config, _ *fixture) { c.Issuers = nil }, "no token issuer"},
		{"odd issuer", func(c *Config, _ *fixture) { c.Issuers[0].Type = "spiffe" }, `"spiffe" is not supported`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			cfg := f.cfg
			cfg.Issuers = slices.Clone(cfg.Issuers)
			tt.change(&cfg, f)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func spkiOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func ed25519Authority(t *testing.T) func(*Config, *fixture) {
	return func(c *Config, f *fixture) { selfSigned(t, c, f, newEd25519(t)) }
}

func weakAuthority(t *testing.T) func(*Config, *fixture) {
	return func(c *Config, f *fixture) { selfSigned(t, c, f, newRSA(t, 1024)) }
}

func selfSigned(t *testing.T, c *Config, f *fixture, key crypto.Signer) {
	t.Helper()
	root, err := pki.NewRoot(key, pkix.Name{CommonName: "odd", Organization: []string{"test"}}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	c.Chain, c.Signer = []*x509.Certificate{root}, key
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
