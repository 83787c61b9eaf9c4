package release

import (
	"os"
	"slices"
	"testing"
	"time"

	"sigstack/internal/signing"
)

// TestSidecarsAreCommittedInTime writes sidecars one by one: none is in place before a
// commit is due, by time or by number, and none is left out.
func TestSidecarsAreCommittedInTime(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := newSidecars(dir, func() time.Time { return now })
	write := func(name, suffix string) {
		t.Helper()
		if err := s.write(name, suffix, []byte(name+suffix)); err != nil {
			t.Fatal(err)
		}
		if err := s.commitSome(); err != nil {
			t.Fatal(err)
		}
	}
	inPlace := func() (names []string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strayPattern.MatchString(e.Name()) {
				names = append(names, e.Name())
			}
		}
		return names
	}
	write("a", signing.BundleSuffix)
	write("a", signing.SignatureSuffix)
	if got := inPlace(); len(got) != 0 {
		t.Errorf("%v are in place, and no commit was due", got)
	}
	now = now.Add(sidecarsAtLeast)
	write("a", signing.CertificateSuffix)
	want := []string{"a.cert", "a.sig", "a.sigstore.json"}
	if got := inPlace(); !slices.Equal(got, want) {
		t.Errorf("after %v %v are in place, want %v", sidecarsAtLeast, got, want)
	}
	for i := range sidecarsAtOnce {
		write(time.Duration(i).String(), signing.SignatureSuffix)
	}
	if got := inPlace(); len(got) != sidecarsAtOnce+3 {
		t.Errorf("%d files are in place, want all of %d", len(got), sidecarsAtOnce+3)
	}
	write("z", signing.BundleSuffix)
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	if got := inPlace(); len(got) != sidecarsAtOnce+4 {
		t.Errorf("%d files are in place after the last commit, want %d", len(got), sidecarsAtOnce+4)
	}
}
