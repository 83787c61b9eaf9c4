package release_test

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/release"
	"sigstack/internal/signing/signingtest"
)

// wantShared demands that a manifest is signed by tag for each place, and as a referrer once
// for all.
func wantShared(t *testing.T, r *release.SignReport) {
	t.Helper()
	entries := map[string]map[int64]bool{}
	places := map[string]int{}
	for _, image := range r.Images {
		for _, signature := range image.Signatures {
			key := string(signature.Storage) + image.Image[strings.Index(image.Image, "@"):]
			if entries[key] == nil {
				entries[key] = map[int64]bool{}
			}
			entries[key][signature.LogIndex] = true
			places[key]++
		}
	}
	for key, at := range entries {
		want := places[key]
		if strings.HasPrefix(key, string(oci.Referrer)) {
			want = 1
		}
		if len(at) != want {
			t.Errorf("%s in %d places: got %d entries of the log, want %d", key, places[key], len(at), want)
		}
	}
}

// TestSignImagesElsewhere: what a run that was interrupted signed for one place of a
// manifest is submitted for another that comes first.
func TestSignImagesElsewhere(t *testing.T) {
	s := newShelf(t, newLab(t), true)
	manifest, index := s.list[0], s.list[4]
	list := func(images ...release.Image) release.ImagesConfig {
		path := t.TempDir() + "/images"
		if err := release.WriteImages(path, images); err != nil {
			t.Fatal(err)
		}
		return release.ImagesConfig{List: path, Registry: s.registry(nil), Styles: []oci.Style{oci.Referrer}}
	}
	run := func(c release.ImagesConfig) (*release.SignReport, error) {
		return release.Sign(t.Context(), release.SignConfig{
			Now: time.Now, Dir: s.tree, Session: s.session(t, signingtest.Email), Workers: 1, Images: c,
		})
	}
	s.full.Store(true)
	if _, err := run(list(manifest)); err == nil {
		t.Fatal("the shelf was not full: this test tests nothing")
	}
	before := len(journalOf(t, s.tree))
	s.full.Store(false)
	r, err := run(list(index, manifest)) // the index's child is before the manifest
	if err != nil {
		t.Fatal(err)
	}
	at := map[int64]int{}
	for _, image := range r.Images {
		if !strings.HasSuffix(image.Image, manifest.Digest) {
			continue
		}
		if got := image.Signatures[0]; got.How != release.Resumed {
			t.Errorf("%s: got %s, want resumed", image.Image, got.How)
		}
		at[image.Signatures[0].LogIndex]++
	}
	if len(at) != 1 || before == 0 {
		t.Errorf("got entries %v, and %d lines before, want one entry for both places", at, before)
	}
}
