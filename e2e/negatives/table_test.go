package negatives

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// who may refuse: the certificate authority over HTTP, and the clients, which
// sign or verify as the case demands.
type who string

const (
	byCA       who = "CA"
	bySigstack who = "sigstack"
	byCosign3  who = "cosign v3"
	byCosign2  who = "cosign v2"
	byJS       who = "sigstore-js"
)

// everybody is who there is, in the order of the report.
var everybody = []who{byCA, byCosign3, byCosign2, byJS, bySigstack}

// negative is one fact that must not be accepted, and who refuses it.
type negative struct {
	name string
	// refused holds who refuses. Whoever can judge the case and is not here is
	// known to accept it, which is tested too.
	refused reasons
	// make makes the case, with the one fact wrong or right; all else is the same.
	make func(n *negatives, t *testing.T, wrong bool) attempt
}

// attempt is a case ready to be put before those who can judge it.
type attempt map[who]func(t *testing.T) verdict

type verdict struct {
	accepted bool
	words    string
}

// negatives is what the cases are made with. It is safe for concurrent use.
type negatives struct {
	*forge                      // of the stack that everybody trusts
	other    *forge             // of one that nobody does
	issuer   *testissuer.Issuer // which the stack trusts
	stranger *testissuer.Issuer // which it does not
	js       *nodeJudge
	registry string // HOST:PORT

	mu   sync.Mutex
	rows []row
}

// group is a part of the table.
type group struct {
	name  string
	cases []negative
}

// table is all cases, by what is tampered with, in the order of the report.
func table() []group {
	return []group{
		{"requests", refusedRequests()},
		{"signatures", refusedSignatures()},
		{"evidence", refusedEvidence()},
		{"timestamps", refusedTimestamps()},
		{"shapes", refusedShapes()},
		{"lies", refusedLies()},
		{"trusted roots", refusedRoots()},
		{"key pairs", refusedKeys()},
		{"attestations", refusedAttestations()},
		{"images", slices.Concat(refusedImages(), refusedReferrers(), refusedImageAttestations())},
		{"TUF", refusedRepositories()},
	}
}

// TestTable holds the table itself to its word.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, g := range table() {
		for _, c := range g.cases {
			if names[c.name] {
				t.Errorf("%s: two cases have the name", c.name)
			}
			names[c.name] = true
			for by, words := range c.refused {
				if len(words) == 0 || slices.Contains(words, "") {
					t.Errorf("%s: any reason will do for %s", c.name, by)
				}
			}
		}
	}
}

// TestNegatives makes each case twice. With its one fact right everybody accepts
// it, so that nothing but that fact can be what is refused when it is wrong. At
// the end it holds sigstack to refusing whatever anybody refuses.
func TestNegatives(t *testing.T) {
	issuer := testissuer.Start(t)
	s := e2etest.Start(t, t.TempDir(), "--trust-issuer", issuer.URL)
	n := &negatives{
		forge: newForge(t, s), other: newForge(t, e2etest.Start(t, t.TempDir())),
		issuer: issuer, stranger: testissuer.Start(t), js: startNode(t), registry: e2etest.ReferrersRegistry(t),
	}
	order := 0
	for _, g := range table() {
		t.Run(g.name, func(t *testing.T) { // ends when its cases did
			for _, c := range g.cases {
				order++
				r := row{group: g.name, name: c.name, order: order, verdicts: map[who]verdict{}}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					n.hold(t, c, r)
				})
			}
		})
	}
	n.holdToTheStrictest(t)
	if path := os.Getenv("COMPAT_REPORT_NEGATIVES"); path != "" && !t.Failed() {
		if err := os.WriteFile(path, []byte(report(n.rows)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// hold makes a case twice and notes the verdicts on the wrong one in its row.
func (n *negatives) hold(t *testing.T, c negative, r row) {
	t.Helper()
	control := c.make(n, t, false)
	for by, judge := range control {
		if v := judge(t); !v.accepted {
			t.Errorf("control: %s refuses though nothing is wrong: %s", by, v.words)
		}
	}
	wrong := c.make(n, t, true)
	for _, by := range slices.Concat(slices.Collect(maps.Keys(control)), slices.Collect(maps.Keys(c.refused))) {
		if wrong[by] == nil {
			t.Errorf("%s is asked for one of control and case only", by)
		}
	}
	for by, judge := range wrong {
		v := judge(t)
		c.judge(t, by, v)
		t.Logf("%s: accepted %v: %s", by, v.accepted, brief(v.words))
		r.verdicts[by] = v
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rows = append(n.rows, r)
}

// judge holds a verdict on the wrong case against the table.
func (c negative) judge(t *testing.T, by who, v verdict) {
	t.Helper()
	reasons, refuses := c.refused[by]
	if v.accepted == refuses {
		t.Errorf("%s: accepted %v, want %v: %.700s", by, v.accepted, !refuses, v.words)
		return
	}
	for _, reason := range reasons {
		if !strings.Contains(v.words, reason) {
			t.Errorf("%s does not give the reason %q but: %.700s", by, reason, v.words)
		}
	}
}

// holdToTheStrictest fails for what sigstack accepts and another client refuses,
// and for what it was never asked.
func (n *negatives) holdToTheStrictest(t *testing.T) {
	t.Helper()
	for _, r := range n.rows {
		if r.laxer() {
			t.Errorf("%s: %v refuse it, and sigstack does not", r.name, r.refusedBy())
		}
	}
}

// row is a case's line of the report: the verdicts on it when its fact is wrong.
type row struct {
	group, name string
	order       int
	verdicts    map[who]verdict
}

// refusedBy is who refuses, in the order of everybody.
func (r row) refusedBy() []who {
	return slices.DeleteFunc(slices.Clone(everybody), func(by who) bool {
		v, asked := r.verdicts[by]
		return !asked || v.accepted
	})
}

// laxer tells whether sigstack accepts what a client refuses, or was not asked.
func (r row) laxer() bool {
	clients := slices.DeleteFunc(r.refusedBy(), func(by who) bool { return by == byCA })
	return len(clients) > 0 && !slices.Contains(clients, bySigstack)
}

// differ tells whether some client accepts and another refuses.
func (r row) differ() bool { return 0 < len(r.refusedBy()) && len(r.refusedBy()) < len(r.verdicts) }
