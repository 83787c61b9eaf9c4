package oci_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/signing/signingtest"
)

// TestLostInCopies: of an image that was copied without all of its signatures, the
// error says what was looked for, what is there, and how the rest was lost.
func TestLostInCopies(t *testing.T) {
	t.Parallel()
	stack := signingtest.New(t, time.Now)
	byTag, byReferrer := newSigner(t, stack, "tag@example.com"), newSigner(t, stack, "referrer@example.com")
	registries(t, func(t *testing.T, host string) {
		from := host + "/staging"
		digest := pushImage(t, from+":v1")
		api := !strings.HasSuffix(t.Name(), "no_API") && !strings.HasSuffix(t.Name(), "docker-registry")
		sig, fallback := "sha256-"+digest.Hex+".sig", "sha256-"+digest.Hex
		listing := "fallback tag " + fallback + " lists"
		if api {
			listing = "referrers API lists"
		}

		// Nobody has signed it.
		_, err := byTag.verify(t.Context(), from+":v1", nil)
		wantError[*oci.UnsignedError](t, err, "no tag "+sig, listing+" 0", "copying by tag loses referrers, and copying referrers loses tags")

		byTag.sign(t, from+":v1", oci.Tag, nil)
		bundle := byReferrer.sign(t, from+":v1", oci.Referrer, nil)
		byTag.attest(t, from+":v1", oci.Tag, "https://example.com/review/v1", `{}`)
		for _, s := range []signer{byTag, byReferrer} {
			_, err := s.verify(t.Context(), from+":v1", nil)
			must(t, err)
		}

		// A copy with its .sig tag, but without its referrers.
		tags := host + "/by-tag"
		copyTag(t, from+":v1", tags+":v1")
		copyTag(t, from+":"+sig, tags+":"+sig)
		_, err = byReferrer.verify(t.Context(), tags+":v1", nil)
		wantError[*oci.RefusedError](t, err, "tag "+sig+" holds 1", listing+" 0", "loses referrers")
		_, err = byTag.verify(t.Context(), tags+":v1", nil)
		must(t, err)

		// One with its referrers, but without the tag.
		referrers := host + "/by-referrer"
		copyTag(t, from+":v1", referrers+":v1")
		copyReferrer(t, bundle.Stored, referrers)
		_, err = byTag.verify(t.Context(), referrers+":v1", nil)
		wantError[*oci.RefusedError](t, err, "no tag "+sig, listing+" 1", "loses tags such as "+sig)
		_, err = byReferrer.verify(t.Context(), referrers+":v1", nil)
		must(t, err)

		// One with its attestations only.
		attested := host + "/attested"
		copyTag(t, from+":v1", attested+":v1")
		copyTag(t, from+":sha256-"+digest.Hex+".att", attested+":sha256-"+digest.Hex+".att")
		_, err = byTag.verify(t.Context(), attested+":v1", nil)
		wantError[*oci.UnsignedError](t, err, "there is tag sha256-"+digest.Hex+".att", "release promote copies both")
	})
}

// TestFallbackTagCopied: copied by tag from a registry without the referrers API to one
// that has it, but takes no notice of them, referrers are where nobody looks.
func TestFallbackTagCopied(t *testing.T) {
	t.Parallel()
	s := demo(t)
	from := serve(t, registryHandler(false))
	to := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
		return true
	})
	digest := pushImage(t, from+"/app:v1")
	s.sign(t, from+"/app:v1", oci.Referrer, nil)
	copyTag(t, from+"/app:v1", to+"/app:v1")
	copyTag(t, from+"/app:sha256-"+digest.Hex, to+"/app:sha256-"+digest.Hex)
	_, err := s.verify(t.Context(), to+"/app:v1", nil)
	wantError[*oci.UnsignedError](t, err, "there is tag sha256-"+digest.Hex, "copied by the fallback tag")
}

// copyTag copies a tag and what is below it, as tools do that know of no signatures.
func copyTag(t *testing.T, from, to string) {
	t.Helper()
	got, err := remote.Get(parse(t, from))
	must(t, err)
	if got.MediaType.IsIndex() {
		index, err := got.ImageIndex()
		must(t, err)
		must(t, remote.WriteIndex(parse(t, to), index))
		return
	}
	img, err := got.Image()
	must(t, err)
	must(t, remote.Write(parse(t, to), img))
}

// copyReferrer copies one manifest by digest.
func copyReferrer(t *testing.T, from, repository string) {
	t.Helper()
	got, err := remote.Get(parse(t, from))
	must(t, err)
	img, err := got.Image()
	must(t, err)
	digest, err := v1.NewHash(parse(t, from).(name.Digest).DigestStr())
	must(t, err)
	must(t, remote.Write(parse(t, repository+"@"+digest.String()), img))
}
