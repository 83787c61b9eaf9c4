package oci_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/oci"
)

// TestProofsOfAnUnreadableRegistry: what could not be read is no proof that an image is
// not signed, wherever the registry fails.
func TestProofsOfAnUnreadableRegistry(t *testing.T) {
	var broken atomic.Value // part of a path
	broken.Store("none")
	inner := registryHandler(true)
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, broken.Load().(string)) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"not today"}]}`, http.StatusInsufficientStorage)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	ref := host + "/app:v1"
	digest := pushImage(t, ref)
	s := demo(t)
	proofs := func() (map[oci.Style]oci.Proof, error) {
		found, _, err := oci.New(oci.Options{}).Proofs(t.Context(), ref, s.trusted, s.id, nil)
		return found, err
	}
	if found, err := proofs(); err != nil || len(found) != 0 {
		t.Errorf("not signed: got %v, %v, want nothing", found, err)
	}
	byTag, referrer := s.sign(t, ref, oci.Tag, nil), s.sign(t, ref, oci.Referrer, nil)
	found, err := proofs()
	if err != nil || found[oci.Tag].Stored != byTag.Stored || found[oci.Referrer].Stored != referrer.Stored {
		t.Errorf("got %v, %v, want %s and %s", found, err, byTag.Stored, referrer.Stored)
	}
	for _, path := range []string{
		"/referrers/", "/manifests/sha256-" + digest.Hex + ".sig",
		"/blobs/" + found[oci.Tag].Layer, "/blobs/" + found[oci.Referrer].Layer,
		"/manifests/" + referrer.Stored[strings.Index(referrer.Stored, "@")+1:],
	} {
		broken.Store(path)
		if got, err := proofs(); err == nil || !strings.Contains(err.Error(), "not today") {
			t.Errorf("%s: got %v, %v, want the registry's error", path, got, err)
		}
	}
}

// TestDraftsAreResubmitted: equal contents are equal bytes, and a draft of one is the same
// entry of the log each time; a draft of another image is not stored.
func TestDraftsAreResubmitted(t *testing.T) {
	host := serve(t, registryHandler(true))
	ref, other := host+"/app:v1", host+"/other:v1"
	pushImage(t, ref)
	pushImage(t, other)
	s, r := demo(t), oci.New(oci.Options{Now: time.Now})
	for _, style := range styles() {
		content, err := r.Prepare(t.Context(), ref, style, map[string]string{"b": "2", "a": "1"})
		must(t, err)
		draft, err := content.Draft(t.Context(), s.session)
		must(t, err)
		first, err := r.Submit(t.Context(), s.session, content, draft)
		must(t, err)
		again, err := oci.New(oci.Options{}).Prepare(t.Context(), ref, style, map[string]string{"a": "1", "b": "2"})
		must(t, err)
		second, err := r.Submit(t.Context(), s.session, again, draft)
		must(t, err)
		if first.LogIndex != second.LogIndex {
			t.Errorf("%s: submitted twice, it is at %d and %d", style, first.LogIndex, second.LogIndex)
		}
		foreign, err := r.Prepare(t.Context(), other, style, nil)
		must(t, err)
		if got, err := r.Submit(t.Context(), s.session, foreign, draft); err == nil {
			t.Errorf("%s: a draft of another image is stored at %s", style, got.Stored)
		}
	}
}
