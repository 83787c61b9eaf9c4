package release_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const promoter = "promoter@example.com"

// promote promotes the sample, which the lab's user has signed, to a place.
func (s *shelf) promote(t *testing.T, journal string, change func(*release.PromoteConfig)) (*release.PromoteReport, error) {
	t.Helper()
	staging, err := signing.NewIdentity(signingtest.Email, "", s.stack.Issuer(), "")
	if err != nil {
		t.Fatal(err)
	}
	c := release.PromoteConfig{
		Images: s.list, To: s.host + "/prod", Registry: s.registry(time.Now), Staging: staging,
		Session: s.sessionAt(t, promoter, time.Now), Annotations: map[string]string{release.PromotionAnnotation: "test-1"},
		BuilderID: "a test", Workers: 4, Journal: journal, Now: time.Now,
	}
	if change != nil {
		change(&c)
	}
	return release.Promote(t.Context(), c)
}

// TestPromote: a sample goes to production, whether the registry has the referrers API
// or not; a run that a full registry ended is finished by the next, with the signatures
// that it had made.
func TestPromote(t *testing.T) {
	t.Parallel()
	for name, referrers := range map[string]bool{"referrers API": true, "no API": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, newLab(t), referrers)
			journal := filepath.Join(t.TempDir(), "journal")
			if _, err := s.promote(t, journal, nil); err == nil || !strings.Contains(err.Error(), "nothing was promoted") {
				t.Fatalf("nobody has signed it: got %v, want it refused", err)
			}
			if _, err := s.signImages(t, signingtest.Email, time.Now); err != nil {
				t.Fatal(err)
			}
			s.full.Store(true)
			if _, err := s.promote(t, journal, nil); err == nil || !strings.Contains(err.Error(), "full") {
				t.Fatalf("the registry is full: got %v, want that said", err)
			}
			s.full.Store(false)
			var steps []int
			report, err := s.promote(t, journal, func(c *release.PromoteConfig) {
				c.Progress = func(p release.Progress) { steps = append(steps, p.Done) }
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(steps); n != 2*imageCount || steps[n-1] != n {
				t.Errorf("got progress %v, want each image twice", steps)
			}
			for i, done := range report.Images {
				if done.From != s.list[i] || !done.Tagged || !done.Recorded || done.Signed == 0 {
					t.Errorf("got %+v, want it promoted", done)
				}
				if !strings.HasPrefix(done.To.Ref, s.host+"/prod/") || done.To.Digest != done.From.Digest {
					t.Errorf("%s became %s", done.From, done.To)
				}
			}
			again, err := s.promote(t, journal, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, done := range again.Images {
				if !done.Done() {
					t.Errorf("again: got %+v, want nothing to do", done)
				}
			}
			lines, err := release.ReadJournal(journal)
			if err != nil || len(lines) != 3*imageCount {
				t.Errorf("got %d lines in the journal and %v, want three for each image", len(lines), err)
			}
		})
	}
}

// TestPromoteResumed: signatures that could not be stored are submitted again.
func TestPromoteResumed(t *testing.T) {
	t.Parallel()
	s := newShelf(t, newLab(t), true)
	if _, err := s.signImages(t, signingtest.Email, time.Now); err != nil {
		t.Fatal(err)
	}
	// Copied, but not signed: the promoter's own signatures are what the full registry
	// refuses.
	for _, image := range s.list {
		to := strings.Replace(image.Ref, "/k8s/", "/prod/", 1)
		if _, err := oci.New(oci.Options{Now: time.Now}).Copy(t.Context(), image.Pinned(), to); err != nil {
			t.Fatal(err)
		}
	}
	journal := filepath.Join(t.TempDir(), "journal")
	s.full.Store(true)
	if _, err := s.promote(t, journal, nil); err == nil {
		t.Fatal("a full registry took everything")
	}
	s.full.Store(false)
	report, err := s.promote(t, journal, nil)
	if err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for _, done := range report.Images {
		resumed += done.Resumed
	}
	if resumed == 0 {
		t.Errorf("got %+v, want signatures resumed", report.Images)
	}
}

// TestPromoteLists: lists that cannot be promoted as they are.
func TestPromoteLists(t *testing.T) {
	t.Parallel()
	s := newShelf(t, newLab(t), true)
	digest := s.list[0].Digest
	for want, images := range map[string][]release.Image{
		"list of images is empty": nil,
		"would both become":       {{Ref: s.host + "/a/app:v1", Digest: digest}, {Ref: s.host + "/b/app:v1", Digest: digest}},
		"there already":           {{Ref: s.host + "/prod/app:v1", Digest: digest}},
		"sha256:<hex>":            {{Ref: s.host + "/a/app:v1", Digest: "md5:0"}},
	} {
		_, err := s.promote(t, filepath.Join(t.TempDir(), "journal"), func(c *release.PromoteConfig) { c.Images = images })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", images, err, want)
		}
	}
}
