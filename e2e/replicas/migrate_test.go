package replicas_test

import (
	"net/http"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/pgtest"
)

// TestUpgradeOfReplicas gives stopped replicas the schema of the version before: they do
// not start with it, say what to do, and go on with all they had once that was done.
func TestUpgradeOfReplicas(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	_, db := pgtest.Start(t)
	a, b := startTwoOn(t, db, testissuer.Start(t).URL, issuanceLimits)
	id, status, answer := a.add(t)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	a.Stop()
	b.Stop()
	db.Exec(t, "SET search_path = sigstack_fleet", "DROP FUNCTION take_issuances", "DROP TABLE Issuances",
		"DELETE FROM goose_db_version WHERE version_id = 3")
	run := func(args ...string) e2etest.Result {
		return e2etest.Run(t, nil, e2etest.Sigstack(t), append(args, "--dir", a.Dir)...)
	}
	if r := run("up"); r.Code == 0 || !strings.Contains(r.Stderr, "sigstack db migrate") {
		t.Errorf("start with an older schema: exit %d: %s, want it refused and told what to do", r.Code, r.Stderr)
	}
	if r := run("db", "status"); r.Code != 1 || !strings.Contains(r.Stdout, "sigstack_fleet") {
		t.Errorf("db status: exit %d: %s%s, want 1", r.Code, r.Stdout, r.Stderr)
	}
	for range 2 { // it may be repeated
		if r := run("db", "migrate"); r.Code != 0 {
			t.Fatalf("db migrate: exit %d: %s", r.Code, r.Stderr)
		}
	}
	if r := run("db", "status"); r.Code != 0 {
		t.Errorf("db status after that: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	a.start(a.Dir)
	b.start(b.Dir)
	b.wantShown(t, id)
	a.wantWrites(t)
	if status, answer := b.certificate(t, b.Token(t), e2etest.DemoUser); status != http.StatusOK {
		t.Errorf("certificate: %d %s", status, answer)
	}
}
