package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	ctx509 "github.com/google/certificate-transparency-go/x509"

	"sigstack/e2e/e2etest"
)

// TestCertificateIsAccepted: a certificate of a running stack, its chain and its
// SCT are in order to OpenSSL, Node, Go and certificate-transparency-go, and what
// the log has is the certificate without the SCT, to the byte.
func TestCertificateIsAccepted(t *testing.T) {
	s := e2etest.Start(t, filepath.Join(t.TempDir(), "stack"))
	body, err := certificateRequest(s.Token(t))
	if err != nil {
		t.Fatal(err)
	}
	status, answer := e2etest.Send(t, http.MethodPost, s.URL+"/api/v2/signingCert", "application/json", body)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	chain, _, err := parseCertified(answer)
	if err != nil {
		t.Fatal(err)
	}
	if len(chain) != 3 {
		t.Fatalf("chain of %d certificates, want leaf, intermediate and root", len(chain))
	}
	files := writeCertificates(t, chain)
	t.Run("OpenSSL", func(t *testing.T) { opensslAccepts(t, files) })
	t.Run("Node", func(t *testing.T) { nodeAccepts(t, files) })
	t.Run("Go", func(t *testing.T) { goAccepts(t, chain) })
	t.Run("CT log", func(t *testing.T) {
		c := newCTChecker(t, s)
		head, err := c.client.GetSTH(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.checkIncluded(t.Context(), answer, head); err != nil {
			t.Error(err)
		}
		c.hasPrecertificate(t, chain[0], int64(head.TreeSize))
	})
}

// writeCertificates writes each certificate to a file of its own.
func writeCertificates(t *testing.T, chain []*ctx509.Certificate) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, c := range chain {
		name := []string{"leaf.pem", "intermediate.pem", "root.pem"}[i]
		files = append(files, e2etest.WriteFile(t, dir, name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))))
	}
	return files
}

// opensslAccepts has openssl verify as strictly as it can. Of version 3.0 it knows
// no purpose of code signing, so it is told the chain's, which is any.
func opensslAccepts(t *testing.T, files []string) {
	leaf, inter, root := files[0], files[1], files[2]
	for _, tt := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"leaf", []string{"-purpose", "any", "-CAfile", root, "-untrusted", inter, leaf}, true},
		{"intermediate", []string{"-purpose", "any", "-CAfile", root, inter}, true},
		{"root", []string{"-purpose", "any", "-check_ss_sig", "-CAfile", root, root}, true},
		{"leaf for TLS", []string{"-purpose", "sslserver", "-CAfile", root, "-untrusted", inter, leaf}, false},
		{"leaf as an authority", []string{"-purpose", "any", "-CAfile", root, "-untrusted", leaf, inter, leaf}, false},
		{"leaf without intermediate", []string{"-purpose", "any", "-CAfile", root, leaf}, false},
	} {
		args := slices.Concat([]string{"verify", "-x509_strict", "-no-CApath", "-no-CAstore"}, tt.args)
		if r := e2etest.Run(t, nil, "openssl", args...); (r.Code == 0) != tt.ok {
			t.Errorf("%s: openssl exits %d, want success %v\n%s%s", tt.name, r.Code, tt.ok, r.Stdout, r.Stderr)
		}
	}
}

// nodeScript prints what Node makes of a leaf, its issuing CA and the root.
const nodeScript = `
const { X509Certificate } = require('crypto'), { readFileSync } = require('fs');
const [leaf, inter, root] = process.argv.slice(1).map((f) => new X509Certificate(readFileSync(f)));
console.log(JSON.stringify({
  issued: [leaf.checkIssued(inter), inter.checkIssued(root), root.checkIssued(root)],
  signed: [leaf.verify(inter.publicKey), inter.verify(root.publicKey), root.verify(root.publicKey)],
  crossed: [leaf.verify(root.publicKey), inter.verify(inter.publicKey)],
  ca: [leaf.ca, inter.ca, root.ca],
  name: leaf.subjectAltName, subject: leaf.subject ?? '', usage: leaf.keyUsage,
}));`

// nodeAccepts compares what Node says to what it has to say.
func nodeAccepts(t *testing.T, files []string) {
	out := e2etest.MustRun(t, nil, e2etest.Client(t, "node"), append([]string{"-e", nodeScript}, files...)...)
	var got struct {
		Issued, Signed, Crossed, CA []bool
		Name, Subject               string
		Usage                       []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	all := []bool{true, true, true}
	if !slices.Equal(got.Issued, all) || !slices.Equal(got.Signed, all) || !slices.Equal(got.Crossed, []bool{false, false}) ||
		!slices.Equal(got.CA, []bool{false, true, true}) {
		t.Errorf("Node does not accept the chain: %s", out)
	}
	if got.Name != "email:"+e2etest.DemoUser || got.Subject != "" || !slices.Equal(got.Usage, []string{"1.3.6.1.5.5.7.3.3"}) {
		t.Errorf("Node reads %s, want only the name %s and the usage codeSigning", out, e2etest.DemoUser)
	}
}

func goAccepts(t *testing.T, chain []*ctx509.Certificate) {
	var certs []*x509.Certificate
	for _, c := range chain {
		cert, err := x509.ParseCertificate(c.Raw)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	opts.Roots.AddCert(certs[2])
	opts.Intermediates.AddCert(certs[1])
	if _, err := certs[0].Verify(opts); err != nil {
		t.Error(err)
	}
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := certs[0].Verify(opts); err == nil {
		t.Error("the certificate is good for TLS servers")
	}
}

// hasPrecertificate finds the one entry that is leaf without its SCT.
func (c *ctChecker) hasPrecertificate(t *testing.T, leaf *ctx509.Certificate, size int64) {
	t.Helper()
	want, err := ctx509.RemoveSCTList(leaf.RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := c.client.GetEntries(t.Context(), 0, size-1)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		pre := e.Precert
		if pre == nil || pre.TBSCertificate.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
			continue
		}
		found++
		if got := e.Leaf.TimestampedEntry.PrecertEntry.TBSCertificate; !bytes.Equal(got, want) {
			t.Errorf("the log has\n%x\nthe certificate without its SCT is\n%x", got, want)
		}
		submitted, err := ctx509.ParseCertificate(pre.Submitted.Data)
		if err != nil && ctx509.IsFatal(err) {
			t.Fatal(err)
		}
		if got, err := ctx509.BuildPrecertTBS(submitted.RawTBSCertificate, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the precertificate without poison is\n%x (%v)\nthe certificate without its SCT is\n%x", got, err, want)
		}
	}
	if found != 1 {
		t.Errorf("%d entries of the log have the certificate's serial number, want one", found)
	}
}
