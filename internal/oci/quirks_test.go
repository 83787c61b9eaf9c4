package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/internal/oci"
)

// listing is a registry whose lists of referrers are changed on their way.
func listing(t *testing.T, change func(r *http.Request, header http.Header, list *v1.IndexManifest)) (host string) {
	t.Helper()
	inner := registryHandler(true)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			inner.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, r)
		var list v1.IndexManifest
		if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		change(r, w.Header(), &list)
		w.Header().Set("Content-Type", string(list.MediaType))
		_ = json.NewEncoder(w).Encode(list) // a client that went away has no use for it
	}))
}

// TestReportedTypes: some registries report the type of a referrer's config, or
// nothing, as its artifact type (contract release-artifacts B2); what says that it is
// something else is not even looked at.
func TestReportedTypes(t *testing.T) {
	t.Parallel()
	s, reported := demo(t), ""
	host := listing(t, func(_ *http.Request, _ http.Header, list *v1.IndexManifest) {
		for i := range list.Manifests {
			list.Manifests[i].ArtifactType = reported
		}
	})
	ref := host + "/app:v1"
	pushImage(t, ref)
	s.sign(t, ref, oci.Referrer, nil)
	for _, reported = range []string{
		"application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.1",
		"application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json", "",
	} {
		if got, err := s.verify(t.Context(), ref, nil); err != nil || len(got.Passed) != 1 {
			t.Errorf("reported as %q: got %+v, %v, want it verified", reported, got, err)
		}
	}
	reported = "application/spdx+json"
	_, err := s.verify(t.Context(), ref, nil)
	wantError[*oci.UnsignedError](t, err, "has no signature")
}

// TestFilters: no filter is asked for, since registries filter by the wrong type or
// not at all, and a registry's word that it filtered changes nothing.
func TestFilters(t *testing.T) {
	t.Parallel()
	s := demo(t)
	var asked atomic.Int32
	host := listing(t, func(r *http.Request, header http.Header, _ *v1.IndexManifest) {
		if r.URL.Query().Has("artifactType") {
			asked.Add(1)
		}
		header.Set("OCI-Filters-Applied", "artifactType")
	})
	ref := host + "/app:v1"
	pushImage(t, ref)
	for range 3 { // others before it, among it and after it
		s.attest(t, ref, oci.Referrer, "https://example.com/review/v1", `{}`)
	}
	s.sign(t, ref, oci.Referrer, nil)
	s.attest(t, ref, oci.Referrer, "https://example.com/review/v1", `{}`)
	got, err := s.verify(t.Context(), ref, nil)
	if err != nil || got.Found != 1 || len(got.Passed) != 1 || asked.Load() != 0 {
		t.Errorf("got %+v, %v, and a filter asked for %d times, want one of one and no filter", got, err, asked.Load())
	}
}

// TestNoAPI: the ways in which registries say that they do not know the Referrers
// API. They are asked for the fallback tag; one that refuses is not.
func TestNoAPI(t *testing.T) {
	t.Parallel()
	s := demo(t)
	for _, tt := range []struct {
		name, contentType, body string
		code                    int
		api                     bool // it has one, and refuses
	}{
		{"not found", "application/json", `{"errors":[{"code":"NOT_FOUND"}]}`, http.StatusNotFound, false},
		{"plain not found", "text/plain", "404 page not found", http.StatusNotFound, false},
		{"bad request", "", "", http.StatusBadRequest, false},
		{"method not allowed", "", "", http.StatusMethodNotAllowed, false},
		{"not acceptable", "", "", http.StatusNotAcceptable, false},
		{"a page for people", "text/html", "<html>Welcome</html>", http.StatusOK, false},
		{"forbidden", "application/json", `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden, true},
		{"no index", "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"manifests":[{}]}`, http.StatusOK, true},
		{"half an index", "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"manif`, http.StatusOK, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var odd atomic.Bool
			inner := registryHandler(false)
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !odd.Load() || !strings.Contains(r.URL.Path, "/referrers/") {
					inner.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.code)
				_, _ = io.Copy(w, bytes.NewBufferString(tt.body))
			}))
			ref := host + "/app:v1"
			pushImage(t, ref)
			s.sign(t, ref, oci.Referrer, nil)
			odd.Store(true)
			got, err := s.verify(t.Context(), ref, nil)
			if ok := err == nil && len(got.Passed) == 1; ok == tt.api {
				t.Errorf("got %+v, %v, want it verified %v", got, err, !tt.api)
			}
			if tt.api && !strings.Contains(fmt.Sprint(err), "list referrers") {
				t.Errorf("got %v, want the list blamed", err)
			}
		})
	}
}

// TestEmptyIndex: an empty list is an answer, not the lack of one.
func TestEmptyIndex(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := listing(t, func(_ *http.Request, _ http.Header, list *v1.IndexManifest) { list.Manifests = []v1.Descriptor{} })
	ref := host + "/app:v1"
	pushImage(t, ref)
	_, err := s.verify(t.Context(), ref, nil)
	wantError[*oci.UnsignedError](t, err, "has no signature")
	s.sign(t, ref, oci.Tag, nil)
	if got, err := s.verify(t.Context(), ref, nil); err != nil || len(got.Passed) != 1 || got.Passed[0].Style != oci.Tag {
		t.Errorf("by tag: got %+v, %v, want it verified", got, err)
	}
}
