package replicas_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// TestThreeReplicas kills the leader of three: one of the others leads, the last follows
// it, and all three do when the first is back.
func TestThreeReplicas(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	issuer := testissuer.Start(t)
	a, b := startTwo(t, issuer.URL)
	conf, err := config.Load(filepath.Join(b.Dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	url := conf.Database.URLFile
	if !filepath.IsAbs(url) {
		url = filepath.Join(b.Dir, url)
	}
	dir := filepath.Join(t.TempDir(), "c")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", dir, "--name", "c", "--address", e2etest.FreeAddress(t),
		"--listen", e2etest.FreeAddress(t), "--database-url-file", url)
	c := &replica{t: t, name: "c", args: b.args}
	c.start(dir)
	if got := c.leader(t); got != "a" {
		t.Fatalf("%q leads, want a, which was started first", got)
	}
	before, status, answer := a.add(t)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	a.Kill()
	killed := time.Now()
	b.wantWrites(t)
	c.wantWrites(t)
	t.Logf("both others take entries %v after the leader was killed", time.Since(killed).Round(time.Millisecond))
	follow(t, before, b, c)
	a.start(a.Dir)
	follow(t, before, a, b, c)
	signsThrough(t, issuer, a, c)
}

// follow demands that replicas name one leader among them, that each shows at once what
// any of them takes, and that each still shows an entry from before.
func follow(t *testing.T, before string, all ...*replica) {
	t.Helper()
	leader := all[0].leader(t)
	if leader != "b" && leader != "c" {
		t.Errorf("%q leads, want b or c", leader)
	}
	for _, by := range all {
		if got := by.leader(t); got != leader {
			t.Errorf("%s says that %q leads, %s says %q", by.name, got, all[0].name, leader)
		}
		by.wantShown(t, before)
		id, status, answer := by.add(t)
		if status != http.StatusCreated {
			t.Fatalf("replica %s answers %d: %s", by.name, status, answer)
		}
		for _, other := range all {
			other.wantShown(t, id)
		}
	}
}
