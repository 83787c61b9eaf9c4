package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

// damages are what is done to rows of entries behind the back of everybody, and what a
// check has to say of each. $E is the entry.
var damages = []struct {
	entry      uint64
	sql        string
	kind       string
	what       string
	withEntry  bool // it names the entry
	everywhere bool // it says more, of what follows from it
}{
	{3, `UPDATE LeafData d SET LeafValue = LeafValue || '\x20' FROM SequencedLeafData s
		WHERE s.SequenceNumber = $E AND s.LeafIdentityHash = d.LeafIdentityHash`, "differs", "leaf", true, false},
	{5, `DELETE FROM SequencedLeafData WHERE SequenceNumber = $E`, "missing", "leaf", true, false},
	{1100, `UPDATE SequencedLeafData SET MerkleLeafHash = decode(repeat('ab', 32), 'hex') WHERE SequenceNumber = $E`, "differs", "leaf", true, false},
	{1200, `DELETE FROM ExtraRow WHERE Key = (SELECT Key FROM ExtraRow WHERE substr(Key, 34) = int8send($E) ORDER BY Key LIMIT 1)`, "missing", "search", true, false},
	{1300, `UPDATE ExtraRow SET Value = '\x00' WHERE Key = (SELECT Key FROM ExtraRow WHERE substr(Key, 34) = int8send($E) ORDER BY Key LIMIT 1)`, "differs", "search", true, false},
	{1400, `INSERT INTO ExtraRow (TreeId, Key, Value) SELECT TreeId, substr(Key, 1, 1) || decode(repeat('cd', 32), 'hex') || int8send($E), Value
		FROM ExtraRow ORDER BY Key LIMIT 1`, "extra", "search", false, false},
	{9_000_000, `INSERT INTO ExtraRow (TreeId, Key, Value) SELECT TreeId, substr(Key, 1, 1) || decode(repeat('ef', 32), 'hex') || int8send($E), Value
		FROM ExtraRow ORDER BY Key LIMIT 1`, "extra", "search", false, false},
	{1500, `UPDATE Subtree SET Nodes = set_byte(Nodes, position(h IN Nodes) - 1, get_byte(Nodes, position(h IN Nodes) - 1) # 1)
		FROM (SELECT MerkleLeafHash h FROM SequencedLeafData WHERE SequenceNumber = $E) s WHERE position(h IN Nodes) > 0`, "differs", "node", true, true},
}

// rootless is what no tree can be opened with.
const rootless = `UPDATE TreeHead SET RootHash = decode(repeat('00', 32), 'hex')`

// report is what `log fsck --output json` prints.
type report struct {
	Logs []struct {
		Entries, Rows uint64
	}
	Problems []problem
	Count    uint64
}

type problem struct {
	Kind, What, Log, Where, Detail string
	Index                          *uint64
}

// TestFsckNamesEachDamage damages a log of some thousand entries in the database, and has
// `log fsck` name all that it did, in one run.
func TestFsckNamesEachDamage(t *testing.T) {
	s, _, db := start(t)
	l := newLoad(t, s.URL, tlogtest.NewLedger("localhost"))
	l.more(t, 2500)
	if err := l.end(); err != nil {
		t.Error(err)
	}
	s.Stop()
	clean := runFsck(t, s.Dir)
	if clean.Count != 0 || clean.Logs[0].Entries < 2500 || clean.Logs[0].Rows < 2*clean.Logs[0].Entries {
		t.Fatalf("a log that nobody touched: %d differences %v, %+v", clean.Count, clean.Problems, clean.Logs)
	}
	for _, d := range damages { // a superuser's; triggers hold everybody else
		sql := strings.ReplaceAll(d.sql, "$E", fmt.Sprint(d.entry, "::bigint"))
		db.Exec(t, "SET session_replication_role = replica", "SET search_path = sigstack_tlog", sql)
	}
	wantDamages(t, runFsck(t, s.Dir), 0)
	db.Exec(t, "SET session_replication_role = replica", "SET search_path = sigstack_tlog", rootless)
	wantDamages(t, runFsck(t, s.Dir), 1)
}

// wantDamages checks that all are told, and beside them so many differing roots.
func wantDamages(t *testing.T, found *report, roots uint64) {
	t.Helper()
	named := func(kind string, what string, entry uint64, withEntry bool) int {
		n := 0
		for _, p := range found.Problems {
			if p.Log == "tlog" && p.Kind == kind && p.What == what && (p.Index != nil) == withEntry && (!withEntry || *p.Index == entry) {
				n++
			}
		}
		return n
	}
	want := roots
	for _, d := range damages {
		if got := named(d.kind, d.what, d.entry, d.withEntry); got == 0 {
			t.Errorf("%s %s of entry %d is not named", d.kind, d.what, d.entry)
		}
		if !d.everywhere {
			want++
		}
	}
	others := slices.DeleteFunc(slices.Clone(found.Problems), func(p problem) bool { return p.What == "node" || p.What == "tree" })
	if uint64(len(others)) != want {
		t.Errorf("%d things differ besides nodes, want %d:", len(others), want)
		for _, p := range others {
			t.Logf("%+v", p)
		}
	}
	if found.Count != uint64(len(found.Problems)) {
		t.Errorf("%d problems, of %d", len(found.Problems), found.Count)
	}
}

func runFsck(t *testing.T, dir string) *report {
	t.Helper()
	r := e2etest.Run(t, nil, e2etest.Sigstack(t), "log", "fsck", "--dir", dir, "--output", "json")
	var found report
	if err := json.Unmarshal([]byte(r.Stdout), &found); err != nil {
		t.Fatalf("log fsck: exit %d: %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if want := min(int(found.Count), 1); r.Code != want {
		t.Errorf("log fsck with %d differences: exit %d, want %d\n%s", found.Count, r.Code, want, r.Stderr)
	}
	return &found
}
