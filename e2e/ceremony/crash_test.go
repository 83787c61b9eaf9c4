package ceremony

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// TestFinishSurvivesKill kills finish as soon as it has written each of the files on
// its way, once for a first root and once for the one after it. Finish again publishes
// what is missing: the same versions, and no file that clients may have seen changes.
func TestFinishSurvivesKill(t *testing.T) {
	r := newRoom(t, "alice", "bob")
	r.start("first", "--root-key", r.pub("alice"), "--root-key", r.pub("bob"), "--root-threshold", "2")
	r.mustSign("first", "alice", "bob")
	before := r.copied()
	for _, made := range []string{"admin.sock", "tuf/targets", "tuf/1.targets.json", "tuf/1.snapshot.json", "tuf/timestamp.json", "tuf/1.root.json", "client/root.json", "client/README.txt"} {
		t.Run("first "+strings.ReplaceAll(made, "/", " "), func(t *testing.T) { before.in(t).wantFinished("first", made, 1) })
	}
	r.mustFinish("first")
	r.start("second", "--renew")
	r.mustSign("second", "bob", "alice")
	before = r.copied()
	for _, made := range []string{"admin.sock", "tuf/2.targets.json", "tuf/2.snapshot.json", "tuf/2.root.json"} {
		t.Run("second "+strings.ReplaceAll(made, "/", " "), func(t *testing.T) { before.in(t).wantFinished("second", made, 2) })
	}
}

// copied is a room whose stack is a copy, with a copy of its database.
func (r *room) copied() *room {
	r.t.Helper()
	to := *r
	to.dir = filepath.Join(r.t.TempDir(), "stack")
	e2etest.MustRun(r.t, nil, "cp", "-a", r.dir, to.dir)
	if r.database == nil {
		return &to
	}
	to.use(r.database.Copy(r.t))
	config := e2etest.ReadFile(r.t, filepath.Join(r.dir, "config.yaml"))
	if changed := strings.ReplaceAll(config, r.shared, to.shared); changed != config {
		e2etest.WriteFile(r.t, to.dir, "config.yaml", changed)
	} else {
		r.t.Fatalf("config.yaml does not name %s:\n%s", r.shared, config)
	}
	return &to
}

// in is a copy for a test of its own.
func (r *room) in(t *testing.T) *room {
	t.Helper()
	own := *r
	own.t = t
	return own.copied()
}

// wantFinished demands that finish, killed when a file appears, can be repeated.
func (r *room) wantFinished(name, made string, version int64) {
	r.t.Helper()
	killed := r.killFinish(name, filepath.Join(r.dir, made))
	seen := r.immutable()
	r.mustFinish(name)
	now := r.immutable()
	for file, content := range seen {
		if now[file] != content {
			r.t.Errorf("%s was rewritten", file)
		}
	}
	for _, role := range r.status()[:2] {
		if role.Version != version {
			r.t.Errorf("%s has version %d, want %d", role.Role, role.Version, version)
		}
	}
	for _, role := range []string{"root", "targets"} {
		if n := countVersions(now, role); n != version {
			r.t.Errorf("%d versions of %s, want %d", n, role, version)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "root-awaited")); !errors.Is(err, os.ErrNotExist) {
		r.t.Errorf("the directory still waits for its root: %v", err)
	}
	r.t.Logf("killed in time: %v", killed)
}

// killFinish runs finish and kills it when a file appears, and reports whether it was
// in time.
func (r *room) killFinish(name, made string) bool {
	r.t.Helper()
	cmd := exec.Command(e2etest.Sigstack(r.t), "tuf", "ceremony", "finish", "--dir", r.dir, "--passphrase-file", r.secret, "--folder", r.folder(name))
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = e2etest.Environment(r.t), &stderr
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	poll := time.NewTicker(50 * time.Microsecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				r.t.Fatalf("finish: %v\n%s", err, stderr.String())
			}
			return false
		case <-poll.C:
		}
		if _, err := os.Lstat(made); err == nil {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				r.t.Fatal(err)
			}
			return <-ended != nil
		}
	}
}

var versionedName = regexp.MustCompile(`^[0-9]+\.(root|targets)\.json$`)

// immutable are the files of the repository that must never change once they are there.
func (r *room) immutable() map[string]string {
	r.t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(r.dir, "tuf"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") && e.Name() != "timestamp.json" {
			files[e.Name()] = e2etest.ReadFile(r.t, filepath.Join(r.dir, "tuf", e.Name()))
		}
	}
	return files
}

func countVersions(files map[string]string, role string) (n int64) {
	for name := range files {
		if m := versionedName.FindStringSubmatch(name); m != nil && m[1] == role {
			n++
		}
	}
	return n
}
