package release_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/release"
	"sigstack/internal/signing/signingtest"
)

// overwriting takes back the first writes of tags of each kind, as another signer does who
// has read them before: the writer is told that all is well.
type overwriting struct {
	most int

	mu   sync.Mutex // guards lost
	lost map[string]int
}

func (o *overwriting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/sha256-") || !o.takes(r.URL.Path) {
		return resp, err
	}
	undo, err := http.NewRequestWithContext(r.Context(), http.MethodDelete, r.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	undone, err := http.DefaultTransport.RoundTrip(undo)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, undone.Body)
	_ = undone.Body.Close()
	return resp, err
}

func (o *overwriting) takes(path string) bool {
	kind := "list of referrers"
	if strings.HasSuffix(path, ".sig") {
		kind = "signatures"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost[kind] == o.most {
		return false
	}
	o.lost[kind]++
	return true
}

// TestSignImagesOverwritten: signatures that somebody overwrites while a run goes on are in
// place when it says that it has signed, each logged once.
func TestSignImagesOverwritten(t *testing.T) {
	t.Parallel()
	for _, referrers := range []bool{true, false} {
		s := newShelf(t, newLab(t), referrers)
		others := &overwriting{most: 3, lost: map[string]int{}}
		signed, err := release.Sign(t.Context(), release.SignConfig{
			Now: time.Now, Dir: s.tree, Session: s.sessionAt(t, signingtest.Email, time.Now), Workers: 4,
			Images: release.ImagesConfig{Registry: oci.New(oci.Options{Now: time.Now, Transport: others})},
		})
		if err != nil {
			t.Fatal(err)
		}
		if others.lost["signatures"] != 3 || !referrers && others.lost["list of referrers"] != 3 {
			t.Errorf("got %v lost, want three of each tag: this test tests nothing", others.lost)
		}
		if n := tally(signed); n[release.Signed] != 2*imageTargets || len(n) != 1 {
			t.Errorf("got %v, want %d signed", n, 2*imageTargets)
		}
		wantProblems(t, s.verifyImages(t, release.ImagesConfig{}))
		if n := len(journalOf(t, s.tree)); n != imageLogged+signed.Signed {
			t.Errorf("got %d lines in the journal, want %d", n, imageLogged+signed.Signed)
		}
	}
}

// TestPromoteOverwritten: so are those of a promotion, before a tag is set.
func TestPromoteOverwritten(t *testing.T) {
	t.Parallel()
	for _, referrers := range []bool{true, false} {
		s := newShelf(t, newLab(t), referrers)
		if _, err := s.signImages(t, signingtest.Email, time.Now); err != nil {
			t.Fatal(err)
		}
		others := &overwriting{most: 3, lost: map[string]int{}}
		overwritten := func(c *release.PromoteConfig) {
			c.Registry = oci.New(oci.Options{Now: time.Now, Transport: others})
		}
		journal := t.TempDir() + "/journal"
		if _, err := s.promote(t, journal, overwritten); err != nil {
			t.Fatal(err)
		}
		if others.lost["signatures"] != 3 {
			t.Errorf("got %v lost, want three tags: this test tests nothing", others.lost)
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
	}
}
