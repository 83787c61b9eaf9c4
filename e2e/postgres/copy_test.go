package postgres

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pgtest"
)

// answer is what the log says of an entry, but for what it signs anew each time and
// what tells the size that it has by then.
type answer struct {
	UUID                 string
	Body, LogID          string
	IntegratedTime       int64
	LogIndex, ProofIndex int64
}

// answers asks the log for its first entries, and for one by the hash of what was
// signed.
func answers(t *testing.T, s *e2etest.Stack, entries int) (all []answer) {
	t.Helper()
	for i := range entries {
		status, body := e2etest.Get(t, fmt.Sprintf("%s%s?logIndex=%d", s.URL, entriesPath, i))
		var got map[string]struct {
			Body, LogID    string
			IntegratedTime int64
			LogIndex       int64
			Verification   struct{ InclusionProof struct{ LogIndex int64 } }
		}
		if err := json.Unmarshal(body, &got); status != 200 || err != nil || len(got) != 1 {
			t.Fatalf("entry %d: status %d, %v: %s", i, status, err, body)
		}
		for uuid, e := range got {
			all = append(all, answer{uuid, e.Body, e.LogID, e.IntegratedTime, e.LogIndex, e.Verification.InclusionProof.LogIndex})
		}
	}
	return all
}

func sth(t *testing.T, s *e2etest.Stack, path string) string {
	t.Helper()
	status, body := e2etest.Get(t, s.URL+path)
	if status != 200 {
		t.Fatalf("%s: status %d: %s", path, status, body)
	}
	return string(body)
}

// TestDatabaseIsCopied signs on an embedded stack, moves it to PostgreSQL, and back:
// bundles of before verify, and the log answers as before, wherever it is.
func TestDatabaseIsCopied(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir := s.Dir
	var blobs []string
	sign := func() {
		t.Helper()
		blob := e2etest.WriteFile(t, t.TempDir(), "artifact", fmt.Sprint("artifact ", len(blobs)))
		s.SignWithCosign(t, blob, blob+".bundle")
		blobs = append(blobs, blob)
	}
	verify := func() {
		t.Helper()
		for _, blob := range blobs {
			wantVerified(t, s, blob, blob+".bundle")
		}
	}
	const first = 3 // that of the start, and two of cosign
	sign()
	sign()
	before := answers(t, s, first)
	certificates := sth(t, s, "/ctlog/ct/v1/get-entries?start=0&end=2")
	s.Stop()

	_, db := pgtest.Start(t)
	said := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "db", "copy", "--dir", dir, "--to-database", urlFile(t, db.URL))
	if !strings.Contains(said, "rm -r "+filepath.Join(dir, "db", "log")) {
		t.Errorf("db copy does not say how to remove the old logs:\n%s", said)
	}
	s = e2etest.Start(t, dir)
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM sigstack_tlog.SequencedLeafData"); n < first {
		t.Errorf("%d entries are in the database, want at least %d", n, first)
	}
	same := func(where string) {
		t.Helper()
		verify()
		if after := answers(t, s, first); !reflect.DeepEqual(after, before) {
			t.Errorf("%s: the log answers\n%+v\nwant\n%+v", where, after, before)
		}
		if after := sth(t, s, "/ctlog/ct/v1/get-entries?start=0&end=2"); after != certificates {
			t.Errorf("%s: the CT log's entries differ", where)
		}
	}
	same("in PostgreSQL")
	sign()
	s.Stop()

	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "db", "copy", "--dir", dir, "--to-directory")
	s = e2etest.Start(t, dir)
	same("back in the directory")
	sign()
	verify()
	s.Stop()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "log", "fsck", "--dir", dir)
}
