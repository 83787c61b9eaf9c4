package tuf_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	sgtuf "github.com/sigstore/sigstore-go/pkg/tuf"

	"sigstack/internal/trust"
	"sigstack/services/tuf"
)

func TestFilesAreServed(t *testing.T) {
	s := newStack(t, time.Now)
	trusted, err := s.material.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	immutable := "public, max-age=31536000, immutable"
	for _, c := range []struct{ path, contentType, cache string }{
		{"/tuf/timestamp.json", "application/json", "no-cache"},
		{"/tuf/1.root.json", "application/json", immutable},
		{"/tuf/1.snapshot.json", "application/json", immutable},
		{"/tuf/1.targets.json", "application/json", immutable},
		{"/tuf/targets/" + trust.RootSHA256(trusted) + ".trusted_root.json", "application/json", immutable},
		{"/client/root.json", "application/json", "no-cache"},
		{"/client/trusted_root.json", "application/json", "no-cache"},
		{"/client/fulcio.crt.pem", "application/x-pem-file", "no-cache"},
		{"/client/rekor.pub", "application/x-pem-file", "no-cache"},
		{"/client/env.sh", "text/plain; charset=utf-8", "no-cache"},
		{"/client/README.txt", "text/plain; charset=utf-8", "no-cache"},
	} {
		want, err := os.ReadFile(filepath.Join(s.dir, c.path))
		if err != nil {
			t.Fatal(err)
		}
		w := s.get(http.MethodGet, c.path)
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("%s: got %d, %d bytes; want 200, %d bytes", c.path, w.Code, w.Body.Len(), len(want))
		}
		for name, want := range map[string]string{"Content-Type": c.contentType, "Cache-Control": c.cache, "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", c.path, name, got, want)
			}
		}
		if head := s.get(http.MethodHead, c.path); head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("ETag") != w.Header().Get("ETag") {
			t.Errorf("HEAD %s: got %d, %d bytes, %v", c.path, head.Code, head.Body.Len(), head.Header())
		}
		if again := s.get(http.MethodGet, c.path, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s with ETag: got %d, %d bytes; want 304", c.path, again.Code, again.Body.Len())
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	s := newStack(t, time.Now)
	outside := filepath.Join(s.dir, "secret")
	inside := filepath.Join(s.repoDir(), "9.root.json")
	for _, err := range []error{
		os.WriteFile(outside, []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(s.kitDir(), "id_rsa"), []byte("secret"), 0o600),
		os.Symlink("../secret", inside),
		os.Symlink(outside, filepath.Join(s.repoDir(), "8.root.json")),
		os.Mkdir(filepath.Join(s.repoDir(), "7.root.json"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		"/tuf", "/tuf/", "/client", "/client/", "/tuf/targets", "/tuf/targets/",
		"/tuf/2.root.json", "/tuf/.timestamp.next", "/tuf/9.root.json", "/tuf/8.root.json", "/tuf/7.root.json",
		"/tuf/targets/x", "/client/id_rsa", "/client/secret",
		"/tuf/../secret", "/tuf/..%2fsecret", "/tuf/%2e%2e/secret", "/client/..%2f..%2fsecret",
		"/tuf/targets/..%2ftimestamp.json", "/tuf/targets%2f1.root.json", "/client/%2e%2e%2ftuf%2ftimestamp.json",
		"/client/root.json%00", `/client/..\secret`,
	} {
		w := s.get(http.MethodGet, path)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"code":404`) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: got %d %s, want 404", path, w.Code, w.Body)
		}
	}
	if got := s.get(http.MethodGet, "/tuf/2.root.json").Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("missing root: got Cache-Control %q, want no-cache", got)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, path := range []string{"/tuf/timestamp.json", "/client/root.json", "/tuf/targets/x"} {
			if w := s.get(method, path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: got %d, want 405", method, path, w.Code)
			}
		}
	}
	if err := os.RemoveAll(s.kitDir()); err != nil {
		t.Fatal(err)
	}
	if w := s.get(http.MethodGet, "/client/root.json"); w.Code != http.StatusInternalServerError {
		t.Errorf("kit directory gone: got %d, want 500", w.Code)
	}
}

// TestSigstoreClientFromKitAndTUF starts a client with nothing but the kit's
// root.json and the repository's URL.
func TestSigstoreClientFromKitAndTUF(t *testing.T) {
	s := newStack(t, time.Now)
	srv := httptest.NewServer(s.mux)
	defer srv.Close()
	rootJSON, err := os.ReadFile(filepath.Join(s.kitDir(), "root.json"))
	if err != nil {
		t.Fatal(err)
	}
	opts := sgtuf.DefaultOptions().WithRepositoryBaseURL(srv.URL + "/tuf").WithRoot(rootJSON).WithCachePath(t.TempDir())
	client, err := sgtuf.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	for name, render := range map[string]func() ([]byte, error){
		trust.TrustedRootName:   s.material.TrustedRoot,
		trust.SigningConfigName: s.material.SigningConfig,
	} {
		want, err := render()
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.GetTarget(name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	tr, err := root.GetTrustedRoot(client)
	if err != nil || len(tr.RekorLogs()) != 1 {
		t.Errorf("trusted root: %v", err)
	}
}

func TestWriteKit(t *testing.T) {
	s := newStack(t, time.Now)
	kit := trust.Kit{Material: s.material, RootJSON: s.repo.RootJSON(), URL: stackURL}
	stray := filepath.Join(s.kitDir(), "mine.txt")
	if err := os.WriteFile(stray, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.kitDir(), "rekor.pub")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	kit.Material.TSAs, kit.Material.TSAServices = nil, nil
	if err := tuf.WriteKit(s.kitDir(), kit); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged file was written again (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(s.kitDir(), "tsa.crt.pem")); !os.IsNotExist(err) {
		t.Errorf("tsa.crt.pem of the old kit: got %v, want it gone", err)
	}
	if _, err := os.Stat(stray); err != nil {
		t.Errorf("a stranger's file: %v", err)
	}
	kit.URL = "nowhere"
	if err := tuf.WriteKit(s.kitDir(), kit); err == nil {
		t.Error("a kit without URL was written")
	}
}
