package release_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// shelf is a registry that can be told to take no more, and the sample in it.
type shelf struct {
	*lab
	host string
	full atomic.Bool // manifests of runs that begin now are refused
	tree string
	list []release.Image
}

// fullHeader is in the requests of runs whose manifests are refused: what such a run sent
// may arrive when it has ended.
const fullHeader = "Shelf-Is-Full"

// refusedTransport sends requests with that header.
type refusedTransport struct{}

func (refusedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(fullHeader, "yes")
	return http.DefaultTransport.RoundTrip(r)
}

// registry is what one run uses.
func (s *shelf) registry(now func() time.Time) *oci.Registry {
	o := oci.Options{Now: now}
	if s.full.Load() {
		o.Transport = refusedTransport{}
	}
	return oci.New(o)
}

const (
	imageFiles, imageCount, imageTargets = 3, 7, 12 // the indexes list five manifests

	// imageLogged is how often images are signed: by tag in each place, and as a referrer
	// once for all places of a manifest.
	imageLogged = imageTargets + imageCount
)

func newShelf(t *testing.T, l *lab, referrers bool) *shelf {
	t.Helper()
	s := &shelf{lab: l}
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	inner := registry.New(registry.WithReferrersSupport(referrers), quiet)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(fullHeader) != "" && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"the shelf is full"}]}`, http.StatusInsufficientStorage)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	r, err := release.Sample(t.Context(), release.SampleConfig{
		Dir: t.TempDir(), Version: version + "+build.1", Files: imageFiles + 2, Seed: 7,
		Images: release.SampleImages{Count: imageCount, Registry: oci.New(oci.Options{}), Prefix: s.host + "/k8s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.tree = r.Tree
	if s.list, err = release.ReadImages(r.List); err != nil || len(s.list) != imageCount {
		t.Fatalf("got %d images and %v, want %d", len(s.list), err, imageCount)
	}
	return s
}

func (s *shelf) signImages(t *testing.T, email string, now func() time.Time) (*release.SignReport, error) {
	t.Helper()
	return release.Sign(t.Context(), release.SignConfig{
		Now: now, Dir: s.tree, Session: s.sessionAt(t, email, now), Workers: 4,
		Images: release.ImagesConfig{Registry: s.registry(nil)},
	})
}

func (s *shelf) verifyImages(t *testing.T, c release.ImagesConfig) *release.Report {
	t.Helper()
	id, err := signing.NewIdentity(signingtest.Email, "", s.stack.Issuer(), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Registry = oci.New(oci.Options{})
	r, err := release.Verify(t.Context(), release.VerifyConfig{Dir: s.tree, Trusted: s.kit.Trusted, Identity: id, Workers: 4, Images: c})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tally counts the signatures of a report by how they came to be.
func tally(r *release.SignReport) map[release.How]int {
	n := map[release.How]int{}
	for _, image := range r.Images {
		for _, s := range image.Signatures {
			n[s.How]++
		}
	}
	return n
}

func ref(t *testing.T, text string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSignImages(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		s := newShelf(t, newLab(t), referrers)
		r := s.verifyImages(t, release.ImagesConfig{})
		if len(r.Images) != imageTargets || r.Err() == nil {
			t.Errorf("unsigned: %d images, %v", len(r.Images), r.Err())
		}
		signed, err := s.signImages(t, signingtest.Email, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if n := tally(signed); n[release.Signed] != 2*imageTargets || len(n) != 1 {
			t.Errorf("got %v, want %d signed", n, 2*imageTargets)
		}
		r = s.verifyImages(t, release.ImagesConfig{})
		wantProblems(t, r)
		for _, image := range r.Images {
			if len(image.Signatures) != 2 || image.Signatures[0].Digest != image.Image[strings.Index(image.Image, "sha256:"):] {
				t.Errorf("%s: got %v", image.Image, image.Signatures)
			}
		}
		again, err := s.signImages(t, signingtest.Email, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if n := tally(again); n[release.Skipped] != 2*imageTargets || len(n) != 1 || again.Signed > 0 {
			t.Errorf("again: got %v, want %d skipped", n, 2*imageTargets)
		}
		if n := len(journalOf(t, s.tree)); n != imageLogged+signed.Signed {
			t.Errorf("got %d lines in the journal, want %d", n, imageLogged+signed.Signed)
		}
		wantShared(t, signed)
	}
}

// TestSignImagesResumed has a registry that refuses what was logged already. The next run
// submits it again while the certificate lives, and signs anew later.
func TestSignImagesResumed(t *testing.T) {
	for name, test := range map[string]struct {
		later time.Duration
		want  release.How
	}{
		"at once":          {0, release.Resumed},
		"certificate over": {20 * time.Minute, release.Signed},
	} {
		t.Run(name, func(t *testing.T) {
			var late atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			s := newShelf(t, labOf(t, signingtest.New(t, now)), true)
			s.full.Store(true)
			_, err := s.signImages(t, signingtest.Email, now)
			if err == nil || !strings.Contains(err.Error(), "registry "+s.host) || !strings.Contains(err.Error(), "run the same command again") {
				t.Fatalf("got %v, want an error that names the registry and the next step", err)
			}
			var made []release.JournalLine
			for _, l := range journalOf(t, s.tree) {
				if l.Image != "" {
					made = append(made, l)
				}
			}
			if len(made) == 0 {
				t.Fatal("no image was signed")
			}
			s.full.Store(false)
			late.Store(int64(test.later))
			r, err := s.signImages(t, signingtest.Email, now)
			if err != nil {
				t.Fatal(err)
			}
			wantProblems(t, s.verifyImages(t, release.ImagesConfig{}))
			for _, l := range made {
				if got := howOf(r, l); got != test.want {
					t.Errorf("%s %s: got %q, want %q", l.Image, l.Storage, got, test.want)
				}
			}
		})
	}
}

func howOf(r *release.SignReport, l release.JournalLine) release.How {
	for _, image := range r.Images {
		for _, s := range image.Signatures {
			if image.Image == l.Image && s.Storage == l.Storage {
				return s.How
			}
		}
	}
	return ""
}

// TestVerifyImagesRefuses changes one fact about a signed release at a time.
func TestVerifyImagesRefuses(t *testing.T) {
	s := newShelf(t, newLab(t), true)
	if _, err := s.signImages(t, signingtest.Email, time.Now); err != nil {
		t.Fatal(err)
	}
	manifest, other := s.list[0], s.list[1]
	index := s.list[4]
	sigTag := func(i release.Image) string {
		return i.Pinned()[:strings.Index(i.Pinned(), "@")] + ":" + strings.Replace(i.Digest, ":", "-", 1) + ".sig"
	}
	child := release.Image{Ref: index.Ref, Digest: manifest.Digest}
	tests := []struct {
		name   string
		change func(t *testing.T) (undo func())
		want   []string
	}{
		{"no signature by tag", func(t *testing.T) func() { return s.lift(t, sigTag(manifest)) }, []string{manifest.Pinned() + ": unsigned"}},
		{"a child without one", func(t *testing.T) func() { return s.lift(t, sigTag(child)) }, []string{child.Pinned() + ": unsigned"}},
		{"another image's signature", func(t *testing.T) func() {
			undo := s.lift(t, sigTag(other))
			s.put(t, ref(t, sigTag(other)), s.get(t, sigTag(manifest)))
			return undo
		}, []string{other.Pinned() + ": refused"}},
		{"a tag that moved", func(t *testing.T) func() {
			was := s.get(t, manifest.Ref)
			s.put(t, ref(t, manifest.Ref), s.get(t, other.Ref))
			return func() { s.put(t, ref(t, manifest.Ref), was) }
		}, []string{manifest.String() + ": moved"}},
		{"a tag that is gone", func(t *testing.T) func() { return s.lift(t, manifest.Ref) }, []string{manifest.String() + ": missing"}},
		{"an image that is gone", func(t *testing.T) func() {
			tag, image := s.lift(t, manifest.Ref), s.lift(t, manifest.Pinned())
			return func() { image(); tag() }
		}, []string{manifest.String() + ": missing", manifest.String() + ": missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			undo := tt.change(t)
			wantProblems(t, s.verifyImages(t, release.ImagesConfig{}), tt.want...)
			undo()
			wantProblems(t, s.verifyImages(t, release.ImagesConfig{}))
		})
	}
	t.Run("one style is enough if it is asked for", func(t *testing.T) {
		defer s.lift(t, sigTag(manifest))()
		wantProblems(t, s.verifyImages(t, release.ImagesConfig{Styles: []oci.Style{oci.Referrer}}))
	})
	t.Run("a tag that moved is not signed", func(t *testing.T) {
		defer tests[3].change(t)()
		before := len(journalOf(t, s.tree))
		_, err := s.signImages(t, signingtest.Email, time.Now)
		if err == nil || !strings.Contains(err.Error(), "nothing was signed") || len(journalOf(t, s.tree)) != before {
			t.Errorf("got %v and %d lines, want a refusal and %d", err, len(journalOf(t, s.tree)), before)
		}
	})
	t.Run("another identity", func(t *testing.T) {
		if _, err := s.signImages(t, "mallory@sigstack.local", time.Now); err == nil {
			t.Error("files of somebody else are taken for one's own")
		}
	})
	t.Run("nobody may be asked", func(t *testing.T) {
		_, err := release.Verify(t.Context(), release.VerifyConfig{Dir: s.tree, Trusted: s.kit.Trusted})
		if err == nil || !strings.Contains(err.Error(), "--images none") {
			t.Errorf("got %v, want what to do", err)
		}
	})
	t.Run("a list cut short", func(t *testing.T) {
		list := s.tree + ".short"
		if err := release.WriteImages(list, s.list[:imageCount-1]); err != nil {
			t.Fatal(err)
		}
		wantProblems(t, s.verifyImages(t, release.ImagesConfig{List: list}), s.list[imageCount-1].String()+": missing")
	})
	t.Run("the registry is gone", func(t *testing.T) {
		list := s.tree + ".elsewhere"
		gone := release.Image{Ref: "localhost:1/k8s/a:v1", Digest: manifest.Digest}
		if err := release.WriteImages(list, []release.Image{gone}); err != nil {
			t.Fatal(err)
		}
		want := []string{gone.String() + ": unreadable"}
		for _, image := range s.list[1:] {
			want = append(want, image.String()+": missing")
		}
		wantProblems(t, s.verifyImages(t, release.ImagesConfig{List: list}), want...)
	})
}

func (s *shelf) get(t *testing.T, text string) *remote.Descriptor {
	t.Helper()
	d, err := remote.Get(ref(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// put writes a manifest, and in another repository its blobs too.
func (s *shelf) put(t *testing.T, to name.Reference, d *remote.Descriptor) {
	t.Helper()
	if img, err := d.Image(); err == nil {
		if err := remote.Write(to, img); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := remote.Put(to, d); err != nil {
		t.Fatal(err)
	}
}

// lift takes a reference away, until it is put back.
func (s *shelf) lift(t *testing.T, text string) (undo func()) {
	t.Helper()
	was := s.get(t, text)
	if err := remote.Delete(ref(t, text)); err != nil {
		t.Fatal(err)
	}
	return func() { s.put(t, ref(t, text), was) }
}

func TestSampleImages(t *testing.T) {
	s := newShelf(t, newLab(t), true)
	var names []string
	for _, image := range s.list {
		if got := s.get(t, image.Ref).Digest.String(); got != image.Digest {
			t.Errorf("%s: got %s, want %s", image.Ref, got, image.Digest)
		}
		names = append(names, strings.TrimPrefix(image.Ref, s.host+"/k8s/"))
	}
	tag := ":" + version + "_build.1"
	want := []string{
		"conformance-amd64" + tag, "conformance-arm64" + tag, "conformance-s390x" + tag, "conformance-ppc64le" + tag, "conformance" + tag,
		"kube-apiserver-amd64" + tag, "kube-apiserver" + tag,
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	index, err := s.get(t, s.list[4].Ref).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 4 || m.Manifests[1].Digest.String() != s.list[1].Digest || m.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("got %+v and %v", m, err)
	}
	img, err := s.get(t, s.list[0].Ref).Image()
	if err != nil {
		t.Fatal(err)
	}
	wantRunnable(t, img)
	same := newShelf(t, newLab(t), true)
	for i := range s.list {
		if s.list[i].Digest != same.list[i].Digest {
			t.Errorf("%s and %s differ", s.list[i], same.list[i])
		}
	}
	wantSubjects(t, s)
}

// wantRunnable demands a config that fits the layers.
func wantRunnable(t *testing.T, img v1.Image) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers and %v", len(layers), err)
	}
	diff, err := layers[0].DiffID()
	if err != nil || len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != diff || config.Architecture != "amd64" {
		t.Errorf("got %+v for the layer %s, %v", config, diff, err)
	}
}

// wantSubjects demands that the provenance is about every image.
func wantSubjects(t *testing.T, s *shelf) {
	t.Helper()
	var statement struct {
		Subject []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(read(t, s.tree, release.Provenance), &statement); err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, subject := range statement.Subject {
		digests[subject.Name] = "sha256:" + subject.Digest["sha256"]
	}
	for _, image := range s.list {
		if digests[image.Ref] != image.Digest {
			t.Errorf("provenance: %s is %q, want %s", image.Ref, digests[image.Ref], image.Digest)
		}
	}
}

func TestSampleImagesOfAnyNumber(t *testing.T) {
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	server := httptest.NewServer(registry.New(quiet))
	t.Cleanup(server.Close)
	for _, n := range []int{1, 2, 5, 6, 30, 33} {
		r, err := release.Sample(t.Context(), release.SampleConfig{
			Dir: t.TempDir(), Version: version, Files: imageFiles, Images: release.SampleImages{
				Count: n, Registry: oci.New(oci.Options{}), Prefix: strings.TrimPrefix(server.URL, "http://"),
			},
		})
		if err != nil || r.Images != n {
			t.Errorf("%d images: got %v, %v", n, r, err)
		}
	}
}
