package oci_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// registryHandler is go-containerregistry's, with the Referrers API or without.
func registryHandler(referrers bool) http.Handler {
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	return registry.New(quiet, registry.WithReferrersSupport(referrers))
}

func serve(tb testing.TB, h http.Handler) (host string) {
	tb.Helper()
	server := httptest.NewServer(h)
	tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// registries runs a test against each kind of registry there is.
func registries(t *testing.T, test func(t *testing.T, host string)) {
	t.Helper()
	t.Run("referrers API", func(t *testing.T) { t.Parallel(); test(t, serve(t, registryHandler(true))) })
	t.Run("no API", func(t *testing.T) { t.Parallel(); test(t, serve(t, registryHandler(false))) })
	t.Run("docker-registry", func(t *testing.T) { t.Parallel(); test(t, dockerRegistry(t)) })
}

// dockerRegistry starts Debian's docker-registry, which has no Referrers API.
func dockerRegistry(t *testing.T) (host string) {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed; make deps installs it")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	host = listener.Addr().String()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", dir, host), 0o600))
	must(t, listener.Close())
	cmd := exec.Command(bin, "serve", config)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			_ = resp.Body.Close()
			return host
		}
	}
	t.Fatal("docker-registry did not listen within 20 s")
	return ""
}

// pushImage pushes an image with random content and returns its digest.
func pushImage(tb testing.TB, ref string) v1.Hash {
	tb.Helper()
	img, err := random.Image(64, 1)
	must(tb, err)
	must(tb, remote.Write(parse(tb, ref), img))
	h, err := img.Digest()
	must(tb, err)
	return h
}

func pushIndex(tb testing.TB, ref string) v1.Hash {
	tb.Helper()
	index, err := random.Index(64, 1, 2)
	must(tb, err)
	must(tb, remote.WriteIndex(parse(tb, ref), index))
	h, err := index.Digest()
	must(tb, err)
	return h
}

func parse(tb testing.TB, ref string) name.Reference {
	tb.Helper()
	parsed, err := name.ParseReference(ref)
	must(tb, err)
	return parsed
}

// signer is a session and what verifies its signatures.
type signer struct {
	session *signing.Session
	trusted *signing.TrustRoot
	id      *signing.Identity
}

func newSigner(tb testing.TB, s *signingtest.Stack, email string) signer {
	tb.Helper()
	trustedRoot, config := s.KitFiles(tb)
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, config)
	must(tb, err)
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: kit, Token: signing.StaticToken(s.Token(email)), Now: s.Now, Log: slog.New(slog.DiscardHandler),
	})
	must(tb, err)
	id, err := signing.NewIdentity(email, "", s.Issuer(), "")
	must(tb, err)
	return signer{session, kit.Trusted, id}
}

func demo(tb testing.TB) signer {
	tb.Helper()
	return newSigner(tb, signingtest.New(tb, time.Now), signingtest.Email)
}

func (s signer) sign(tb testing.TB, ref string, style oci.Style, annotations map[string]string) oci.Signature {
	tb.Helper()
	got, err := oci.New(oci.Options{Now: time.Now}).Sign(tb.Context(), s.session, ref, style, annotations)
	must(tb, err)
	return got
}

func (s signer) attest(tb testing.TB, ref string, style oci.Style, predicateType, predicate string) oci.Signature {
	tb.Helper()
	got, err := oci.New(oci.Options{Now: time.Now}).Attest(tb.Context(), s.session, ref, style, predicateType, []byte(predicate))
	must(tb, err)
	return got
}

func (s signer) verify(ctx context.Context, ref string, annotations map[string]string) (oci.Verified, error) {
	return oci.New(oci.Options{}).Verify(ctx, ref, s.trusted, s.id, annotations)
}

func (s signer) verifyAttestation(ctx context.Context, ref string, predicateTypes ...string) (oci.Verified, error) {
	return oci.New(oci.Options{}).VerifyAttestation(ctx, ref, s.trusted, s.id, predicateTypes...)
}

func styles() []oci.Style { return []oci.Style{oci.Referrer, oci.Tag} }

// wantError demands an error of type E whose text holds all the parts.
func wantError[E error](t *testing.T, err error, parts ...string) {
	t.Helper()
	var want E
	if !asError(err, &want) {
		t.Fatalf("got error %v (%T), want a %T", err, err, want)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want %q in it", err, part)
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
