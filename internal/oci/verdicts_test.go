package oci_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// TestStoredElsewhere: a finished statement is stored wherever its manifest lies, and
// nowhere else; a payload in its own repository alone.
func TestStoredElsewhere(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		here, there, other := host+"/here:v1", host+"/there:v1", host+"/other:v1"
		pushImage(t, here)
		pushImage(t, other)
		img, err := remote.Image(parse(t, here))
		must(t, err)
		must(t, remote.Write(parse(t, there), img))
		r := oci.New(oci.Options{Now: time.Now})
		prepare := func(ref string, style oci.Style) oci.Content {
			content, err := r.Prepare(t.Context(), ref, style, nil)
			must(t, err)
			return content
		}
		for _, style := range styles() {
			content := prepare(here, style)
			draft, err := content.Draft(t.Context(), s.session)
			must(t, err)
			finished, err := content.Finish(t.Context(), s.session, draft)
			must(t, err)
			if _, err := r.Store(t.Context(), content, finished); err != nil {
				t.Error(err)
			}
			_, err = r.Store(t.Context(), prepare(there, style), finished)
			if (err == nil) != (style == oci.Referrer) {
				t.Errorf("by %s: got %v for the same manifest elsewhere", style, err)
			}
			if _, err := r.Store(t.Context(), prepare(other, style), finished); err == nil {
				t.Errorf("by %s: stored for another image", style)
			}
		}
		for ref, want := range map[string]int{here: 2, there: 1} {
			if got, err := s.verify(t.Context(), ref, nil); err != nil || len(got.Passed) != want {
				t.Errorf("%s: got %+v, %v, want %d", ref, got, err, want)
			}
		}
	})
}

// refer stores a bundle as a referrer of an image, as anybody may.
func refer(t *testing.T, repository string, subject v1.Hash, bundle []byte) {
	t.Helper()
	desc, err := remote.Get(parse(t, repository+"@"+subject.String()))
	must(t, err)
	layer := static.NewLayer(bundle, "application/vnd.dev.sigstore.bundle.v0.3+json")
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	must(t, err)
	img = mutate.Subject(img, desc.Descriptor).(v1.Image)
	digest, err := img.Digest()
	must(t, err)
	must(t, remote.Write(parse(t, repository+"@"+digest.String()).(name.Digest), img))
}

// TestVerdictsAreOfWhatWasJudged: a signature that has passed once passes again only byte
// for byte, of the same manifest and for the same trust; where it was found is told each
// time.
func TestVerdictsAreOfWhatWasJudged(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := serve(t, registryHandler(true))
	here := host + "/here"
	digest := pushImage(t, here+":v1")
	s.sign(t, here+":v1", oci.Referrer, nil)
	img, err := remote.Image(parse(t, here+":v1"))
	must(t, err)

	run := oci.New(oci.Options{Now: time.Now}).Remembering()
	found, _, err := run.Proofs(t.Context(), here+":v1", s.trusted, s.id, nil)
	must(t, err)
	proof, ok := found[oci.Referrer]
	if !ok {
		t.Fatal("the signature does not pass in the first place")
	}
	layer, err := remote.Layer(parse(t, here+"@"+proof.Layer).(name.Digest))
	must(t, err)
	body, err := layer.Compressed()
	must(t, err)
	var text bytes.Buffer
	_, err = text.ReadFrom(body)
	must(t, err)
	good := text.Bytes()
	tampered := bytes.Replace(good, []byte(`"logIndex":"`), []byte(`"logIndex":"9`), 1)
	if bytes.Equal(good, tampered) {
		t.Fatal("the bundle is as before: this test tests nothing")
	}

	for name, tc := range map[string]struct {
		bundle []byte
		other  bool // manifest
		passes bool
	}{
		"the same":            {good, false, true},
		"tampered":            {tampered, false, false},
		"of another manifest": {good, true, false},
	} {
		repository := host + "/elsewhere"
		subject := digest
		if tc.other {
			subject = pushImage(t, repository+":v1")
		} else {
			repository += map[bool]string{true: "/a", false: "/b"}[tc.passes]
			must(t, remote.Write(parse(t, repository+":v1"), img))
		}
		refer(t, repository, subject, tc.bundle)
		got, reasons, err := run.Proofs(t.Context(), repository+":v1", s.trusted, s.id, nil)
		must(t, err)
		again, ok := got[oci.Referrer]
		if ok != tc.passes || !ok && len(reasons) == 0 {
			t.Errorf("%s: got %v, %v, want it to pass: %t", name, got, reasons, tc.passes)
		}
		if ok && (again.Stored == proof.Stored || again.LogIndex != proof.LogIndex || again.Identity != proof.Identity) {
			t.Errorf("%s: got %+v, want it as %+v and where it is", name, again, proof)
		}
	}
	mallory, err := signing.NewIdentity("mallory@sigstack.local", "", "", ".*")
	must(t, err)
	if got, _, err := run.Proofs(t.Context(), here+":v1", s.trusted, mallory, nil); err != nil || len(got) > 0 {
		t.Errorf("another identity: got %v, %v, want nothing to pass", got, err)
	}
	if got, _, err := run.Proofs(t.Context(), here+":v1", s.trusted, s.id, map[string]string{"a": "b"}); err != nil || len(got) > 0 {
		t.Errorf("with an annotation: got %v, %v, want nothing to pass", got, err)
	}
}
