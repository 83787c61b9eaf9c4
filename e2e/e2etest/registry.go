package e2etest

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryReadyWithin bounds the wait for Debian's registry to listen.
const registryReadyWithin = 30 * time.Second

// ReferrersRegistry serves go-containerregistry's registry, which has the
// referrers API of OCI 1.1, until the test ends. It returns HOST:PORT.
func ReferrersRegistry(t *testing.T) string {
	t.Helper()
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), quiet))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// PlainRegistry runs Debian's docker-registry, which knows nothing of
// referrers, until the test ends. It returns HOST:PORT.
func PlainRegistry(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatalf("%v: run `make deps` first", err)
	}
	// It cannot tell which port it chose, so one is chosen for it.
	address, dir := FreeAddress(t), t.TempDir()
	config := WriteFile(t, dir, "config.yml", fmt.Sprintf(
		"version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "data"), address))
	cmd := exec.Command(program, "serve", config) // ended by the cleanup
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Logf("docker-registry: %v", err)
		}
	})
	ticks, late := time.NewTicker(20*time.Millisecond), time.After(registryReadyWithin)
	defer ticks.Stop()
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("docker-registry ended: %v", err)
		case <-late:
			t.Fatalf("docker-registry does not answer at %s after %v", address, registryReadyWithin)
		case <-ticks.C:
			if answers(t, "http://"+address+"/v2/") {
				return address
			}
		}
	}
}

func answers(t *testing.T, url string) bool {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// PushImage puts a small random image into a registry, and returns its
// reference by digest.
func PushImage(t *testing.T, registry, repository string) string {
	t.Helper()
	image, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	repo := registry + "/" + repository
	tag, err := name.ParseReference(repo + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return repo + "@" + digest.String()
}
