package oci_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

const review = "https://example.com/review/v1"

// signedIndex pushes an index that lists an index, and signs and attests each manifest
// in both styles.
func signedIndex(t *testing.T, s signer, ref string) (tree []string) {
	t.Helper()
	pushNested(t, ref, 1)
	tree, err := oci.New(oci.Options{}).Tree(t.Context(), ref)
	must(t, err)
	for _, manifest := range tree {
		for _, style := range styles() {
			s.sign(t, manifest, style, nil)
		}
	}
	for _, style := range styles() {
		s.attest(t, ref, style, review, `{"by":"`+string(style)+`"}`)
	}
	return tree
}

// wantWhole demands that all is signed and attested in both styles.
func wantWhole(t *testing.T, s signer, ref string) {
	t.Helper()
	got, err := oci.New(oci.Options{}).VerifyRecursive(t.Context(), ref, s.trusted, s.id, nil)
	if err != nil {
		t.Errorf("%s: %v", ref, err)
		return
	}
	for _, v := range append(got.Children, got) {
		if len(v.Passed) != 2 || v.Found != 2 {
			t.Errorf("%s: %d of %d signatures passed, want 2 of 2", v.Image, len(v.Passed), v.Found)
		}
	}
	attested, err := s.verifyAttestation(t.Context(), ref, review)
	if err != nil || len(attested.Passed) != 2 {
		t.Errorf("%s: got %+v, %v, want 2 attestations", ref, attested, err)
	}
}

// TestCopy: signatures and attestations of both styles travel with an index and all
// below it, whether the registries have the referrers API or not, and a second copy
// finds nothing left to do.
func TestCopy(t *testing.T) {
	t.Parallel()
	s := demo(t)
	from := serve(t, registryHandler(false))
	tree := signedIndex(t, s, from+"/staging/app:v1")
	fromAPI := serve(t, registryHandler(true))
	signedIndex(t, s, fromAPI+"/staging/app:v1")
	registries(t, func(t *testing.T, host string) {
		local := host + "/staging/app"
		signedIndex(t, s, local+":v1")
		elsewhere := fromAPI + "/staging/app"
		if strings.HasSuffix(t.Name(), "referrers_API") {
			elsewhere = from + "/staging/app"
		}
		for name, source := range map[string]string{"elsewhere": elsewhere, "local": local} {
			to := host + "/" + name + "/app"
			r := oci.New(oci.Options{Now: time.Now})
			got, err := r.Copy(t.Context(), source+":v1", to)
			must(t, err)
			if got.Manifests != 3 || got.Blobs == 0 && name != "local" || got.Signatures != 8 || got.Left != 0 {
				t.Errorf("from %s: got %+v, want 3 manifests and 8 signatures", name, got)
			}
			if _, err := r.Tree(t.Context(), to+":v1"); err == nil {
				t.Errorf("from %s: the tag is there, and nobody has set it", name)
			}
			digest := got.Image[strings.Index(got.Image, "sha256:"):]
			set, err := r.SetTag(t.Context(), to+":v1", digest)
			if err != nil || !set {
				t.Errorf("set tag: got %v, %v", set, err)
			}
			wantWhole(t, s, to+":v1")
			again, err := oci.New(oci.Options{Now: time.Now}).Copy(t.Context(), source+":v1", to)
			if err != nil || again != (oci.Copied{Image: got.Image}) {
				t.Errorf("again from %s: got %+v, %v, want nothing to do", name, again, err)
			}
			set, err = r.SetTag(t.Context(), to+":v1", digest)
			if err != nil || set {
				t.Errorf("set tag again: got %v, %v", set, err)
			}
			_, err = r.SetTag(t.Context(), to+":v1", strings.TrimPrefix(tree[1][strings.Index(tree[1], "@"):], "@"))
			wantError[*oci.TagMovedError](t, err, to+":v1", "never moved")
		}
	})
}

// TestCopyAdds: what the place has already stays, and is added to.
func TestCopyAdds(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		from, to := host+"/staging", host+"/prod"
		digest := pushImage(t, from+":v1")
		copyTag(t, from+":v1", to+":v1")
		for _, style := range styles() {
			s.sign(t, from+":v1", style, map[string]string{"at": "staging"})
			s.sign(t, to+":v1", style, map[string]string{"at": "prod"})
		}
		put := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/plain",` +
			`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + digest.String() + `","size":2},"layers":[],` +
			`"subject":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"` + digest.String() + `","size":1}}`
		if !strings.HasSuffix(t.Name(), "docker-registry") { // which wants the blobs
			must(t, remote.Put(parse(t, from+":note"), manifest{put, "application/vnd.oci.image.manifest.v1+json"}))
		}
		got, err := oci.New(oci.Options{Now: time.Now}).Copy(t.Context(), from+":v1", to)
		must(t, err)
		if got.Manifests != 0 || got.Signatures != 2 {
			t.Errorf("got %+v, want 2 signatures and nothing else", got)
		}
		for _, at := range []string{"staging", "prod"} {
			verified, err := s.verify(t.Context(), to+":v1", map[string]string{"at": at})
			if err != nil || len(verified.Passed) != 2 || verified.Found != 4 {
				t.Errorf("signed at %s: got %+v, %v, want 2 of 4", at, verified, err)
			}
		}
	})
}

// TestCopyCutOff: cut off after any number of requests, a copy is finished by the next.
func TestCopyCutOff(t *testing.T) {
	t.Parallel()
	s := demo(t)
	from := serve(t, registryHandler(true))
	signedIndex(t, s, from+"/app:v1")
	var left atomic.Int64
	inner := registryHandler(false)
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && left.Add(-1) < 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	cut := 0
	for n := int64(0); ; n += 7 {
		left.Store(n)
		got, err := oci.New(oci.Options{Now: time.Now}).Copy(t.Context(), from+"/app:v1", host+"/app")
		if err == nil {
			left.Store(1 << 30)
			_, err = oci.New(oci.Options{}).SetTag(t.Context(), host+"/app:v1", got.Image[strings.Index(got.Image, "sha256:"):])
			must(t, err)
			break
		}
		cut++
	}
	wantWhole(t, s, host+"/app:v1")
	if cut < 5 {
		t.Errorf("the copy was cut off %d times, want 5 at least", cut)
	}
	left.Store(1 << 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := oci.New(oci.Options{}).Copy(ctx, from+"/app:v1", host+"/other"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it canceled", err)
	}
}

// TestCopyLargeBlob: a blob may be larger than what is ever read into memory.
func TestCopyLargeBlob(t *testing.T) {
	t.Parallel()
	host := serve(t, registryHandler(true))
	img, err := random.Image(signing.MaxBundle+1, 1)
	must(t, err)
	must(t, remote.Write(parse(t, host+"/app:v1"), img))
	other := serve(t, registryHandler(true))
	got, err := oci.New(oci.Options{}).Copy(t.Context(), host+"/app:v1", other+"/app")
	if err != nil || got.Bytes <= signing.MaxBundle {
		t.Errorf("got %+v, %v, want more than %d bytes", got, err, signing.MaxBundle)
	}
}
