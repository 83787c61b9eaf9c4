// Package replicas_test runs one stack as two processes on one PostgreSQL: what is done
// through one holds at the other at once, and either can be killed or stand still.
package replicas_test

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/pgtest"
	"sigstack/services/tlog/tlogtest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// replica is one of the two.
type replica struct {
	*e2etest.Stack

	t    *testing.T // of the whole test, which the process lives as long as
	name string
	at   string // URL of this process alone
	args []string
}

// startTwo makes a stack, makes two replicas of it and starts them, "a" first.
func startTwo(t *testing.T, issuer string) (a, b *replica) {
	t.Helper()
	_, db := pgtest.Start(t)
	return startTwoOn(t, db, issuer, "")
}

// startTwoOn is startTwo on a database, with more lines in config.yaml.
func startTwoOn(t *testing.T, db *pgtest.Database, issuer, lines string) (a, b *replica) {
	t.Helper()
	urlFile := e2etest.WriteFile(t, t.TempDir(), "database-url", db.URL+"\n")
	if err := os.Chmod(urlFile, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--trust-issuer", issuer}
	dir := filepath.Join(t.TempDir(), "a")
	e2etest.Start(t, dir, append([]string{"--database-url-file", urlFile, "--listen", "127.0.0.1:0"}, args...)...).Stop()
	e2etest.WriteFile(t, dir, "config.yaml", e2etest.ReadFile(t, filepath.Join(dir, "config.yaml"))+lines)
	other := filepath.Join(t.TempDir(), "b")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", dir, "--name", "a", "--address", e2etest.FreeAddress(t))
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", other, "--name", "b", "--address", e2etest.FreeAddress(t),
		"--listen", e2etest.FreeAddress(t), "--database-url-file", urlFile)
	a = &replica{t: t, name: "a", args: args}
	a.start(dir)
	b = &replica{t: t, name: "b", args: args}
	b.start(other)
	return a, b
}

func (r *replica) start(dir string) {
	r.t.Helper()
	r.Stack = e2etest.Start(r.t, dir, r.args...)
	r.at = "http://" + strings.TrimSpace(e2etest.ReadFile(r.t, filepath.Join(dir, "run", "address")))
}

// leader is who leads by the list of either replica, "" if nobody does.
func (r *replica) leader(t *testing.T) string {
	t.Helper()
	var out struct {
		Replicas []struct {
			Name  string `json:"name"`
			Leads bool   `json:"leads"`
		} `json:"replicas"`
	}
	text := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "list", "--dir", r.Dir, "--output", "json")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	for _, one := range out.Replicas {
		if one.Leads {
			return one.Name
		}
	}
	return ""
}

// add enters an entry through this replica and returns its id and the answer.
func (r *replica) add(t *testing.T) (id string, status int, answer []byte) {
	t.Helper()
	body := tlogtest.JSON(t, tlogtest.HashedRekord(t, tlogtest.NewSigner(t), crypto.SHA256, []byte(rand.Text())))
	status, answer = e2etest.Send(t, http.MethodPost, r.at+"/api/v1/log/entries", "application/json", body)
	if status != http.StatusCreated {
		return "", status, answer
	}
	return idOf(t, answer), status, answer
}

func idOf(t *testing.T, answer []byte) string {
	t.Helper()
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(answer, &entries); err != nil {
		t.Fatal(err)
	}
	for id := range entries {
		return id
	}
	t.Fatalf("no entry in %s", answer)
	return ""
}

// wantShown demands that a replica shows an entry now.
func (r *replica) wantShown(t *testing.T, id string) {
	t.Helper()
	if status, answer := e2etest.Get(t, r.at+"/api/v1/log/entries/"+id); status != http.StatusOK {
		t.Errorf("replica %s answers %d to an entry that another one acknowledged: %s", r.name, status, answer)
	}
}

// wantWrites waits until entries are taken, and returns how long that was.
func (r *replica) wantWrites(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		_, status, answer := r.add(t)
		if status == http.StatusCreated {
			return time.Since(began)
		}
		if status != http.StatusServiceUnavailable {
			t.Fatalf("replica %s answers %d: %s", r.name, status, answer)
		}
		if time.Since(began) > e2etest.ReadyWithin {
			t.Fatalf("replica %s takes no entries: %s", r.name, answer)
		}
	}
}

// timestamp is the version of TUF's timestamp that a replica shows.
func (r *replica) timestamp(t *testing.T) int64 {
	t.Helper()
	_, data := e2etest.Get(t, r.at+"/tuf/timestamp.json")
	var doc struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Signed.Version
}

// tree is the id of the tree that takes entries.
func (r *replica) tree(t *testing.T) string {
	t.Helper()
	_, data := e2etest.Get(t, r.at+"/api/v1/log")
	var info struct {
		TreeID string `json:"treeID"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		t.Fatal(err)
	}
	return info.TreeID
}

func (r *replica) run(t *testing.T, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append(args, "--dir", r.Dir)...)
}

// signsThrough has cosign sign through one replica, and verify by the other's kit.
func signsThrough(t *testing.T, issuer *testissuer.Issuer, through, by *replica, env ...string) {
	t.Helper()
	dir := t.TempDir()
	config := strings.ReplaceAll(e2etest.ReadFile(t, through.Kit("signing_config.v0.2.json")), through.URL, through.at)
	e2etest.WriteFile(t, dir, "signing_config.json", config)
	blob := e2etest.WriteFile(t, dir, "artifact", rand.Text())
	const who = "somebody@example.com"
	token := issuer.Mint(t, issuer.Claims(who))
	e2etest.MustRun(t, append(env, "SIGSTORE_ID_TOKEN="+token), e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes",
		"--signing-config", filepath.Join(dir, "signing_config.json"), "--trusted-root", through.Kit("trusted_root.json"),
		"--bundle", blob+".bundle", blob)
	identity := []string{"--certificate-identity", who, "--certificate-oidc-issuer", issuer.URL}
	e2etest.WantAccepted(t, "cosign", by.VerifyWithCosign(t, blob, blob+".bundle", identity...))
	e2etest.WantAccepted(t, "sigstack", by.Verify(t, blob, blob+".bundle", identity...))
}

func TestTwoReplicas(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	issuer := testissuer.Start(t)
	a, b := startTwo(t, issuer.URL)
	if got := b.leader(t); got != "a" {
		t.Fatalf("%q leads, want a, which was started first", got)
	}
	t.Run("signed through one, verified through the other", func(t *testing.T) {
		signsThrough(t, issuer, a, b)
		signsThrough(t, issuer, b, a)
	})
	t.Run("an entry is read at the other at once", func(t *testing.T) {
		for range 20 {
			id, status, answer := a.add(t)
			if status != http.StatusCreated {
				t.Fatalf("%d %s", status, answer)
			}
			b.wantShown(t, id)
			if id, status, answer = b.add(t); status != http.StatusCreated {
				t.Fatalf("%d %s", status, answer)
			}
			a.wantShown(t, id)
		}
	})
	t.Run("the built-in issuer is one", func(t *testing.T) { oneIssuer(t, a, b) })
	t.Run("acts are the leader's", func(t *testing.T) { acts(t, a, b) })
	t.Run("the leader is killed", func(t *testing.T) {
		id, _, _ := a.add(t)
		a.Kill()
		t.Logf("entries were taken again after %v", b.wantWrites(t))
		b.wantShown(t, id)
		if got := b.leader(t); got != "b" {
			t.Errorf("%q leads, want b", got)
		}
		before := b.timestamp(t)
		if r := b.run(t, "tuf", "refresh"); r.Code != 0 || b.timestamp(t) <= before {
			t.Errorf("refresh by the new leader: exit code %d, timestamp %d after %d\n%s", r.Code, b.timestamp(t), before, r.Stderr)
		}
		a.start(a.Dir)
		if got, want := a.timestamp(t), b.timestamp(t); got != want {
			t.Errorf("the old leader shows timestamp %d, want %d", got, want)
		}
		signsThrough(t, issuer, a, b)
	})
	t.Run("the leader stands still", func(t *testing.T) { paused(t, issuer, a, b) })
}

// acts are refused by b with the leader's name, and done by a for both.
func acts(t *testing.T, a, b *replica) {
	t.Helper()
	for _, args := range [][]string{{"tuf", "refresh"}, {"reload"}} {
		if r := b.run(t, args...); r.Code == 0 || !strings.Contains(r.Stderr, "a at 127.0.0.1") || !strings.Contains(r.Stderr, "leads") {
			t.Errorf("%v at a follower: exit code %d, %q, want it refused and the leader named", args, r.Code, r.Stderr)
		}
	}
	before := b.timestamp(t)
	if r := a.run(t, "tuf", "refresh"); r.Code != 0 {
		t.Fatalf("refresh: %s", r.Stderr)
	}
	if got, want := b.timestamp(t), a.timestamp(t); got != want || got <= before {
		t.Errorf("after a refresh the follower shows timestamp %d, the leader %d, before it was %d", got, want, before)
	}
	old := b.tree(t)
	if r := a.run(t, "rotate", "log"); r.Code != 0 {
		t.Fatalf("rotate: %s", r.Stderr)
	}
	if got, want := b.tree(t), a.tree(t); got != want || got == old {
		t.Errorf("after the rotation the follower's log is %s, the leader's %s, before it was %s", got, want, old)
	}
	id, status, answer := b.add(t)
	if status != http.StatusCreated || !strings.Contains(e2etest.MustRun(t, nil, e2etest.Sigstack(t), "log", "shard", "list", "--dir", b.Dir), "tlog-2") {
		t.Errorf("an entry in the new shard through the follower: %d %s", status, answer)
	}
	a.wantShown(t, id)
}

// paused stops b, which leads, with a signal: a takes over, changes what both share,
// and b follows when it goes on.
func paused(t *testing.T, issuer *testissuer.Issuer, a, b *replica) {
	t.Helper()
	if err := syscall.Kill(b.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(b.PID(), syscall.SIGCONT) //nolint:errcheck // it goes on already, unless the test has failed
	t.Logf("entries were taken again after %v", a.wantWrites(t))
	if r := a.run(t, "rotate", "tsa", "--close-after", "0s"); r.Code != 0 {
		t.Errorf("rotate while a replica stands still: %s", r.Stderr)
	}
	if err := syscall.Kill(b.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		status, _ := e2etest.Get(t, b.at+"/readyz")
		if status == http.StatusOK && b.timestamp(t) == a.timestamp(t) {
			break
		}
		if time.Since(began) > e2etest.ReadyWithin {
			t.Fatalf("the replica that stood still is not back: /readyz %d, timestamp %d, want %d", status, b.timestamp(t), a.timestamp(t))
		}
	}
	if got := b.leader(t); got != "a" {
		t.Errorf("%q leads, want a", got)
	}
	if a, b := e2etest.ReadFile(t, filepath.Join(a.Dir, "config.yaml")), e2etest.ReadFile(t, filepath.Join(b.Dir, "config.yaml")); a != b {
		t.Error("config.yaml differs")
	}
	signsThrough(t, issuer, b, a)
}
