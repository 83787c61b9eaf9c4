package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

// rekorCLI is rekor-cli with a home of its own, where it keeps what it has seen
// of the log.
type rekorCLI struct {
	server string
	home   string
	key    string // PEM of the log's key; "": the one that the server names
}

func (c rekorCLI) run(t *testing.T, args ...string) e2etest.Result {
	t.Helper()
	env := []string{"HOME=" + c.home}
	if c.key != "" {
		env = append(env, "REKOR_REKOR_SERVER_PUBLIC_KEY="+c.key)
	}
	args = append(args, "--rekor_server", c.server, "--retry", "0")
	return e2etest.Run(t, env, e2etest.Client(t, "rekor-cli"), args...)
}

func (c rekorCLI) must(t *testing.T, args ...string) string {
	t.Helper()
	r := c.run(t, args...)
	if r.Code != 0 {
		t.Fatalf("rekor-cli %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// refused wants a failure for the reason given.
func (c rekorCLI) refused(t *testing.T, reason string, args ...string) {
	t.Helper()
	r := c.run(t, args...)
	if r.Code == 0 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("rekor-cli %s: exit %d, want a refusal because of %q\n%s%s", strings.Join(args, " "), r.Code, reason, r.Stdout, r.Stderr)
	}
}

// upload uploads and returns index and ID of the entry.
func (c rekorCLI) upload(t *testing.T, args ...string) (index, id string) {
	t.Helper()
	out := c.must(t, append([]string{"upload"}, args...)...)
	m := regexp.MustCompile(`^Created entry at index (\d+), available at: ` + regexp.QuoteMeta(c.server) + `/api/v1/log/entries/([0-9a-f]{80})\n$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("upload answered %q", out)
	}
	return m[1], m[2]
}

// wantFound searches and wants these entries, in any order.
func (c rekorCLI) wantFound(t *testing.T, ids []string, args ...string) {
	t.Helper()
	found := strings.Fields(c.must(t, append([]string{"search"}, args...)...))
	if len(found) != len(ids) {
		t.Errorf("search %v found %q, want %q", args, found, ids)
	}
	for _, id := range ids {
		if !strings.Contains(strings.Join(found, " "), id) {
			t.Errorf("search %v found %q, without %s", args, found, id)
		}
	}
}

// artifact is a signed file as rekor-cli takes it: paths, and its SHA-256 in hex.
type artifact struct {
	file, signature, key, sha string
}

func (a artifact) args() []string { return a.with(a.key) }

func (a artifact) with(key string) []string {
	return []string{"--artifact", a.file, "--signature", a.signature, "--public-key", key, "--pki-format", "x509"}
}

// newArtifact signs data with a key pair.
func newArtifact(t *testing.T, s tlogtest.Signer, data string) artifact {
	t.Helper()
	dir := t.TempDir()
	digest := sha256.Sum256([]byte(data))
	sig, err := s.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return artifact{
		e2etest.WriteFile(t, dir, "artifact", data), e2etest.WriteFile(t, dir, "artifact.sig", string(sig)),
		e2etest.WriteFile(t, dir, "key.pub", string(s.Material)), shaOf(data),
	}
}

// TestRekorCLI is the life of a few entries: uploaded, got, verified, searched,
// with the key of the kit and with the one that the server names, over a restart.
func TestRekorCLI(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	pinned := rekorCLI{s.URL, t.TempDir(), e2etest.ReadFile(t, s.Kit("rekor.pub"))}
	onFirstUse := rekorCLI{server: s.URL, home: t.TempDir()}
	signer := tlogtest.NewSigner(t)
	a, b := newArtifact(t, signer, "first artifact\n"), newArtifact(t, signer, "second artifact\n")

	index, id := pinned.upload(t, a.args()...)
	if again, sameID := onFirstUse.upload(t, "--artifact-hash", a.sha, "--signature", a.signature, "--public-key", a.key); again != index || sameID != id {
		t.Errorf("uploaded again by its digest: entry %s %s, want %s %s", again, sameID, index, id)
	}
	second, secondID := onFirstUse.upload(t, "--artifact-hash", "sha256:"+b.sha, "--signature", b.signature, "--public-key", b.key)
	if second == index || secondID == id {
		t.Fatalf("two artifacts are entry %s %s", second, secondID)
	}
	for name, c := range map[string]rekorCLI{"pinned": pinned, "on first use": onFirstUse} {
		t.Run(name, func(t *testing.T) {
			c.wantEntry(t, a, index, id)
			c.wantEntry(t, b, second, secondID)
		})
	}
	before := pinned.logInfo(t, false)

	s.Stop()
	s = e2etest.Start(t, s.Dir)
	if s.URL != pinned.server {
		t.Fatalf("served at %s after the restart, at %s before", s.URL, pinned.server)
	}
	_, thirdID := pinned.upload(t, newArtifact(t, signer, "third artifact\n").args()...)
	after := pinned.logInfo(t, true)
	if after.ActiveTreeSize <= before.ActiveTreeSize || after.TreeID != before.TreeID {
		t.Errorf("log info %+v after the restart and an upload, %+v before", after, before)
	}
	pinned.wantEntry(t, a, index, id)
	pinned.wantFound(t, []string{id, secondID, thirdID}, "--public-key", a.key, "--pki-format", "x509")
	proof := pinned.must(t, "logproof", "--first-size", fmt.Sprint(before.ActiveTreeSize), "--last-size", fmt.Sprint(after.ActiveTreeSize))
	if !strings.Contains(proof, "Current Root Hash: "+after.RootHash) || !regexp.MustCompile(`Hashes: \[[0-9a-f]{64}`).MatchString(proof) {
		t.Errorf("consistency proof %q, want one to %s", proof, after.RootHash)
	}
}

// wantEntry gets, verifies and searches one artifact's entry.
func (c rekorCLI) wantEntry(t *testing.T, a artifact, index, id string) {
	t.Helper()
	for _, by := range [][]string{{"--uuid", id}, {"--uuid", id[16:]}, {"--log-index", index}} {
		out := c.must(t, append([]string{"get"}, by...)...)
		if !strings.Contains(out, "Index: "+index+"\n") || !strings.Contains(out, "UUID: "+id+"\n") || !strings.Contains(out, a.sha) {
			t.Errorf("get %v: %s", by, out)
		}
	}
	for _, by := range [][]string{a.args(), {"--uuid", id}, {"--log-index", index}, {
		"--artifact-hash", a.sha, "--signature", a.signature, "--public-key", a.key,
	}} {
		out := c.must(t, append([]string{"verify"}, by...)...)
		if !strings.Contains(out, "Entry Hash: "+id[16:]+"\n") || !strings.Contains(out, "Entry Index in Current Tree: "+index+"\n") {
			t.Errorf("verify %v: %s", by, out)
		}
	}
	c.wantFound(t, []string{id}, "--artifact", a.file)
	c.wantFound(t, []string{id}, "--sha", a.sha)
	c.wantFound(t, []string{id}, "--sha", a.sha, "--public-key", a.key, "--pki-format", "x509", "--operator", "and")
}

type cliLogInfo struct {
	ActiveTreeSize, TotalTreeSize uint64
	RootHash, TreeID              string
}

// logInfo asks for the log's head, which rekor-cli proves consistent with the
// one that it remembers.
func (c rekorCLI) logInfo(t *testing.T, remembers bool) (info cliLogInfo) {
	t.Helper()
	r := c.run(t, "loginfo", "--format", "json")
	if r.Code != 0 {
		t.Fatalf("loginfo: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if forgot := strings.Contains(r.Stderr, "No previous log state stored"); forgot == remembers {
		t.Errorf("loginfo proved nothing: %v, want %v\n%s", forgot, !remembers, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &info); err != nil {
		t.Fatalf("loginfo %q: %v", r.Stdout, err)
	}
	return info
}

// TestRekorCLIEnvelopes uploads one envelope as every kind that rekor-cli makes
// of it.
func TestRekorCLIEnvelopes(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{s.URL, t.TempDir(), e2etest.ReadFile(t, s.Kit("rekor.pub"))}
	signer, dir := tlogtest.NewSigner(t), t.TempDir()
	key := e2etest.WriteFile(t, dir, "key.pub", string(signer.Material))
	subject := sha256.Sum256([]byte("the artifact"))
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"%x"}}]}`, subject)
	envelope := tlogtest.JSON(t, tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(statement), signer))
	file := e2etest.WriteFile(t, dir, "envelope.json", string(envelope))
	changed := e2etest.WriteFile(t, dir, "changed.json", strings.Replace(string(envelope), `"payloadType":"`, `"payloadType":"x`, 1))
	other := e2etest.WriteFile(t, dir, "other.pub", string(tlogtest.NewSigner(t).Material))

	var ids []string
	for kind, member := range map[string]string{"dsse:0.0.1": "DSSEObj", "intoto:0.0.1": "IntotoObj", "intoto:0.0.2": "IntotoObj"} {
		args := []string{"--type", kind, "--artifact", file, "--public-key", key, "--pki-format", "x509"}
		c.refused(t, "entry in log cannot be located", append([]string{"verify"}, args...)...)
		index, id := c.upload(t, args...)
		if out := c.must(t, append([]string{"verify"}, args...)...); !strings.Contains(out, "Entry Hash: "+id[16:]) {
			t.Errorf("%s: verify: %s", kind, out)
		}
		if out := c.must(t, "get", "--log-index", index); !strings.Contains(out, id) || !strings.Contains(out, member) {
			t.Errorf("%s: get: %s", kind, out)
		}
		for bad, how := range map[string][]string{
			"changed envelope": {"--artifact", changed, "--public-key", key},
			"another's key":    {"--artifact", file, "--public-key", other},
		} {
			r := c.run(t, append([]string{"upload", "--type", kind, "--pki-format", "x509"}, how...)...)
			if r.Code == 0 || !regexp.MustCompile(`(?i)verif|signature`).MatchString(r.Stderr) {
				t.Errorf("%s, %s: exit %d: %s%s", kind, bad, r.Code, r.Stdout, r.Stderr)
			}
		}
		ids = append(ids, id)
	}
	c.wantFound(t, ids, "--sha", hex.EncodeToString(subject[:]))
	c.wantFound(t, ids, "--public-key", key, "--pki-format", "x509")
}

// TestRekorCLISearchesIdentities finds what a person signed by the person.
func TestRekorCLISearchesIdentities(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{server: s.URL, home: t.TempDir()}
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", "signed by the demo user\n")
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), blob)
	_, keyed := c.upload(t, newArtifact(t, tlogtest.NewSigner(t), "signed by a key\n").args()...)

	mine := strings.Fields(c.must(t, "search", "--artifact", blob))
	if len(mine) != 1 || mine[0] == keyed {
		t.Fatalf("the blob is found as %q", mine)
	}
	demo := strings.Fields(c.must(t, "search", "--email", strings.ToUpper(e2etest.DemoUser)))
	if !strings.Contains(strings.Join(demo, " "), mine[0]) || strings.Contains(strings.Join(demo, " "), keyed) {
		t.Errorf("entries of %s: %q, want %s among them and not %s", e2etest.DemoUser, demo, mine[0], keyed)
	}
	c.wantFound(t, demo, "--subject", e2etest.DemoUser)
	c.wantFound(t, mine, "--artifact", blob, "--email", e2etest.DemoUser, "--operator", "and")
	c.wantFound(t, append(demo, keyed), "--sha", shaOf("signed by a key\n"), "--email", e2etest.DemoUser, "--operator", "or")
	const none = "no matching entries found"
	c.refused(t, none, "search", "--sha", shaOf("signed by a key\n"), "--email", e2etest.DemoUser, "--operator", "and")
	c.refused(t, none, "search", "--email", "nobody@sigstack.local")
	c.refused(t, none, "search", "--sha", strings.Repeat("ab", 32))
}

func shaOf(data string) string {
	digest := sha256.Sum256([]byte(data))
	return hex.EncodeToString(digest[:])
}

// TestRekorCLIRefuses: what does not hold is refused, each for its reason.
func TestRekorCLIRefuses(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{s.URL, t.TempDir(), e2etest.ReadFile(t, s.Kit("rekor.pub"))}
	signer, dir := tlogtest.NewSigner(t), t.TempDir()
	a, never := newArtifact(t, signer, "logged\n"), newArtifact(t, signer, "never logged\n")
	_, id := c.upload(t, a.args()...)
	other := tlogtest.NewSigner(t)
	otherKey := e2etest.WriteFile(t, dir, "other.pub", string(other.Material))
	stranger := rekorCLI{s.URL, t.TempDir(), string(other.Material)}

	const notThere = "entry in log cannot be located"
	for name, tt := range map[string]struct {
		client rekorCLI
		reason string
		args   []string
	}{
		"verify with another public key": {c, "verifying signature", append([]string{"verify"}, a.with(otherKey)...)},
		"verify what was never logged":   {c, notThere, append([]string{"verify"}, never.args()...)},
		"verify an unknown index":        {c, notThere, []string{"verify", "--log-index", "999999"}},
		"verify an unknown ID":           {c, notThere, []string{"verify", "--uuid", strings.Repeat("ab", 32)}},
		"verify with another log key":    {stranger, "signature on checkpoint did not verify", append([]string{"verify"}, a.args()...)},
		"log info with another log key":  {stranger, "signature on tree head did not verify", []string{"loginfo"}},
		"get with another log key":       {stranger, "unable to verify entry was added to log", []string{"get", "--uuid", id}},
		"upload with another public key": {c, "verifying signature", append([]string{"upload"}, a.with(otherKey)...)},
		"get an unknown ID":              {c, "[404]", []string{"get", "--uuid", strings.Repeat("ab", 32)}},
		"get an ID of another tree":      {c, "[404]", []string{"get", "--uuid", "00000000000000ff" + id[16:]}},
		"get an unknown index":           {c, "[404]", []string{"get", "--log-index", "999999"}},
		"proof beyond the log":           {c, "more than the log has now", []string{"logproof", "--last-size", "999999"}},
		"proof of an unknown tree":       {c, "no such tree", []string{"logproof", "--last-size", "1", "--tree-id", "7"}},
		"search a PGP key that is none":  {c, "PGP public key", []string{"search", "--public-key", a.key, "--pki-format", "pgp"}},
	} {
		t.Run(name, func(t *testing.T) { tt.client.refused(t, tt.reason, tt.args...) })
	}
	t.Run("entry with a bad signature", func(t *testing.T) { c.refusesEntry(t, signer, dir) })
	t.Run("log that forgot", func(t *testing.T) { c.refusesFork(t) })
}

// refusesEntry uploads a prepared entry, which rekor-cli does not look into: the
// server is the one to refuse it.
func (c rekorCLI) refusesEntry(t *testing.T, signer tlogtest.Signer, dir string) {
	t.Helper()
	good := tlogtest.HashedRekord(t, signer, crypto.SHA256, []byte("prepared"))
	file := e2etest.WriteFile(t, dir, "good.json", string(tlogtest.JSON(t, good)))
	c.upload(t, "--entry", file)
	good["spec"].(object)["data"].(object)["hash"].(object)["value"] = shaOf("something else")
	file = e2etest.WriteFile(t, dir, "bad.json", string(tlogtest.JSON(t, good)))
	c.refused(t, "signature does not verify with the public key and the hash", "upload", "--entry", file)
	c.refused(t, "no matching entries found", "search", "--sha", shaOf("something else"))
}

// refusesFork lets rekor-cli remember another head of the log than there was.
func (c rekorCLI) refusesFork(t *testing.T) {
	t.Helper()
	c.must(t, "loginfo")
	c.upload(t, newArtifact(t, tlogtest.NewSigner(t), "one more\n").args()...)
	state := filepath.Join(c.home, ".rekor", "state.json")
	seen := e2etest.ReadFile(t, state)
	note := regexp.MustCompile(`\\n(\d+)\\n([A-Za-z0-9+/]{43}=)\\n`)
	if !note.MatchString(seen) {
		t.Fatalf("no checkpoint in %s", seen)
	}
	forged := note.ReplaceAllString(seen, `\n$1\n`+strings.Repeat("A", 43)+`=\n`)
	e2etest.WriteFile(t, filepath.Dir(state), "state.json", forged)
	c.refused(t, "calculated root:", "loginfo")
	if now := e2etest.ReadFile(t, state); now != forged {
		t.Errorf("the refused head was remembered: %s", now)
	}
}
