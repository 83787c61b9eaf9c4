package replicas_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// putBack replaces the audit record in a directory by another one.
func putBack(t *testing.T, dir, record string) {
	t.Helper()
	own := filepath.Join(dir, "audit")
	if err := os.RemoveAll(own); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(own, os.DirFS(record)); err != nil {
		t.Fatal(err)
	}
}

// TestARecordThatIsPutBack as a whole, or gone, is refused at the start by what the
// database has seen of it, and audit verify at the other replica tells.
func TestARecordThatIsPutBack(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	issuer := testissuer.Start(t)
	a, b := startTwo(t, issuer.URL)
	verify := func(r *replica) e2etest.Result { return r.run(t, "audit", "verify") }
	keep := func() (record string) {
		t.Helper()
		b.Stop()
		record = filepath.Join(t.TempDir(), "record")
		if err := os.CopyFS(record, os.DirFS(filepath.Join(b.Dir, "audit"))); err != nil {
			t.Fatal(err)
		}
		return record
	}
	early := keep()
	b.start(b.Dir)
	signsThrough(t, issuer, b, a)
	late := keep()
	for _, r := range []*replica{a, b} {
		got := verify(r)
		e2etest.WantAccepted(t, "audit verify at "+r.name, got)
		for _, want := range []string{"this one, of replica " + r.name, "kept by replica "} {
			if !strings.Contains(got.Stdout, want) {
				t.Errorf("audit verify at %s says\n%s\nwant %q", r.name, got.Stdout, want)
			}
		}
	}
	for _, tt := range []struct{ name, record, want string }{
		{"put back", early, "was seen"},
		{"gone", t.TempDir(), "the record's end cannot be told"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			putBack(t, b.Dir, tt.record)
			if s, err := e2etest.TryStart(t, b.Dir, b.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the start: got %v, want that it is refused with %q", err, tt.want)
				if s != nil {
					s.Stop()
				}
			}
			if got := verify(a); got.Code != 1 || !strings.Contains(got.Stderr, "replica b") || !strings.Contains(got.Stderr, tt.want) {
				t.Errorf("audit verify at a: exit code %d\n%s\nwant 1 and %q of replica b", got.Code, got.Stderr, tt.want)
			}
			if got := verify(b); got.Code != 1 {
				t.Errorf("audit verify at b: exit code %d\n%s", got.Code, got.Stdout)
			}
			putBack(t, b.Dir, late)
			b.start(b.Dir)
			e2etest.WantAccepted(t, "audit verify at a, with the right record", verify(a))
			late = keep()
		})
	}
	b.start(b.Dir)
}
