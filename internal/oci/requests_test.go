package oci_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
)

// counted is a registry that keeps a list of what it is asked, each as "METHOD what".
type counted struct {
	host     string
	mu       sync.Mutex // guards requests
	requests []string
}

func count(t *testing.T, inner http.Handler) *counted {
	t.Helper()
	c := &counted{}
	c.host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := "/v2/"
		for _, part := range []string{"/blobs/uploads/", "/blobs/", "/referrers/", "/manifests/"} {
			if at := strings.Index(r.URL.Path, part); at >= 0 {
				what = part
				break
			}
		}
		if strings.HasSuffix(r.URL.Path, ".sig") {
			what = ".sig"
		} else if strings.Contains(r.URL.Path, "/manifests/sha256-") {
			what = "fallback"
		}
		c.mu.Lock()
		c.requests = append(c.requests, r.Method+" "+what)
		c.mu.Unlock()
		inner.ServeHTTP(w, r)
	}))
	return c
}

func (c *counted) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.requests
	c.requests = nil
	slices.Sort(got)
	return got
}

// inTwoSteps is a registry that takes no blob with the request that begins an upload.
func inTwoSteps(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Query().Has("digest") {
			r.URL.RawQuery, r.Body = "", http.NoBody
		}
		inner.ServeHTTP(w, r)
	})
}

// tellingSubject is a registry that answers every manifest with that subject.
func tellingSubject(inner http.Handler, subject func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("OCI-Subject", subject())
		}
		inner.ServeHTTP(w, r)
	})
}

// TestRequests pins what one image of a run asks of a registry, in both styles.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := demo(t)
	lookUp := []string{"GET /v2/", "GET /manifests/", "GET .sig", "GET /referrers/"}
	writes := []string{"GET .sig", "PUT .sig", "PUT /manifests/", "GET .sig"} // the last is the second look
	fallback := []string{"GET fallback", "GET fallback", "PUT fallback", "GET fallback"}
	const post, put = "POST /blobs/uploads/", "PUT /blobs/uploads/"
	digest := ""
	subject, other := func() string { return digest }, func() string { return "sha256:" + strings.Repeat("0", 64) }
	for name, tc := range map[string]struct {
		registry http.Handler
		want     [][]string
	}{
		"referrers API":                  {tellingSubject(registryHandler(true), subject), [][]string{lookUp, writes, {post, post, post, post}}},
		"referrers API that is not told": {registryHandler(true), [][]string{lookUp, writes, {post, post, post, post, "GET /referrers/"}}},
		"another subject is told":        {tellingSubject(registryHandler(true), other), [][]string{lookUp, writes, {post, post, post, post, "GET /referrers/"}}},
		"no referrers API":               {registryHandler(false), [][]string{lookUp, writes, fallback, {post, post, post, post}}},
		"subject told, but no API":       {tellingSubject(registryHandler(false), subject), [][]string{lookUp, writes, fallback, {post, post, post, post}}},
		"uploads in two steps": {inTwoSteps(registryHandler(false)), [][]string{
			lookUp, writes, fallback, {post, put, post, put, post, put, post, put},
		}},
	} {
		c := count(t, tc.registry)
		digest = pushImage(t, c.host+"/app:v1").String()
		c.take()
		s.signAsRun(t, c.host+"/app", digest)
		want := slices.Concat(tc.want...)
		slices.Sort(want)
		if got := c.take(); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, want)
		}
		if got, err := s.verify(t.Context(), c.host+"/app@"+digest, nil); err != nil || len(got.Passed) != 2 {
			t.Errorf("%s: got %+v, %v, want both styles", name, got, err)
		}
	}
}

// signAsRun signs an image, at the tag v1, in both styles as a run of a release does.
func (s signer) signAsRun(t *testing.T, repository, digest string) {
	t.Helper()
	pinned := repository + "@" + digest
	run := oci.New(oci.Options{Now: time.Now}).PuttingOff()
	glance := run.Glance()
	there, err := glance.CheckTag(t.Context(), repository+":v1", digest)
	if err != nil || !there {
		t.Fatalf("got %v, %v, want the tag", there, err)
	}
	_, err = glance.Tree(t.Context(), pinned)
	must(t, err)
	glance = glance.Glance(pinned)
	_, _, err = glance.Proofs(t.Context(), pinned, s.trusted, s.id, nil)
	must(t, err)
	for _, style := range styles() {
		_, err := glance.Sign(t.Context(), s.session, pinned, style, nil)
		must(t, err)
	}
	must(t, run.Settle(t.Context()))
}

// TestGlanceKnowsWhatItReads: a glance judges one state, and writes on top of the newest.
func TestGlanceKnowsWhatItReads(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		ref := host + "/app:v1"
		pushImage(t, ref)
		r := oci.New(oci.Options{Now: time.Now})
		glance := r.Glance()
		proofs := func(r *oci.Registry) int {
			found, _, err := r.Proofs(t.Context(), ref, s.trusted, s.id, nil)
			must(t, err)
			return len(found)
		}
		if n := proofs(glance); n != 0 {
			t.Fatalf("got %d, want nothing signed", n)
		}
		for _, style := range styles() {
			s.sign(t, ref, style, nil) // somebody else does
		}
		if n := proofs(glance); n != 0 {
			t.Errorf("the same glance: got %d, want what it saw", n)
		}
		for _, style := range styles() {
			_, err := glance.Sign(t.Context(), s.session, ref, style, nil)
			must(t, err)
		}
		got, err := s.verify(t.Context(), ref, nil)
		if err != nil || len(got.Passed) != 4 {
			t.Errorf("got %d signatures, %v, want those of both signers", len(got.Passed), err)
		}
		if n := proofs(glance.Glance()); n != 2 {
			t.Errorf("another glance: got %d styles, want both", n)
		}
	})
}

// TestFallbackEntries: an index at the fallback tag that others have written to is kept as
// it is, and the entry says of the referrer what its manifest says.
func TestFallbackEntries(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := serve(t, registryHandler(false))
	digest := pushImage(t, host+"/app:v1")
	fallback := parse(t, host+"/app:sha256-"+digest.Hex)
	for range 2 {
		glance := oci.New(oci.Options{Now: time.Now}).Glance()
		_, _, err := glance.Proofs(t.Context(), host+"/app:v1", s.trusted, s.id, nil)
		must(t, err)
		_, err = glance.Sign(t.Context(), s.session, host+"/app:v1", oci.Referrer, nil)
		must(t, err)
	}
	got, err := remote.Get(fallback)
	must(t, err)
	var index v1.IndexManifest
	must(t, json.Unmarshal(got.Manifest, &index))
	if len(index.Manifests) != 2 || index.SchemaVersion != 2 || index.MediaType != "application/vnd.oci.image.index.v1+json" {
		t.Fatalf("got %+v, want an index of two", index)
	}
	for _, d := range index.Manifests {
		m, err := remote.Get(parse(t, host+"/app@"+d.Digest.String()))
		must(t, err)
		if d.ArtifactType != "application/vnd.dev.sigstore.bundle.v0.3+json" || d.Size != int64(len(m.Manifest)) ||
			d.MediaType != m.MediaType || d.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" {
			t.Errorf("got %+v, want it described as it is", d)
		}
	}
}

// TestUploadsInPieces: registries that take no blob in one piece, or send it elsewhere, get
// it in the other way.
func TestUploadsInPieces(t *testing.T) {
	t.Parallel()
	s := demo(t)
	for name, refuse := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"no body with the last request": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.ContentLength == 0 {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			return true
		},
		"fails once": func() func(http.ResponseWriter, *http.Request) bool {
			var once sync.Once
			return func(w http.ResponseWriter, r *http.Request) (failed bool) {
				if r.Method == http.MethodPost {
					once.Do(func() {
						failed = true
						w.WriteHeader(http.StatusInternalServerError)
					})
				}
				return failed
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := intercept(t, refuse)
			img := host + "/app:v1"
			pushImage(t, img)
			for _, style := range styles() {
				s.sign(t, img, style, nil)
			}
			if got, err := s.verify(t.Context(), img, nil); err != nil || len(got.Passed) != 2 {
				t.Errorf("got %+v, %v, want both styles", got, err)
			}
		})
	}
}

// TestPingedOnce: one registry is asked once how to log in, whatever is done there, and
// each repository is still logged in to.
func TestPingedOnce(t *testing.T) {
	t.Parallel()
	s := demo(t)
	var mu sync.Mutex
	pings, bare := 0, 0
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/v2/" && user == "":
			pings++
		case user != "alice" || password != "secret":
			bare++
		default:
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	r := oci.New(oci.Options{Now: time.Now, Keychain: keychain{authn.AuthConfig{Username: "alice", Password: "secret"}}})
	for _, repository := range []string{"/a", "/b", "/c"} {
		img, err := remote.Image(parse(t, plainImage(t)))
		must(t, err)
		_, err = r.Push(t.Context(), host+repository+":v1", img)
		must(t, err)
		for _, style := range styles() {
			_, err := r.Sign(t.Context(), s.session, host+repository+":v1", style, nil)
			must(t, err)
		}
		if _, err := r.Verify(t.Context(), host+repository+":v1", s.trusted, s.id, nil); err != nil {
			t.Error(err)
		}
	}
	if pings > 2 || pings == 0 || bare > 0 { // one for blobs of any size
		t.Errorf("got %d pings and %d requests without credentials, want at most 2 and none", pings, bare)
	}
}

// plainImage is one in a registry of its own.
func plainImage(t *testing.T) (ref string) {
	t.Helper()
	ref = serve(t, registryHandler(true)) + "/plain:v1"
	pushImage(t, ref)
	return ref
}
