package oci_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// rawManifest is pushed as it is.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// fixture is a signed image at a registry, and a second image beside it.
type fixture struct {
	signer
	repo         string
	image, other v1.Hash
}

func newFixture(t *testing.T, s signer, referrers bool) fixture {
	t.Helper()
	repo := serve(t, registryHandler(referrers)) + "/app"
	return fixture{s, repo, pushImage(t, repo+":v1"), pushImage(t, repo+":v2")}
}

func (f fixture) tag(t *testing.T, of v1.Hash, suffix string) name.Reference {
	t.Helper()
	return parse(t, f.repo+":sha256-"+of.Hex+suffix)
}

// editTag rewrites the manifest at a tag.
func (f fixture) editTag(t *testing.T, from, to name.Reference, change func(*v1.Manifest)) {
	t.Helper()
	desc, err := remote.Get(from)
	must(t, err)
	var m v1.Manifest
	must(t, json.Unmarshal(desc.Manifest, &m))
	change(&m)
	raw, err := json.Marshal(m)
	must(t, err)
	must(t, remote.Put(to, rawManifest(raw)))
}

// refer pushes a manifest with one layer that refers to an image.
func (f fixture) refer(t *testing.T, to v1.Hash, layerType string, content []byte, change func(*v1.Manifest)) {
	t.Helper()
	repo := parse(t, f.repo).Context()
	layer, empty := static.NewLayer(content, types.MediaType(layerType)), static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	must(t, remote.WriteLayer(repo, layer))
	must(t, remote.WriteLayer(repo, empty))
	describe := func(l v1.Layer) v1.Descriptor {
		h, err := l.Digest()
		must(t, err)
		size, err := l.Size()
		must(t, err)
		mediaType, err := l.MediaType()
		must(t, err)
		return v1.Descriptor{MediaType: mediaType, Digest: h, Size: size}
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: layerType, Config: describe(empty),
		Layers:  []v1.Descriptor{describe(layer)},
		Subject: &v1.Descriptor{MediaType: types.DockerManifestSchema2, Digest: to, Size: 1},
	}
	if change != nil {
		change(&m)
	}
	raw, err := json.Marshal(m)
	must(t, err)
	sum := sha256.Sum256(raw)
	must(t, remote.Put(repo.Digest("sha256:"+hex.EncodeToString(sum[:])), rawManifest(raw)))
}

// statement signs a statement about an image, and returns the bundle.
func (f fixture) statement(t *testing.T, predicateType string, about ...v1.Hash) []byte {
	t.Helper()
	var subjects []signing.Subject
	for _, h := range about {
		subjects = append(subjects, signing.Subject{Digest: map[string]string{"sha256": h.Hex}})
	}
	text, err := signing.NewStatement(subjects, predicateType, nil)
	must(t, err)
	signed, err := f.session.SignStatement(t.Context(), text)
	must(t, err)
	return signed.JSON
}

// TestRefusedByTag takes a signature that passes and changes one fact of it.
func TestRefusedByTag(t *testing.T) {
	t.Parallel()
	s := demo(t)
	annotate := func(key string, change func(string) string) func(*v1.Manifest) {
		return func(m *v1.Manifest) {
			a := maps.Clone(m.Layers[0].Annotations)
			a["dev.sigstore.cosign/"+key] = change(a["dev.sigstore.cosign/"+key])
			m.Layers[0].Annotations = a
		}
	}
	none := func(string) string { return "" }
	for _, tt := range []struct {
		name   string
		change func(*v1.Manifest)
		check  signing.Check
		reason string
	}{
		{"no signature", func(m *v1.Manifest) { delete(m.Layers[0].Annotations, "dev.cosignproject.cosign/signature") }, signing.CheckBundle, "no annotation"},
		{"empty signature", func(m *v1.Manifest) { m.Layers[0].Annotations["dev.cosignproject.cosign/signature"] = "" }, signing.CheckBundle, "in its annotation"},
		{"not base64", func(m *v1.Manifest) { m.Layers[0].Annotations["dev.cosignproject.cosign/signature"] = "?" }, signing.CheckBundle, "decode"},
		{"no certificate", annotate("certificate", none), signing.CheckBundle, ""},
		{"two certificates", annotate("certificate", func(c string) string { return c + c }), signing.CheckBundle, "got 2 certificates"},
		{"no log entry", annotate("bundle", none), signing.CheckLog, ""},
		{"entry later", annotate("bundle", func(b string) string {
			return strings.Replace(b, `"logIndex":`, `"logIndex":1`, 1)
		}), signing.CheckPromise, ""},
		{"no layer", func(m *v1.Manifest) { m.Layers[0].MediaType = "application/json" }, "", "has no signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, s, true)
			f.sign(t, f.repo+":v1", oci.Tag, nil)
			tag := f.tag(t, f.image, ".sig")
			f.editTag(t, tag, tag, tt.change)
			_, err := f.verify(t.Context(), f.repo+":v1", nil)
			wantCheck(t, err, tt.check, tt.reason)
		})
	}
}

// wantCheck demands a refusal whose first reason is at a check; with none, that
// nothing was found.
func wantCheck(t *testing.T, err error, check signing.Check, reason string) {
	t.Helper()
	if check == "" {
		wantError[*oci.UnsignedError](t, err, reason)
		return
	}
	wantError[*oci.RefusedError](t, err, reason)
	var refused *signing.RefusedError
	if !asError(err, &refused) || refused.Check != check {
		t.Errorf("got %v, want a refusal at %q", err, check)
	}
}

// TestOfAnotherImage moves what was signed for one image to another.
func TestOfAnotherImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	f.sign(t, f.repo+":v1", oci.Tag, nil)
	f.editTag(t, f.tag(t, f.image, ".sig"), f.tag(t, f.other, ".sig"), func(*v1.Manifest) {})
	_, err := f.verify(t.Context(), f.repo+":v2", nil)
	wantCheck(t, err, oci.CheckPayload, "it is for "+f.image.String())

	f.attest(t, f.repo+":v1", oci.Tag, spdx, `{}`)
	f.editTag(t, f.tag(t, f.image, ".att"), f.tag(t, f.other, ".att"), func(*v1.Manifest) {})
	_, err = f.verifyAttestation(t.Context(), f.repo+":v2", spdx)
	wantCheck(t, err, signing.CheckStatement, "none of its 1 subjects")

	f = newFixture(t, f.signer, true)
	f.refer(t, f.other, bundleType, f.statement(t, oci.SignaturePredicate, f.image), nil)
	f.refer(t, f.other, bundleType, f.statement(t, spdx, f.image), nil)
	_, err = f.verify(t.Context(), f.repo+":v2", nil)
	wantCheck(t, err, signing.CheckStatement, "found 1: attestation: none of its 1 subjects")
	_, err = f.verifyAttestation(t.Context(), f.repo+":v2", spdx)
	wantCheck(t, err, signing.CheckStatement, "found 1: attestation: none of its 1 subjects")
}

// TestTypeConfusion: a signature is no attestation, and the other way round.
func TestTypeConfusion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), false)
	ref := f.repo + ":v1"

	f.refer(t, f.image, bundleType, f.statement(t, spdx, f.image), nil)
	_, err := f.verify(t.Context(), ref, nil)
	wantError[*oci.UnsignedError](t, err, "has no signature", "it has "+spdx)

	digest, err := hex.DecodeString(f.image.Hex)
	must(t, err)
	message, err := f.session.SignDigest(t.Context(), [32]byte(digest))
	must(t, err)
	f.refer(t, f.image, bundleType, message.JSON, nil)
	_, err = f.verify(t.Context(), ref, nil)
	wantCheck(t, err, signing.CheckStatement, "not an attestation")

	f.refer(t, f.other, bundleType, f.statement(t, oci.SignaturePredicate, f.image, f.other), nil)
	_, err = f.verify(t.Context(), f.repo+":v2", nil)
	wantCheck(t, err, signing.CheckStatement, "2 subjects")

	if _, err := f.verifyAttestation(t.Context(), ref, oci.SignaturePredicate); err == nil {
		t.Error("verify a signature as an attestation: got no error")
	}
	if _, err := f.verifyAttestation(t.Context(), ref); err == nil {
		t.Error("verify an attestation of no type: got no error")
	}
	r := oci.New(oci.Options{})
	if _, err := r.Attest(t.Context(), f.session, ref, oci.Tag, oci.SignaturePredicate, nil); err == nil {
		t.Error("attest with the type of signatures: got no error")
	}
	if _, err := r.Sign(t.Context(), f.session, ref, "sideways", nil); err == nil {
		t.Error("sign in an unknown style: got no error")
	}
}

// TestUnsignedErrorText: types are told as registries have them, which is to say as
// anybody wrote them.
func TestUnsignedErrorText(t *testing.T) {
	t.Parallel()
	other := []string{"\x1b[2Jverified", strings.Repeat("x", 1000), "c", "d", "e", "f", "g"}
	err := &oci.UnsignedError{Image: "app", What: "signature", Other: other}
	want := "refused: app has no signature, neither by tag nor among its referrers; it has \ufffd[2Jverified, " +
		strings.Repeat("x", 200) + "..., c, d, e and 2 more"
	if got := err.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHiddenType: what does not show its type in passing is judged by the type that
// was signed.
func TestHiddenType(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	bundle := f.statement(t, spdx, f.image)
	hidden := strings.Replace(string(bundle), `"dsseEnvelope"`, `"dsse_envelope"`, 1)
	f.refer(t, f.image, bundleType, []byte(hidden), nil)
	_, err := f.verify(t.Context(), f.repo+":v1", nil)
	wantCheck(t, err, signing.CheckStatement, "found 1")
	_, err = f.verifyAttestation(t.Context(), f.repo+":v1", "https://slsa.dev/provenance/v1")
	wantCheck(t, err, signing.CheckStatement, "found 1")
	_, err = f.verifyAttestation(t.Context(), f.repo+":v1", spdx)
	must(t, err)
}

// TestAmongOthers finds a signature among things that are none.
func TestAmongOthers(t *testing.T) {
	t.Parallel()
	for _, referrers := range []bool{true, false} {
		f := newFixture(t, demo(t), referrers)
		f.refer(t, f.image, "text/spdx", []byte("SPDXVersion: SPDX-2.3"), nil)
		f.refer(t, f.image, bundleType, []byte("{}"), nil)
		f.refer(t, f.image, bundleType, []byte(`{"not":"ours"}`), func(m *v1.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) })
		f.refer(t, f.image, bundleType, f.statement(t, spdx, f.image), nil)
		f.refer(t, f.image, bundleType, []byte(`{"gone":1}`), func(m *v1.Manifest) { m.Layers[0].Digest.Hex = strings.Repeat("0", 64) })
		f.refer(t, f.image, bundleType, []byte(`{"size":1}`), func(m *v1.Manifest) { m.Layers[0].Size = 1 << 40 })
		_, err := f.verify(t.Context(), f.repo+":v1", nil)
		wantError[*oci.RefusedError](t, err, "found 4", "2 bundles in one manifest", "not between 0 and")
		f.sign(t, f.repo+":v1", oci.Referrer, nil)
		got, err := f.verify(t.Context(), f.repo+":v1", nil)
		must(t, err)
		if got.Found != 5 || len(got.Passed) != 1 {
			t.Errorf("got %+v, want one of five", got)
		}
	}
}

// TestLimits: what exceeds them is said to be unverified, not passed over.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	f.sign(t, f.repo+":v1", oci.Tag, nil)
	tag := f.tag(t, f.image, ".sig")
	f.editTag(t, tag, tag, func(m *v1.Manifest) {
		good := m.Layers[0]
		bad := good
		bad.Annotations = map[string]string{}
		m.Layers = nil
		for range 300 {
			m.Layers = append(m.Layers, bad)
		}
		m.Layers = append(m.Layers, good)
	})
	_, err := f.verify(t.Context(), f.repo+":v1", nil)
	wantError[*oci.RefusedError](t, err, "found 256 (not all were looked at", "and 251 more")
}

// TestForeignTag leaves a tag alone that holds something else.
func TestForeignTag(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	index, err := random.Index(64, 1, 1)
	must(t, err)
	must(t, remote.WriteIndex(f.tag(t, f.image, ".sig"), index))
	_, err = oci.New(oci.Options{Now: time.Now}).Sign(t.Context(), f.session, f.repo+":v1", oci.Tag, nil)
	if err == nil || !strings.Contains(err.Error(), "holds something else") {
		t.Errorf("sign: got %v, want the tag left alone", err)
	}
	if _, err = f.verify(t.Context(), f.repo+":v1", nil); err == nil || !strings.Contains(err.Error(), "not an image manifest") {
		t.Errorf("verify: got %v, want the tag blamed", err)
	}
}

// TestOtherTrust: another stack's signatures do not pass.
func TestOtherTrust(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	for _, style := range styles() {
		f.sign(t, f.repo+":v1", style, nil)
	}
	stranger := newSigner(t, signingtest.New(t, time.Now), signingtest.Email)
	_, err := oci.New(oci.Options{}).Verify(t.Context(), f.repo+":v1", stranger.trusted, f.id, nil)
	wantCheck(t, err, signing.CheckLog, "found 2")
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, demo(t), true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.verify(ctx, f.repo+":v1", nil)
	if err == nil || ctx.Err() == nil || !strings.Contains(fmt.Sprint(err), "canceled") {
		t.Errorf("got %v, want the context's error", err)
	}
}
