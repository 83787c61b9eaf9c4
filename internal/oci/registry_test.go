package oci_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"sigstack/internal/oci"
)

// intercept puts handle before a registry; it answers what it returns true for.
func intercept(t *testing.T, handle func(w http.ResponseWriter, r *http.Request) bool) (host string) {
	t.Helper()
	inner := registryHandler(true)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handle(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
}

// TestUnreachable tells a registry that gives no answer from one that says no.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := demo(t)
	_, err := s.verify(t.Context(), "127.0.0.1:1/app:v1", nil)
	wantError[*oci.UnreachableError](t, err, "registry 127.0.0.1:1 cannot be reached")

	status := func(code int) string {
		return intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(code)
			return true
		})
	}
	var unreachable *oci.UnreachableError
	_, err = s.verify(t.Context(), status(http.StatusForbidden)+"/app:v1", nil)
	if errors.As(err, &unreachable) || err == nil || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("got %v, want a refusal with what to do", err)
	}
	_, err = s.verify(t.Context(), status(http.StatusNotFound)+"/app:v1", nil)
	if errors.As(err, &unreachable) || err == nil {
		t.Errorf("got %v, want a refusal", err)
	}
	// Signatures that cannot be listed are not the same as none.
	broken := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	})
	pushImage(t, broken+"/app:v1")
	_, err = s.verify(t.Context(), broken+"/app:v1", nil)
	wantError[*oci.UnreachableError](t, err, broken, "list referrers")
}

// TestRedirectToThisMachine: what listens here unencrypted is not for registries
// elsewhere to have asked.
func TestRedirectToThisMachine(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	here := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	var path string // that is redirected
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, path):
			http.Redirect(w, r, "http://"+here+"/admin", http.StatusTemporaryRedirect)
		case strings.HasSuffix(r.URL.Path, "/manifests/v1"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = w.Write([]byte("{}"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(elsewhere.Close)
	transport := elsewhere.Client().Transport.(*http.Transport).Clone()
	transport.DialTLSContext, transport.DialContext = nil, func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "example.com:443" {
			address = elsewhere.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	s := demo(t)
	for _, path = range []string{"/manifests/v1", "/referrers/"} {
		_, err := oci.New(oci.Options{Transport: transport}).Verify(t.Context(), "example.com/app:v1", s.trusted, s.id, nil)
		if err == nil || asked.Load() != 0 {
			t.Errorf("%s: got %v, and this machine asked %d times, want it refused", path, err, asked.Load())
		}
	}
}

// TestLostPage: a list of which a later page is not there is not taken for the
// whole, nor for a registry without lists.
func TestLostPage(t *testing.T) {
	t.Parallel()
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		if r.URL.Query().Has("page") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		w.Header().Set("Link", "<"+r.URL.Path+`?page=2>; rel="next"`)
		return false
	})
	pushImage(t, host+"/app:v1")
	_, err := demo(t).verify(t.Context(), host+"/app:v1", nil)
	var unsigned *oci.UnsignedError
	if errors.As(err, &unsigned) || err == nil || !strings.Contains(err.Error(), "list referrers: page 2") {
		t.Errorf("got %v, want the list blamed", err)
	}
}

// TestPlainHTTP goes to registries elsewhere with permission only.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := serve(t, registryHandler(true))
	pushImage(t, host+"/app:v1")
	redirected := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, host)
	}}
	for _, registry := range []string{"10.1.2.3:5000", "registry.example"} {
		r := oci.New(oci.Options{Transport: redirected})
		_, err := r.Sign(t.Context(), s.session, registry+"/app:v1", oci.Referrer, nil)
		wantError[*oci.UnreachableError](t, err, registry)
		if registry == "10.1.2.3:5000" && !strings.Contains(err.Error(), "--allow-insecure-registry") {
			t.Errorf("%s: got %v, want the way out named", registry, err)
		}
		r = oci.New(oci.Options{Transport: redirected, AllowHTTP: true})
		_, err = r.Sign(t.Context(), s.session, registry+"/app:v1", oci.Referrer, nil)
		must(t, err)
	}
	// This machine needs none, under any of its names.
	_, port, err := net.SplitHostPort(host)
	must(t, err)
	for _, name := range []string{"localhost", "registry.localhost", "127.0.0.2"} {
		r := oci.New(oci.Options{Transport: redirected})
		if _, err := r.Verify(t.Context(), name+":"+port+"/app:v1", s.trusted, s.id, nil); err != nil {
			var unsigned *oci.UnsignedError
			if !errors.As(err, &unsigned) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// TestRedirectToPlainHTTP: a registry must not send us there either.
func TestRedirectToPlainHTTP(t *testing.T) {
	t.Parallel()
	s := demo(t)
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		http.Redirect(w, r, "http://elsewhere.example"+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	_, err := s.verify(t.Context(), host+"/app:v1", nil)
	if err == nil || !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("got %v, want a refusal of plain HTTP", err)
	}
}

// TestHugeAnswers: nothing is read without end.
func TestHugeAnswers(t *testing.T) {
	t.Parallel()
	s := demo(t)
	for _, part := range []string{"/manifests/v1", "/manifests/sha256-", "/referrers/"} {
		armed := false
		host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
			if !armed || !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = w.Write(make([]byte, 5<<20))
			return true
		})
		pushImage(t, host+"/app:v1")
		armed = true
		_, err := s.verify(t.Context(), host+"/app:v1", nil)
		if err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
			t.Errorf("%s: got %v, want the limit named", part, err)
		}
	}
}

// keychain has one login for every registry.
type keychain struct{ authn.AuthConfig }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k.AuthConfig), nil
}

// TestCredentials: every request of signing and verifying carries them.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := demo(t)
	armed := false
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if !armed || user == "ann" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	ref := host + "/app:v1"
	pushImage(t, ref)
	armed = true
	for _, style := range styles() {
		r := oci.New(oci.Options{Keychain: keychain{authn.AuthConfig{Username: "ann", Password: "secret"}}})
		_, err := r.Sign(t.Context(), s.session, ref, style, nil)
		must(t, err)
		_, err = r.Verify(t.Context(), ref, s.trusted, s.id, nil)
		must(t, err)
		r = oci.New(oci.Options{Keychain: keychain{authn.AuthConfig{Username: "ann", Password: "guess"}}})
		_, err = r.Sign(t.Context(), s.session, ref, style, nil)
		if err == nil || !strings.Contains(err.Error(), "docker login") || strings.Contains(err.Error(), "guess") {
			t.Errorf("by %s: got %v, want a refusal", style, err)
		}
	}
}

// TestPages reads every page of referrers, but none of another host.
func TestPages(t *testing.T) {
	t.Parallel()
	s := demo(t)
	next := ""
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") || r.URL.Query().Get("page") == "2" || next == "" {
			return false
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, strings.ReplaceAll(next, "PATH", r.URL.Path)))
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
		return true
	})
	ref := host + "/app:v1"
	pushImage(t, ref)
	s.sign(t, ref, oci.Referrer, nil)
	for _, page := range []string{"PATH?page=2", "http://" + host + "PATH?page=2", "?page=2"} {
		next = page
		if _, err := s.verify(t.Context(), ref, nil); err != nil {
			t.Errorf("next page %s: %v", page, err)
		}
	}
	for page, want := range map[string]string{
		"http://127.0.0.1:1/PATH": "on another host",
		"PATH?page=1":             "more than 50 pages",
	} {
		next = page
		if _, err := s.verify(t.Context(), ref, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("next page %s: got %v, want %q", page, err, want)
		}
	}
}

// TestLostUpdates: a write that somebody else overwrites is made again.
func TestLostUpdates(t *testing.T) {
	t.Parallel()
	s := demo(t)
	for _, style := range styles() {
		lost := 0
		inner := registryHandler(false)
		host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The first two writes of the tag are answered, but not kept.
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") && lost < 2 {
				lost++
				w.WriteHeader(http.StatusCreated)
				return
			}
			inner.ServeHTTP(w, r)
		}))
		ref := host + "/app:v1"
		pushImage(t, ref)
		s.sign(t, ref, style, nil)
		if lost != 2 {
			t.Errorf("by %s: lost %d writes, want 2", style, lost)
		}
		if got, err := s.verify(t.Context(), ref, nil); err != nil || len(got.Passed) != 1 {
			t.Errorf("by %s: got %+v, %v, want the signature kept", style, got, err)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"", "::", "UPPER/case", "a/b@sha256:00", "oci://a/b", "a/b:tag:tag"} {
		var bad *oci.ReferenceError
		if err := oci.CheckReference(ref); !errors.As(err, &bad) {
			t.Errorf("%q: got %v, want a ReferenceError", ref, err)
		}
	}
	for _, ref := range []string{"app", "registry.example/app", "[::1]:5000/app:v1", "localhost:1/a/b@sha256:" + strings.Repeat("0", 64)} {
		if err := oci.CheckReference(ref); err != nil {
			t.Errorf("%q: %v", ref, err)
		}
	}
}
