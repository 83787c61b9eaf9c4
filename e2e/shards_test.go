package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/stack"
	"sigstack/services/tlog/tlogtest"
)

// oneProcess skips what a stack of several processes refuses.
func oneProcess(t *testing.T) {
	t.Helper()
	if e2etest.Split() {
		t.Skip("a split stack gets no further shards: TestShardsOfASplitStack")
	}
}

// shard runs a command about shards.
func shard(t *testing.T, s *e2etest.Stack, command string, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append([]string{"log", "shard", command, "--dir", s.Dir, "--output", "json"}, args...)...)
}

// nextShard prepares a shard and activates it as soon as that is allowed.
func nextShard(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	if r := shard(t, s, "prepare"); r.Code != 0 {
		t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
	}
	activate(t, s)
}

func activate(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) { // what a person does
		r := shard(t, s, "activate")
		if r.Code == 0 {
			return
		}
		if !strings.Contains(r.Stderr, "left, until") || time.Now().After(deadline) {
			t.Fatalf("activate: exit %d\n%s", r.Code, r.Stderr)
		}
	}
}

func shardList(t *testing.T, s *e2etest.Stack) []stack.ShardStatus {
	t.Helper()
	var list stack.ShardList
	r := shard(t, s, "list")
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("shard list: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return list.Shards
}

// TestRekorCLIAcrossShards: upload, get, verify, search, loginfo and logproof
// against two shards, with the keys that the server names for each.
func TestRekorCLIAcrossShards(t *testing.T) {
	oneProcess(t)
	s := e2etest.Start(t, t.TempDir())
	c := rekorCLI{server: s.URL, home: t.TempDir()}
	signer := tlogtest.NewSigner(t)
	old, young := newArtifact(t, signer, "in the first shard\n"), newArtifact(t, signer, "in the second shard\n")
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", "before\n")
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), blob)
	oldIndex, oldID := c.upload(t, old.args()...)
	before := c.logInfo(t, false)

	nextShard(t, s)
	blob2 := e2etest.WriteFile(t, t.TempDir(), "blob", "after\n")
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), blob2)
	youngIndex, youngID := c.upload(t, young.args()...)
	if oldID[:16] == youngID[:16] {
		t.Fatalf("entries %s and %s are in one tree", oldID, youngID)
	}
	c.logInfo(t, false) // of the second tree, whose head it has not seen
	c.upload(t, newArtifact(t, signer, "one more\n").args()...)
	after := c.logInfo(t, true)
	shards := shardList(t, s)
	frozen, first := shards[0], shards[1].First
	// Of the first tree, which the publication of the next key has added to.
	if after.TreeID == before.TreeID || frozen.TreeID != before.TreeID || frozen.Size < before.TotalTreeSize ||
		after.TotalTreeSize != frozen.Size+after.ActiveTreeSize || after.ActiveTreeSize < 3 ||
		after.ActiveTreeSize > 3 && !e2etest.OnReplicas() { // each of which anchors its audit record
		t.Errorf("log info %+v, before the activation %+v, frozen %+v", after, before, frozen)
	}
	for _, e := range []struct {
		artifact
		index, id string
		local     uint64
	}{{old, oldIndex, oldID, number(t, oldIndex)}, {young, youngIndex, youngID, number(t, youngIndex) - first}} {
		for _, by := range [][]string{{"--uuid", e.id}, {"--uuid", e.id[16:]}, {"--log-index", e.index}} {
			out := c.must(t, append([]string{"get"}, by...)...)
			if !strings.Contains(out, "Index: "+e.index+"\n") || !strings.Contains(out, "UUID: "+e.id+"\n") {
				t.Errorf("get %v: %s", by, out)
			}
		}
		for _, by := range [][]string{e.args(), {"--uuid", e.id}, {"--log-index", e.index}} {
			out := c.must(t, append([]string{"verify"}, by...)...)
			if !strings.Contains(out, "Entry Hash: "+e.id[16:]+"\n") || !strings.Contains(out, fmt.Sprintf("Entry Index in Current Tree: %d\n", e.local)) {
				t.Errorf("verify %v: %s", by, out)
			}
		}
		c.wantFound(t, []string{e.id}, "--sha", e.sha)
		c.wantFound(t, []string{e.id}, "--artifact", e.file)
	}
	demo := strings.Fields(c.must(t, "search", "--email", e2etest.DemoUser))
	if !hasPrefix(demo, oldID[:16]) || !hasPrefix(demo, youngID[:16]) {
		t.Errorf("entries of %s: %q, want some of both trees", e2etest.DemoUser, demo)
	}
	byKey := strings.Fields(c.must(t, "search", "--public-key", old.key, "--pki-format", "x509"))
	if len(byKey) != 3 || !hasPrefix(byKey, oldID[:16]) || !hasPrefix(byKey, youngID[:16]) {
		t.Errorf("entries of the key: %q, want 3 of both trees", byKey)
	}
	for _, tree := range shardList(t, s) {
		proof := c.must(t, "logproof", "--tree-id", tree.TreeID, "--first-size", "1", "--last-size", fmt.Sprint(tree.Size))
		if !strings.Contains(proof, "Current Root Hash: "+tree.Root) {
			t.Errorf("consistency proof in tree %s: %q, want one to %s", tree.TreeID, proof, tree.Root)
		}
	}
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func hasPrefix(ids []string, prefix string) bool {
	return regexp.MustCompile(`(^| )` + prefix).MatchString(strings.Join(ids, " "))
}

// TestSignedBeforeVerifiedAfter: what was signed into the first shard verifies when
// a second one takes entries, and what is signed then does too, with one kit and
// by TUF.
func TestSignedBeforeVerifiedAfter(t *testing.T) {
	oneProcess(t)
	s := e2etest.Start(t, t.TempDir())
	v2, dir := cosignV2{s}, t.TempDir()
	oldKit := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	sign := func(name string) (blob string) {
		t.Helper()
		blob = e2etest.WriteFile(t, dir, name, name+"\n")
		s.SignWithCosign(t, blob, blob+".v3")
		e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", blob+".sigstack", blob)
		v2.sign(t, "sign-blob", "--output-signature", blob+".sig", "--output-certificate", blob+".cert", blob)
		return blob
	}
	before := sign("before")
	nextShard(t, s)
	after := sign("after")
	tuf := filepath.Join(t.TempDir(), "tuf")
	for _, client := range []string{"cosign-v2", "cosign-v3"} {
		e2etest.MustRun(t, []string{"TUF_ROOT=" + tuf + client}, e2etest.Client(t, client), "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))
	}
	for _, blob := range []string{before, after} {
		for _, bundle := range []string{blob + ".v3", blob + ".sigstack"} {
			e2etest.WantAccepted(t, "cosign 3, "+bundle, s.VerifyWithCosign(t, blob, bundle, s.IdentityArgs()...))
			e2etest.WantAccepted(t, "sigstack, "+bundle, s.Verify(t, blob, bundle, s.IdentityArgs()...))
			args := append([]string{"verify-blob", "--bundle", bundle, blob}, s.IdentityArgs()...)
			e2etest.WantAccepted(t, "cosign 3 by TUF, "+bundle, e2etest.Run(t, []string{"TUF_ROOT=" + tuf + "cosign-v3"}, e2etest.Client(t, "cosign-v3"), args...))
		}
		online := append([]string{"verify-blob", "--signature", blob + ".sig", "--certificate", blob + ".cert", "--rekor-url", s.URL, blob}, s.IdentityArgs()...)
		e2etest.WantAccepted(t, "cosign 2 by TUF, looking up "+blob, e2etest.Run(t, []string{"TUF_ROOT=" + tuf + "cosign-v2"}, e2etest.Client(t, "cosign-v2"), online...))
	}
	v2.accepts(t, "verify-blob", "--signature", after+".sig", "--certificate", after+".cert", after) // rekor.pub is the key in use

	// Who has not got the new kit accepts the one and not the other: it is the key
	// that makes the difference.
	stale := e2etest.WriteFile(t, t.TempDir(), "trusted_root.json", oldKit)
	check := func(blob string) e2etest.Result {
		t.Helper()
		return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append([]string{"verify-blob", "--trusted-root", stale, "--bundle", blob + ".v3", blob}, s.IdentityArgs()...)...)
	}
	e2etest.WantAccepted(t, "cosign 3 with the old kit", check(before))
	if r := check(after); r.Code == 0 {
		t.Error("cosign 3 accepts an entry of the second shard without its key")
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "audit", "anchor", "--dir", s.Dir)
	if out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "audit", "verify", "--dir", s.Dir); !strings.Contains(out, "log asked   all anchors") {
		t.Errorf("audit verify: %s", out)
	}
}

// TestActivationKilled kills the stack while a shard is activated under load. One
// shard takes entries after each start, and every acknowledged entry is in the
// tree that its answer named, at its index.
func TestActivationKilled(t *testing.T) {
	oneProcess(t)
	dir, notes := t.TempDir(), t.TempDir()
	s := e2etest.Start(t, dir)
	activated := 0
	for round := range 4 {
		load := startLoad(t, s.URL, notes, s.TokenEnv(t))
		before := shardList(t, s)
		if before[len(before)-1].State == stack.ShardActive {
			if r := shard(t, s, "prepare"); r.Code != 0 {
				t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
			}
		}
		for shard(t, s, "status").Code == 0 && waits(t, s) {
			time.Sleep(100 * time.Millisecond)
		}
		ended := make(chan e2etest.Result, 1)
		go func() { ended <- shard(t, s, "activate") }()
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // the random moment
		s.Kill()
		answered := (<-ended).Code == 0
		load.wait()
		s = e2etest.Start(t, dir)
		list := shardList(t, s)
		last := list[len(list)-1]
		if answered && last.State != stack.ShardActive {
			t.Fatalf("round %d: an activation that was answered is gone: %+v", round, list)
		}
		if last.State == stack.ShardActive {
			activated++
		}
		checkShards(t, s, list, readNotes(t, notes))
	}
	t.Logf("%d of 4 activations had happened when the process was killed", activated)
	if list := shardList(t, s); list[len(list)-1].State != stack.ShardActive {
		activate(t, s)
	}
	nextShard(t, s)
}

// waits reports whether the prepared shard cannot be activated yet.
func waits(t *testing.T, s *e2etest.Stack) bool {
	t.Helper()
	var list stack.ShardList
	if err := json.Unmarshal([]byte(shard(t, s, "list").Stdout), &list); err != nil {
		t.Fatal(err)
	}
	return list.Wait > 0
}

// checkShards demands that one shard takes entries, and every acknowledged entry.
func checkShards(t *testing.T, s *e2etest.Stack, list []stack.ShardStatus, acks []acknowledged) {
	t.Helper()
	logs, active := map[string]tlogtest.Log{}, 0
	for _, sh := range list {
		_, key := e2etest.Get(t, s.URL+"/api/v1/log/publicKey?treeID="+sh.TreeID)
		block, _ := pem.Decode(key)
		if sh.State == stack.ShardActive {
			active++
		}
		if block == nil {
			continue // prepared: no client can ask for it
		}
		id := int64(number(t, sh.TreeID))
		logs[fmt.Sprintf("%016x", id)] = tlogtest.Log{Host: "localhost", TreeID: id, Key: block.Bytes, First: sh.First}
	}
	if active != 1 {
		t.Fatalf("%d shards take entries: %+v", active, list)
	}
	seen := map[uint64]string{}
	for _, a := range acks {
		log, ok := logs[a.ID[:16]]
		if !ok {
			t.Fatalf("entry %s is in a tree that is not there", a.ID)
		}
		_, answer := e2etest.Get(t, s.URL+entriesPath+"/"+a.ID)
		e, err := log.CheckEntry(answer)
		if err != nil || e.LogIndex != a.Index || e.IntegratedTime != a.Integrated || !bytes.Equal(e.Body, a.Body) {
			t.Fatalf("acknowledged entry %d %s: %v\n%s", a.Index, a.ID, err, answer)
		}
		if other, twice := seen[a.Index]; twice && other != a.ID {
			t.Fatalf("index %d is that of %s and of %s", a.Index, other, a.ID)
		}
		seen[a.Index] = a.ID
	}
	t.Logf("%d acknowledged entries in %d shards, all there", len(acks), len(logs))
}

// TestShardsOfASplitStack: the acts say where shards are made instead, and those
// that were made before the split are served after it.
func TestShardsOfASplitStack(t *testing.T) {
	oneProcess(t)
	dir := t.TempDir()
	s := e2etest.StartToSplit(t, dir)
	c := rekorCLI{server: s.URL, home: t.TempDir()}
	a := newArtifact(t, tlogtest.NewSigner(t), "before the split\n")
	index, id := c.upload(t, a.args()...)
	nextShard(t, s)
	s.Stop()
	e2etest.StartSplit(t, dir)
	c.wantEntry(t, a, index, id)
	young := newArtifact(t, tlogtest.NewSigner(t), "after the split\n")
	if _, second := c.upload(t, young.args()...); second[:16] == id[:16] {
		t.Errorf("entry %s is in the frozen tree", second)
	}
	for _, process := range []string{"logs", "front"} {
		r := e2etest.Run(t, nil, e2etest.Sigstack(t), "log", "shard", "prepare", "--dir", filepath.Join(dir, "processes", process), "--offline", filepath.Join(dir, "offline"))
		if r.Code != 1 || !strings.Contains(r.Stderr, "before `sigstack split`") {
			t.Errorf("prepare in process %s: exit %d, want that it is refused\n%s", process, r.Code, r.Stderr)
		}
	}
}
