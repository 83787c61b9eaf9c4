package e2etest

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/pgtest"
	"sigstack/internal/pki"
)

// runWithin bounds one run of a client.
const runWithin = 2 * time.Minute

// program is the binary under test, which Main builds.
var program string

// Main builds sigstack, runs the tests of a package and returns the exit code.
func Main(m *testing.M) (code int) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "sigstack-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := currentMode().check(); err != nil {
		return 0, err
	}
	trusted.placeIn(dir)
	program = filepath.Join(dir, "sigstack")
	build := exec.Command("go", "build", "-o", program, "sigstack/cmd/sigstack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build sigstack: %w\n%s", err, out)
	}
	return pgtest.Main(m), nil
}

// Sigstack is the path of the program under test.
func Sigstack(t *testing.T) string {
	t.Helper()
	if program == "" {
		t.Fatal("TestMain does not call e2etest.Main")
	}
	return program
}

// Client is the path of an upstream client that `make clients` put there.
func Client(t *testing.T, name string) string {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "bin", "clients", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make clients` first", err)
	}
	return path
}

// repository is the root of the source tree.
var repository = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
})

// Result is how a program ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run executes a program in an environment that knows nothing of this machine's
// own trust settings but what env adds.
func Run(t *testing.T, env []string, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = Environment(t, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", name, err)
	}
	if name == program {
		WantNoLeak(t, "stderr of sigstack "+strings.Join(args, " "), stderr.Bytes())
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Environment is that of a client: an empty home, trust in the TLS of the stacks
// that run, and what more adds.
func Environment(t *testing.T, more ...string) []string {
	t.Helper()
	return slices.Concat([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "COSIGN_PASSWORD="}, trusted.env(), more)
}

// MustRun is Run for what has to succeed; it returns stdout.
func MustRun(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	r := Run(t, env, name, args...)
	if r.Code != 0 {
		t.Fatalf("%s %s: exit %d\n%s%s", filepath.Base(name), strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// WantAccepted fails the test unless r is a success.
func WantAccepted(t *testing.T, who string, r Result) {
	t.Helper()
	if r.Code != 0 {
		t.Errorf("%s refused: exit %d\n%s%s", who, r.Code, r.Stdout, r.Stderr)
	}
}

// WriteFile makes a file and returns its path.
func WriteFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ReadFile returns a file's content.
func ReadFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Get fetches a URL and returns status and body.
func Get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, body, err := do(HTTP, req)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

// Send makes a request with a body and returns status and answer.
func Send(t *testing.T, method, url, contentType string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	status, answer, err := do(HTTP, req)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// Post sends JSON and returns status and body. It may be called by goroutines
// that cannot end a test.
func Post(ctx context.Context, client *http.Client, url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return do(client, req)
}

func do(client *http.Client, req *http.Request) (int, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if leak := findLeak(body); leak != "" && resp.StatusCode >= http.StatusBadRequest {
		err = errors.Join(err, fmt.Errorf("the answer %s of %s holds %s", resp.Status, req.URL.Path, leak))
	}
	return resp.StatusCode, body, errors.Join(err, resp.Body.Close())
}

// PublicPEM encodes a public key.
func PublicPEM(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	spki, err := pki.MarshalPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pki.PublicKeyPEM(spki))
}
