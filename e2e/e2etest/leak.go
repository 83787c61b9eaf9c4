package e2etest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// leaks are the shapes of secrets, which nothing that the program writes for
// others may have.
var leaks = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a token", regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)},
	{"a private key", regexp.MustCompile(`PRIVATE KEY`)},
	{"a bearer token", regexp.MustCompile(`(?i)bearer\s+[A-Za-z0-9._~+/-]{16,}`)},
}

// secrets are values that this run made up: passwords and passphrases.
var secrets struct {
	mu     sync.Mutex
	values []string // guarded by mu
}

// shortestSecret is the least number of bytes that do not occur by chance.
const shortestSecret = 6

// KeepSecret has every later check for leaks look for value too.
func KeepSecret(value string) {
	if len(value) < shortestSecret {
		return
	}
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	secrets.values = append(secrets.values, value)
}

// findLeak says what secret text holds, and in which line; "" for none. The
// secret itself is not repeated.
func findLeak(text []byte) string {
	at := func(what string, offset int) string {
		line := 1 + bytes.Count(text[:offset], []byte("\n"))
		start := 1 + bytes.LastIndexByte(text[:offset], '\n')
		return fmt.Sprintf("%s in line %d, after %.200q", what, line, text[max(start, offset-200):offset])
	}
	for _, leak := range leaks {
		if found := leak.pattern.FindIndex(text); found != nil {
			return at(leak.what, found[0])
		}
	}
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	for _, value := range secrets.values {
		if offset := bytes.Index(text, []byte(value)); offset >= 0 {
			return at("a password or passphrase", offset)
		}
	}
	return ""
}

// WantNoLeak fails the test if text, which where names, holds a secret.
func WantNoLeak(t *testing.T, where string, text []byte) {
	t.Helper()
	if leak := findLeak(text); leak != "" {
		t.Errorf("%s holds %s", where, leak)
	}
}

// WantNoLeakInAudit is WantNoLeak for the audit log in a stack's data directory,
// and for those of its processes. There must be one.
func WantNoLeakInAudit(t *testing.T, dir string) {
	t.Helper()
	searched := 0
	for _, pattern := range []string{"audit/*.jsonl", "processes/*/audit/*.jsonl"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Errorf("look for secrets: %v", err)
			}
			WantNoLeak(t, path, data)
			searched++
		}
	}
	if searched == 0 {
		t.Errorf("%s has no audit log to look for secrets in", dir)
	}
}

// keepDemoPassword makes a secret of the password of a stack's demo user.
func keepDemoPassword(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "demo-user"))
	if err != nil {
		return err
	}
	_, password, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	KeepSecret(password)
	return nil
}
