package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// cosignV2 is cosign 2 with its trust from files of the kit, looking entries up
// in the log.
type cosignV2 struct{ s *e2etest.Stack }

func (c cosignV2) run(t *testing.T, args ...string) e2etest.Result {
	t.Helper()
	env := []string{
		"SIGSTORE_ROOT_FILE=" + c.s.Kit("fulcio.crt.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + c.s.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + c.s.Kit("ctfe.pub"), c.s.TokenEnv(t),
	}
	return e2etest.Run(t, env, e2etest.Client(t, "cosign-v2"), append(args, "--rekor-url", c.s.URL)...)
}

// sign runs a signing command, to which it adds what all of them need.
func (c cosignV2) sign(t *testing.T, args ...string) {
	t.Helper()
	if r := c.run(t, append(args, "--yes", "--fulcio-url", c.s.URL)...); r.Code != 0 {
		t.Fatalf("cosign %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
}

func (c cosignV2) accepts(t *testing.T, args ...string) {
	t.Helper()
	e2etest.WantAccepted(t, fmt.Sprintf("cosign %v", args), c.run(t, append(args, c.s.IdentityArgs()...)...))
}

// refuses wants a refusal for the reason given.
func (c cosignV2) refuses(t *testing.T, reason string, args ...string) {
	t.Helper()
	r := c.run(t, append(args, c.s.IdentityArgs()...)...)
	if r.Code == 0 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("cosign %v: exit %d, want a refusal because of %q\n%s%s", args, r.Code, reason, r.Stdout, r.Stderr)
	}
}

const notInLog = "signature not found in transparency log"

// TestRekorLookupOfBlobs: signature and certificate are all that cosign has; it
// finds the entry by proposing it anew.
func TestRekorLookupOfBlobs(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c, dir := cosignV2{s}, t.TempDir()
	blob, other := e2etest.WriteFile(t, dir, "blob", "blob\n"), e2etest.WriteFile(t, dir, "other", "other\n")
	sig, cert := filepath.Join(dir, "sig"), filepath.Join(dir, "cert")
	verify := []string{"verify-blob", "--signature", sig, "--certificate", cert}

	c.sign(t, "sign-blob", "--output-signature", sig, "--output-certificate", cert, blob)
	c.accepts(t, append(verify, blob)...)
	c.refuses(t, "offline verification failed", append(verify, "--offline", blob)...) // it did look it up
	c.refuses(t, "signature does not verify with the public key and the hash", append(verify, other)...)
	c.sign(t, "sign-blob", "--tlog-upload=false", "--output-signature", sig, "--output-certificate", cert, blob)
	c.refuses(t, notInLog, append(verify, blob)...)
}

// TestRekorLookupOfAttestations: cosign asks for one envelope as dsse and as
// intoto 0.0.1 at once, whichever of them was logged.
func TestRekorLookupOfAttestations(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c, dir := cosignV2{s}, t.TempDir()
	blob, other := e2etest.WriteFile(t, dir, "blob", "blob\n"), e2etest.WriteFile(t, dir, "other", "other\n")
	predicate := e2etest.WriteFile(t, dir, "predicate", "{}")
	envelope, cert := filepath.Join(dir, "envelope"), filepath.Join(dir, "cert")
	verify := []string{"verify-blob-attestation", "--type", "custom", "--signature", envelope, "--certificate", cert}
	attest := []string{
		"attest-blob", "--type", "custom", "--predicate", predicate, "--output-signature", envelope, "--output-certificate", cert, blob,
	}
	for _, kind := range []string{"dsse", "intoto"} {
		c.sign(t, append(attest, "--rekor-entry-type", kind)...)
		if got := newestKind(t, s.URL); got != kind {
			t.Fatalf("the newest entry is a %s, want %s", got, kind)
		}
		c.accepts(t, append(verify, blob)...)
		c.refuses(t, "digest", append(verify, other)...)
	}
	c.sign(t, append(attest, "--tlog-upload=false")...)
	c.refuses(t, notInLog, append(verify, blob)...)
}

// newestKind is the kind of the newest entry in the log.
func newestKind(t *testing.T, url string) string {
	t.Helper()
	_, answer := e2etest.Get(t, fmt.Sprintf("%s%s?logIndex=%d", url, entriesPath, logInfo(t, url).TreeSize-1))
	var e logEntry
	if err := json.Unmarshal(answer, &e); err != nil || len(e) != 1 {
		t.Fatalf("newest entry %s: %v", answer, err)
	}
	var body struct{ Kind string }
	for _, v := range e {
		if err := json.Unmarshal(v.Body, &body); err != nil {
			t.Fatal(err)
		}
	}
	return body.Kind
}

// TestRekorLookupOfImages: an image's signature and attestations have lost the
// annotation that proves their entries.
func TestRekorLookupOfImages(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c, registry := cosignV2{s}, e2etest.ReferrersRegistry(t)
	predicate := e2etest.WriteFile(t, t.TempDir(), "predicate", "{}")
	image, unlogged := e2etest.PushImage(t, registry, "signed"), e2etest.PushImage(t, registry, "unlogged")
	verify, attestation := []string{"verify", image}, []string{"verify-attestation", "--type", "custom", image}

	c.sign(t, "sign", image)
	c.accepts(t, append(verify, "--offline")...)
	stripBundle(t, image, ".sig", 1)
	c.refuses(t, "offline verification failed", append(verify, "--offline")...)
	c.accepts(t, verify...)

	attest := []string{"attest", "--type", "custom", "--predicate", predicate, image}
	c.sign(t, append(attest, "--rekor-entry-type", "dsse")...)
	stripBundle(t, image, ".att", 1)
	c.accepts(t, attestation...)
	c.sign(t, append(attest, "--rekor-entry-type", "intoto", "--replace")...)
	stripBundle(t, image, ".att", 1)
	c.refuses(t, "offline verification failed", append(attestation, "--offline")...)
	c.accepts(t, attestation...)

	c.sign(t, "sign", "--tlog-upload=false", unlogged)
	c.refuses(t, notInLog, "verify", unlogged)
}

// stripBundle takes the log's bundle off every layer stored by tag, of which
// there are as many as wanted.
func stripBundle(t *testing.T, image, suffix string, want int) {
	t.Helper()
	repository, digest, ok := strings.Cut(image, "@")
	host, path, ok2 := strings.Cut(repository, "/")
	if !ok || !ok2 {
		t.Fatalf("image %q", image)
	}
	url := fmt.Sprintf("http://%s/v2/%s/manifests/%s%s", host, path, strings.Replace(digest, ":", "-", 1), suffix)
	_, manifest := e2etest.Get(t, url)
	var m object
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatalf("manifest %s: %v", manifest, err)
	}
	stripped := 0
	for _, layer := range m["layers"].([]any) {
		annotations := layer.(object)["annotations"].(object)
		if _, ok := annotations["dev.sigstore.cosign/bundle"]; ok {
			delete(annotations, "dev.sigstore.cosign/bundle")
			stripped++
		}
	}
	if stripped != want {
		t.Fatalf("%d layers of %s had a bundle, want %d", stripped, manifest, want)
	}
	put(t, url, m["mediaType"].(string), []byte(text(m)))
}

func put(t *testing.T, url, contentType string, body []byte) {
	t.Helper()
	if status, answer := e2etest.Send(t, http.MethodPut, url, contentType, body); status != http.StatusCreated {
		t.Fatalf("put %s: %d %s", url, status, answer)
	}
}
