package oci_test

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
)

const document = `{"spdxVersion":"SPDX-2.3","name":"app"}`

// TestAttachSBOM attaches, signs, verifies and reads back an SBOM.
func TestAttachSBOM(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		r, ref := oci.New(oci.Options{}), host+"/app:v1"
		digest := pushImage(t, ref)
		if _, err := r.AttachedSBOM(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "has no attached SBOM") {
			t.Errorf("nothing attached: got %v", err)
		}
		attached, err := r.AttachSBOM(t.Context(), ref, []byte(document), oci.SPDXJSON, false)
		must(t, err)
		if want := host + "/app:sha256-" + digest.Hex + ".sbom"; attached.Tag != want || attached.To != host+"/app@"+digest.String() {
			t.Errorf("got %+v, want tag %s", attached, want)
		}
		again, err := r.AttachSBOM(t.Context(), ref, []byte(document), oci.SPDXJSON, false)
		if err != nil || again.Image != attached.Image {
			t.Errorf("attached again: got %+v, %v, want %+v", again, err, attached)
		}
		for _, style := range styles() {
			s.sign(t, attached.Tag, style, nil)
		}
		found, err := r.AttachedSBOM(t.Context(), ref)
		must(t, err)
		got, err := s.verify(t.Context(), found.Image, nil)
		if err != nil || found.Image != attached.Image || found.MediaType != oci.SPDXJSON || got.Kind != oci.SBOM || len(got.Passed) != 2 {
			t.Errorf("got %+v of %+v, %v, want an SBOM of two signatures", got, found, err)
		}
		content, err := r.ReadSBOM(t.Context(), found)
		if err != nil || string(content) != document {
			t.Errorf("got %q, %v, want %q", content, err, document)
		}

		_, err = r.AttachSBOM(t.Context(), ref, []byte("SPDXVersion: SPDX-2.3\n"), oci.SPDXText, false)
		if !errors.Is(err, oci.ErrAttached) {
			t.Errorf("another SBOM: got %v, want %v", err, oci.ErrAttached)
		}
		_, err = r.AttachSBOM(t.Context(), ref, []byte("SPDXVersion: SPDX-2.3\n"), oci.SPDXText, true)
		must(t, err)
		found, err = r.AttachedSBOM(t.Context(), ref)
		must(t, err)
		_, err = s.verify(t.Context(), found.Image, nil)
		wantError[*oci.UnsignedError](t, err, "has no signature")
	})
}

// TestOddAttachments are tags .sbom that hold no SBOM, or one that has other bytes
// than its manifest states.
func TestOddAttachments(t *testing.T) {
	t.Parallel()
	lies := ""
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if lies == "" || path.Base(r.URL.Path) != lies {
			return false
		}
		_, _ = fmt.Fprint(w, strings.Replace(document, "app", "bad", 1))
		return true
	})
	r, ref := oci.New(oci.Options{}), host+"/app:v1"
	digest := pushImage(t, ref)
	tag := host + "/app:sha256-" + digest.Hex + ".sbom"
	pushImage(t, tag)
	if _, err := r.AttachedSBOM(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "not one SBOM") {
		t.Errorf("an image: got %v", err)
	}
	pushIndex(t, tag)
	if _, err := r.AttachedSBOM(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "not an image manifest") {
		t.Errorf("an index: got %v", err)
	}
	_, err := r.AttachSBOM(t.Context(), ref, []byte(document), oci.SPDXJSON, true)
	must(t, err)
	found, err := r.AttachedSBOM(t.Context(), ref)
	must(t, err)
	img, err := remote.Image(parse(t, tag))
	must(t, err)
	m, err := img.Manifest()
	must(t, err)
	lies = m.Layers[0].Digest.String()
	if got, err := r.ReadSBOM(t.Context(), found); err == nil {
		t.Errorf("other bytes: got %q, want them refused", got)
	}
	for _, mediaType := range []string{"", "text/plain", "application/json"} {
		if _, err := r.AttachSBOM(t.Context(), ref, []byte(document), mediaType, true); err == nil {
			t.Errorf("type %q was taken for that of an SBOM", mediaType)
		}
	}
	if _, err := r.AttachSBOM(t.Context(), ref, make([]byte, oci.MaxSBOM+1), oci.SPDXJSON, true); err == nil {
		t.Error("an SBOM that could not be read again was attached")
	}
}
