package replicas_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// removedWithin is how soon a replica that was removed is heard no more.
const removedWithin = 3 * time.Second

// TestRemovedReplica: a follower that is removed while it runs can hand nothing to the
// leader any more, nor sign by itself; and the leader goes on when it is removed too.
func TestRemovedReplica(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	a, b := startTwo(t, testissuer.Start(t).URL)
	a.wantWrites(t)
	b.wantWrites(t) // over a connection to a, which stays open
	if r := a.run(t, "replica", "remove", "b"); r.Code != 1 || !strings.Contains(r.Stderr, "it is alive: stop it first") {
		t.Fatalf("remove of one that is alive: %d %s", r.Code, r.Stderr)
	}
	if r := a.run(t, "replica", "remove", "b", "--force"); r.Code != 0 {
		t.Fatalf("remove: %d %s", r.Code, r.Stderr)
	}
	began := time.Now()
	for {
		_, status, answer := b.add(t)
		if status == http.StatusServiceUnavailable {
			break
		}
		if time.Since(began) > removedWithin {
			t.Fatalf("%v after it was removed, b answers %d: %s", removedWithin, status, answer)
		}
	}
	t.Logf("b takes nothing any more %v after it was removed", time.Since(began))
	if status, body := e2etest.Get(t, b.at+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(string(body), "removed") {
		t.Errorf("readyz of b: %d %s", status, body)
	}
	if r := b.run(t, "status"); r.Code != 1 || !strings.Contains(r.Stdout, "was REMOVED") {
		t.Errorf("status of b: %d %s", r.Code, r.Stdout)
	}
	a.wantWrites(t)
	b.Stop()
	if _, err := e2etest.TryStart(t, b.Dir, b.args...); err == nil || !strings.Contains(err.Error(), "not one of the fleet") {
		t.Errorf("b started again: %v", err)
	}
	if r := a.run(t, "replica", "list"); strings.Contains(r.Stdout, "\nb ") {
		t.Errorf("b is listed:\n%s", r.Stdout)
	}
}
