package oci_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

func asError[E error](err error, want *E) bool { return errors.As(err, want) }

const spdx = "https://spdx.dev/Document"

// TestSignVerify signs an image and an index, by tag and by digest, in each style
// at each kind of registry, and verifies them.
func TestSignVerify(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			image := host + "/image-" + string(style)
			index := host + "/nested/index-" + string(style)
			byTag, byDigest := pushImage(t, image+":v1").String(), pushIndex(t, index+":v1").String()
			for ref, digest := range map[string]string{image + ":v1": byTag, index + "@" + byDigest: byDigest} {
				signed := s.sign(t, ref, style, nil)
				if signed.Digest != digest || signed.Style != style || signed.Identity != signingtest.Email {
					t.Errorf("sign %s: got %+v, want digest %s", ref, signed, digest)
				}
				got, err := s.verify(t.Context(), ref, nil)
				if err != nil {
					t.Fatalf("verify %s stored by %s: %v", ref, style, err)
				}
				if got.Found != 1 || len(got.Passed) != 1 || got.Passed[0].Digest != digest ||
					got.Passed[0].Style != style || got.Passed[0].LogIndex != signed.LogIndex {
					t.Errorf("verify %s: got %+v, want one signature of %s by %s", ref, got, digest, style)
				}
			}
		}
	})
}

func TestAttestVerify(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			ref := host + "/" + string(style) + ":v1"
			digest := pushImage(t, ref).String()
			s.attest(t, ref, style, spdx, `{"name":"first"}`)
			s.attest(t, ref, style, "https://example.com/other", `{"name":"second"}`)
			got, err := s.verifyAttestation(t.Context(), ref, "https://spdx.dev/Document/v2.3", spdx)
			if err != nil {
				t.Fatalf("verify by %s: %v", style, err)
			}
			if got.Found != 1 || len(got.Passed) != 1 {
				t.Fatalf("by %s: got %+v, want one of one", style, got)
			}
			p := got.Passed[0]
			if p.PredicateType != spdx || string(p.Predicate) != `{"name":"first"}` || p.Digest != digest || p.Style != style {
				t.Errorf("by %s: got %+v", style, p)
			}
			_, err = s.verifyAttestation(t.Context(), ref, "https://slsa.dev/provenance/v1")
			wantError[*oci.UnsignedError](t, err, "no attestation of type https://slsa.dev/provenance/v1", spdx, "https://example.com/other")
			_, err = s.verify(t.Context(), ref, nil)
			wantError[*oci.UnsignedError](t, err, "has no signature")
		}
	})
}

func TestUnsigned(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		ref := host + "/image:v1"
		digest := pushImage(t, ref)
		_, err := s.verify(t.Context(), ref, nil)
		wantError[*oci.UnsignedError](t, err, host+"/image@"+digest.String(), "has no signature")
		if _, err := s.verify(t.Context(), host+"/image:v2", nil); err == nil {
			t.Error("got no error for a tag that does not exist")
		}
	})
}

// TestBothStyles finds a signature whose style nobody named.
func TestBothStyles(t *testing.T) {
	t.Parallel()
	s := demo(t)
	ref := serve(t, registryHandler(true)) + "/image:v1"
	pushImage(t, ref)
	for _, style := range styles() {
		s.sign(t, ref, style, nil)
	}
	got, err := s.verify(t.Context(), ref, nil)
	must(t, err)
	if got.Found != 2 || len(got.Passed) != 2 || got.Passed[0].Style != oci.Tag || got.Passed[1].Style != oci.Referrer {
		t.Errorf("got %+v, want one of each", got)
	}
}

// TestSeveralSigners keeps the signatures of others, and needs one that passes.
func TestSeveralSigners(t *testing.T) {
	t.Parallel()
	stack := signingtest.New(t, time.Now)
	alice, bob := newSigner(t, stack, "alice@example.com"), newSigner(t, stack, "bob@example.com")
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			ref := host + "/" + string(style) + ":v1"
			pushImage(t, ref)
			alice.sign(t, ref, style, nil)
			_, err := bob.verify(t.Context(), ref, nil)
			wantError[*oci.RefusedError](t, err, "no signature of", "found 1", "identity")
			wantError[*signing.RefusedError](t, err)
			bob.sign(t, ref, style, map[string]string{"by": "bob"})
			for _, s := range []signer{alice, bob} {
				got, err := s.verify(t.Context(), ref, nil)
				must(t, err)
				if got.Found != 2 || len(got.Passed) != 1 {
					t.Errorf("by %s: got %+v, want one of two", style, got)
				}
			}
		}
	})
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := serve(t, registryHandler(true))
	for _, style := range styles() {
		ref := host + "/" + string(style) + ":v1"
		pushImage(t, ref)
		s.sign(t, ref, style, map[string]string{"env": "test"})
		s.sign(t, ref, style, map[string]string{"env": "prod", "tag": "<v1>"})
		for _, tt := range []struct {
			name   string
			want   map[string]string
			passed int
		}{
			{"none", nil, 2},
			{"one", map[string]string{"env": "prod"}, 1},
			{"both", map[string]string{"env": "prod", "tag": "<v1>"}, 1},
			{"other value", map[string]string{"env": "dev"}, 0},
			{"of different signatures", map[string]string{"env": "test", "tag": "<v1>"}, 0},
			{"missing", map[string]string{"no": "no"}, 0},
			{"missing and empty", map[string]string{"no": ""}, 0},
		} {
			got, err := s.verify(t.Context(), ref, tt.want)
			if tt.passed == 0 {
				wantError[*oci.RefusedError](t, err, "annotation")
				continue
			}
			if err != nil || len(got.Passed) != tt.passed {
				t.Errorf("%s by %s: got %+v, %v, want %d passed", tt.name, style, got, err, tt.passed)
			}
		}
	}
}

// TestConcurrentSigners has several processes' worth of signers sign one image at
// the same time: no signature may be lost.
func TestConcurrentSigners(t *testing.T) {
	t.Parallel()
	const signers = 6
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			ref := host + "/" + string(style) + ":v1"
			pushImage(t, ref)
			var wg sync.WaitGroup
			errs := make([]error, signers)
			for i := range signers {
				wg.Go(func() {
					_, errs[i] = oci.New(oci.Options{Now: time.Now}).Sign(t.Context(), s.session, ref, style, nil)
				})
			}
			wg.Wait()
			must(t, errors.Join(errs...))
			got, err := s.verify(t.Context(), ref, nil)
			must(t, err)
			if len(got.Passed) != signers {
				t.Errorf("by %s: got %d signatures, want %d", style, len(got.Passed), signers)
			}
		}
	})
}

// TestJSON pins the names that scripts read.
func TestJSON(t *testing.T) {
	t.Parallel()
	s := demo(t)
	ref := serve(t, registryHandler(true)) + "/image:v1"
	pushImage(t, ref)
	signed := s.sign(t, ref, oci.Tag, nil)
	got, err := s.verify(t.Context(), ref, nil)
	must(t, err)
	for _, tt := range []struct {
		of   any
		want []string
	}{
		{signed, []string{"image", "storage", "stored", "identity", "digest", "trust_root"}},
		{got, []string{"image", "found", "signatures"}},
		{got.Passed[0], []string{"storage", "stored", "identity", "issuer", "log_index"}},
	} {
		text, err := json.Marshal(tt.of)
		must(t, err)
		var names map[string]any
		must(t, json.Unmarshal(text, &names))
		for _, want := range tt.want {
			if _, ok := names[want]; !ok {
				t.Errorf("%T: got %s, want a member %s", tt.of, text, want)
			}
		}
	}
}

// TestIndexChildren: the signature of an index is not its children's.
func TestIndexChildren(t *testing.T) {
	t.Parallel()
	s := demo(t)
	repo := serve(t, registryHandler(true)) + "/app"
	index, err := random.Index(64, 1, 2)
	must(t, err)
	must(t, remote.WriteIndex(parse(t, repo+":v1"), index))
	for _, style := range styles() {
		s.sign(t, repo+":v1", style, nil)
	}
	_, err = s.verify(t.Context(), repo+":v1", nil)
	must(t, err)
	m, err := index.IndexManifest()
	must(t, err)
	for _, child := range m.Manifests {
		_, err := s.verify(t.Context(), repo+"@"+child.Digest.String(), nil)
		wantError[*oci.UnsignedError](t, err, child.Digest.String())
	}
}
