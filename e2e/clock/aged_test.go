package clock

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	sgtuf "github.com/sigstore/sigstore-go/pkg/tuf"

	"sigstack/e2e/e2etest"
	"sigstack/internal/httpd"
)

func decode(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, path)), into); err != nil {
		t.Fatal(err)
	}
}

// refusals are how clients word that a role has expired.
var refusals = map[string]map[string]*regexp.Regexp{
	"cosign v3":   {"timestamp": regexp.MustCompile(`timestamp\S* .*expired`), "root": regexp.MustCompile(`root\S* .*expired`)},
	"cosign v2":   {"timestamp": regexp.MustCompile(`timestamp\S* .*expired`), "root": regexp.MustCompile(`root\S* .*expired`)},
	"sigstore-go": {"timestamp": regexp.MustCompile(`timestamp\S* .*expired`), "root": regexp.MustCompile(`root\S* .*expired`)},
}

// ask has each client initialise from a repository, by the real clock, and returns
// what they said: nothing where they succeeded.
func (m *machine) ask(t *testing.T, url string) map[string]string {
	t.Helper()
	said := map[string]string{}
	root := filepath.Join(m.dir, "client", "root.json")
	for name, program := range map[string]string{"cosign v3": "cosign-v3", "cosign v2": "cosign-v2"} {
		r := e2etest.Run(t, []string{"TUF_ROOT=" + filepath.Join(t.TempDir(), "tuf")}, e2etest.Client(t, program), "initialize", "--mirror", url, "--root", root)
		if r.Code != 0 {
			said[name] = r.Stdout + r.Stderr
		}
	}
	opts := sgtuf.DefaultOptions().WithRepositoryBaseURL(url).WithRoot([]byte(e2etest.ReadFile(t, root))).WithCachePath(t.TempDir())
	c, err := sgtuf.New(opts)
	if err == nil {
		_, err = c.GetTarget("trusted_root.json")
	}
	if err != nil {
		said["sigstore-go"] = err.Error()
	}
	return said
}

// wantRefused demands that every client names the role that has expired.
func wantRefused(t *testing.T, when, role string, said map[string]string) {
	t.Helper()
	for name, words := range refusals {
		if !words[role].MatchString(said[name]) {
			t.Errorf("%s: %s said %q, want that the %s expired", when, name, said[name], role)
		}
	}
}

func wantAccepted(t *testing.T, when string, said map[string]string) {
	t.Helper()
	for name, words := range said {
		t.Errorf("%s: %s refused: %s", when, name, words)
	}
}

// mirror serves a copy of the repository as it is now, for ever.
func (m *machine) mirror(t *testing.T) (url string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(m.dir, "tuf"))); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestStoppedForTooLong: a stack ran 40 days ago. Clients refuse what it left, for the
// reason that it is; the next start says so and heals.
func TestStoppedForTooLong(t *testing.T) {
	m := newMachine(t, -40*day)
	m.start(t, "--tuf-profile", "connected")
	m.stop(t)
	mirror := m.mirror(t)
	wantRefused(t, "what was left", "timestamp", m.ask(t, mirror))

	m.set(t, 0)
	m.start(t)
	wantAccepted(t, "started again", m.ask(t, m.url+"/tuf"))
	wantRefused(t, "the copy of what was left", "timestamp", m.ask(t, mirror))
	if s := m.tuf(t); s.Status != httpd.OK {
		t.Errorf("got %+v, want ok", s)
	}
	logs := m.stop(t)
	for _, role := range []string{"snapshot", "timestamp"} {
		said := 0
		for line := range strings.Lines(logs) {
			if strings.Contains(line, `msg="tuf metadata expired while the stack was stopped"`) && strings.Contains(line, " role="+role+" ") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("the start did not say once that the %s had expired:\n%s", role, logs)
		}
	}
}

// TestRootExpired: nobody signed the root for more than a year. The stack says so and
// serves; clients refuse until the root is signed again, and then start from the very
// first root.
func TestRootExpired(t *testing.T) {
	m := newMachine(t, -400*day)
	m.start(t, "--tuf-profile", "connected")
	m.stop(t)
	wantRefused(t, "what was left", "root", m.ask(t, m.mirror(t)))

	m.set(t, 0)
	m.start(t)
	wantRefused(t, "started again", "root", m.ask(t, m.url+"/tuf"))
	for _, role := range []string{"root", "targets"} {
		if s, want := m.tuf(t), role+" metadata EXPIRED at "; s.Status != httpd.Warn || !strings.Contains(s.Detail, want) {
			t.Errorf("got %+v, want a warning with %q", s, want)
		}
	}
	m.renew(t)
	wantAccepted(t, "signed again", m.ask(t, m.url+"/tuf"))
	eventually(t, "the warning's end", func() bool { return m.tuf(t).Status == httpd.OK })
	if logs := m.stop(t); strings.Count(logs, "docs/operations/expiry.md") != 2 {
		t.Errorf("the start did not say what to do about root and targets:\n%s", logs)
	}
}
