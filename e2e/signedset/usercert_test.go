package signedset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
	"sigstack/internal/signing/signingtest"
)

const employee = "ann@corp.example"

// corp writes the files of an organisation that certifies its signers by itself: ann's
// key and certificate, and the chain above it.
func corp(t *testing.T) (key, cert, chain string, ca signingtest.Authority) {
	t.Helper()
	ca = signingtest.NewCA(t, time.Now().Add(-time.Hour))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	leaf := issue(t, ca, private.Public(), &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Ann"}, EmailAddresses: []string{employee},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return e2etest.WriteFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		e2etest.WriteFile(t, dir, "cert.pem", string(pki.CertificatesPEM([]*x509.Certificate{leaf}))),
		e2etest.WriteFile(t, dir, "chain.pem", string(pki.CertificatesPEM(ca.Chain))), ca
}

func issue(t *testing.T, ca signingtest.Authority, key crypto.PublicKey, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Chain[0], key, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestUsersCertificate: a signature by a certificate of the user's own is verified by
// whoever is told of the authority, and by nobody else.
func TestUsersCertificate(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	key, cert, chain, ca := corp(t)
	dir := t.TempDir()
	blob := e2etest.WriteFile(t, dir, "blob", "content\n")
	with := []string{"--certificate", cert, "--certificate-chain", chain}
	ours, theirs := filepath.Join(dir, "ours.json"), filepath.Join(dir, "theirs.json")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append([]string{"sign", "--client", s.Kit(""), "--key", key, "--bundle", ours, blob}, with...)...)
	verify := []string{"verify", "--client", s.Kit(""), "--certificate-identity", employee}
	byChain := append(verify[:len(verify):len(verify)], "--certificate-chain", chain)
	cosign := []string{"verify-blob", "--trusted-root", trustIn(t, s, ca), "--insecure-ignore-sct", "--certificate-identity", employee, "--certificate-oidc-issuer-regexp", ".*", "--bundle"}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(byChain, "--bundle", ours, blob)...)
	e2etest.MustRun(t, nil, e2etest.Client(t, "cosign-v3"), append(cosign, ours, blob)...)
	refuses(t, "certificate: no trusted chain", e2etest.Sigstack(t), append(verify, "--certificate-oidc-issuer-regexp", ".*", "--bundle", ours, blob)...)

	// cosign 3 writes a chain into a bundle v0.3, which must not have one, and does not
	// read it either.
	e2etest.MustRun(t, nil, e2etest.Client(t, "cosign-v3"), append([]string{
		"sign-blob", "--yes", "--key", importKey(t, key), "--signing-config", s.Kit("signing_config.v0.2.json"),
		"--trusted-root", trustIn(t, s, ca), "--bundle", theirs, blob,
	}, with...)...)
	refuses(t, "its version has a certificate in place of a chain", e2etest.Sigstack(t), append(byChain, "--bundle", theirs, blob)...)
	refuses(t, "only supported with --new-bundle-format", e2etest.Client(t, "cosign-v3"), append(cosign, theirs, blob)...)

	// By tag there is a place for it, which cosign 2 and sigstack both use.
	registry := e2etest.ReferrersRegistry(t)
	image := e2etest.PushImage(t, registry, "theirs")
	env := []string{"SIGSTORE_ROOT_FILE=" + chain, "SIGSTORE_REKOR_PUBLIC_KEY=" + s.Kit("rekor.pub")}
	e2etest.MustRun(t, env, e2etest.Client(t, "cosign-v2"), append([]string{"sign", "--yes", "--key", importKey(t, key), "--rekor-url", s.URL, image}, with...)...)
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(byChain, "oci://"+image)...)
	image = e2etest.PushImage(t, registry, "ours")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), append([]string{"sign", "--client", s.Kit(""), "--storage", "tag", "--key", key, "oci://" + image}, with...)...)
	e2etest.MustRun(t, env, e2etest.Client(t, "cosign-v2"), "verify", "--insecure-ignore-sct", "--certificate-chain", chain,
		"--certificate-identity", employee, "--certificate-oidc-issuer-regexp", ".*", "--rekor-url", s.URL, image)
}

// refuses demands that a program refuses for the reason that words are of.
func refuses(t *testing.T, words, program string, args ...string) {
	t.Helper()
	if r := e2etest.Run(t, nil, program, args...); r.Code != 1 || !strings.Contains(r.Stderr, words) {
		t.Errorf("%s %v: exit %d, %s, want a refusal with %q", filepath.Base(program), args, r.Code, r.Stderr, words)
	}
}

// importKey makes a key one of cosign's.
func importKey(t *testing.T, key string) string {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "imported")
	e2etest.MustRun(t, nil, e2etest.Client(t, "cosign-v3"), "import-key-pair", "--key", key, "--output-key-prefix", prefix)
	return prefix + ".key"
}

// trustIn is the kit's trusted root with another certificate authority in the place of
// the stack's: cosign has no other way to be told of one.
func trustIn(t *testing.T, s *e2etest.Stack, ca signingtest.Authority) string {
	t.Helper()
	var trusted object
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, s.Kit("trusted_root.json"))), &trusted); err != nil {
		t.Fatal(err)
	}
	var chain []any
	for _, c := range ca.Chain {
		chain = append(chain, object{"rawBytes": base64.StdEncoding.EncodeToString(c.Raw)})
	}
	trusted["certificateAuthorities"] = []any{object{
		"subject": object{"organization": "corp", "commonName": "corp"}, "uri": "https://corp.example",
		"certChain": object{"certificates": chain}, "validFor": object{"start": ca.Chain[1].NotBefore.UTC().Format(time.RFC3339)},
	}}
	text, err := json.Marshal(trusted)
	if err != nil {
		t.Fatal(err)
	}
	return e2etest.WriteFile(t, t.TempDir(), "trusted_root.json", string(text))
}
