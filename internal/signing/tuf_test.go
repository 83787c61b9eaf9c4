package signing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const mirror = "http://tuf.example/tuf"

// client returns a client of r with a cache of its own, which trusts r's first
// root.
func (r *tufRepo) client() signing.TUF {
	r.tb.Helper()
	root, _ := r.get("1.root.json")
	return signing.TUF{URL: mirror, Root: root, Cache: r.tb.TempDir(), Now: now, HTTP: &http.Client{Transport: r}}
}

// RoundTrip answers as a mirror of the repository.
func (r *tufRepo) RoundTrip(req *http.Request) (*http.Response, error) {
	res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: req, Body: http.NoBody}
	data, ok := r.get(strings.TrimPrefix(req.URL.String(), mirror+"/"))
	if !ok {
		res.StatusCode = http.StatusNotFound
		return res, nil
	}
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res, nil
}

// newTUF returns a repository that has published the kit of a stack.
func newTUF(tb testing.TB) (*tufRepo, *signingtest.Stack) {
	tb.Helper()
	s := signingtest.New(tb, now)
	r := newTUFRepo(tb)
	r.publish(kitTargets(tb, s))
	return r, s
}

func kitTargets(tb testing.TB, s *signingtest.Stack) map[string][]byte {
	tb.Helper()
	trustedRoot, config := s.KitFiles(tb)
	return map[string][]byte{"trusted_root.json": trustedRoot, "signing_config.v0.2.json": config}
}

func TestTUFKit(t *testing.T) {
	r, s := newTUF(t)
	c := r.client()
	for _, round := range []string{"first", "from the cache", "after a rotation"} {
		kit, err := c.Kit(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", round, err)
		}
		if want := newKit(t, s).Trusted.SHA256; kit.Trusted.SHA256 != want || !strings.HasPrefix(kit.Trusted.String(), mirror+" sha256:") {
			t.Errorf("%s: got %s, want the mirror's root, sha256:%x", round, kit.Trusted, want[:6])
		}
		if _, err := kit.Services(now()); err != nil {
			t.Errorf("%s: %v", round, err)
		}
		if round == "from the cache" {
			r.rotate()
			r.publish(kitTargets(t, s))
		}
	}
}

// TestTUFKitSigns is the whole way: what the repository names is signed with.
func TestTUFKitSigns(t *testing.T) {
	r, _ := newTUF(t)
	kit, err := r.client().Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keySession(t, kit, newKey(t)).SignStatement(t.Context(), statement(t)); err != nil {
		t.Error(err)
	}
}

// TestTUFKitForVerification has a repository without a signing config.
func TestTUFKitForVerification(t *testing.T) {
	s := signingtest.New(t, now)
	r := newTUFRepo(t)
	targets := kitTargets(t, s)
	delete(targets, "signing_config.v0.2.json")
	r.publish(targets)
	kit, err := r.client().Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kit.Services(now()); err == nil || !strings.Contains(err.Error(), "verification only") {
		t.Errorf("got %v, want it said that the kit is for verification only", err)
	}
}

func flipped(data []byte) []byte {
	flip(data)
	return data
}

// TestTUFRefuses has mirrors that lie, to a client that has seen version 1.
func TestTUFRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *tufRepo)
		want   string // in the error
	}{
		{"stale", func(r *tufRepo) {
			r.expires = now().Add(-time.Minute)
			r.publish(nil)
		}, "the mirror is stale"},
		{"timestamp changed", func(r *tufRepo) { r.edit("timestamp.json", flipped) }, mirror},
		{"snapshot changed", func(r *tufRepo) {
			r.publish(nil)
			r.edit("2.snapshot.json", flipped)
		}, "hash"},
		{"targets changed", func(r *tufRepo) {
			r.publish(nil)
			r.edit("2.targets.json", flipped)
		}, "hash"},
		{"snapshot longer", func(r *tufRepo) {
			r.publish(nil)
			r.edit("2.snapshot.json", func(data []byte) []byte { return append(data, ' ') })
		}, "at most"},
		{"timestamp longer", func(r *tufRepo) {
			r.edit("timestamp.json", func([]byte) []byte { return make([]byte, 1<<20) })
		}, "at most"},
		{"no trust root", func(r *tufRepo) { r.publish(nil) }, "no target trusted_root.json"},
		{"trust root too long", func(r *tufRepo) {
			r.publish(map[string][]byte{"trusted_root.json": make([]byte, 5<<20)})
		}, "more than"},
		{"signed by a stranger", func(r *tufRepo) {
			r.key = newTUFRepo(r.tb).key
			r.publish(nil)
		}, "not enough signatures"},
		{"root by a stranger", func(r *tufRepo) {
			stranger := newTUFRepo(r.tb)
			stranger.rotate()
			root, _ := stranger.get("2.root.json")
			r.put("2.root.json", root)
		}, "not enough signatures"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newTUF(t)
			c := r.client()
			if _, err := c.Kit(t.Context()); err != nil {
				t.Fatal(err)
			}
			tt.change(r)
			_, err := c.Kit(t.Context())
			wantTUF(t, err, tt.want)
		})
	}
}

func wantTUF(t *testing.T, err error, want string) {
	t.Helper()
	wantRefused(t, err, signing.CheckTUF)
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

// TestTUFRefusesRollback has a mirror that goes back to what was once signed: only
// who has seen the newer state can tell.
func TestTUFRefusesRollback(t *testing.T) {
	r, s := newTUF(t)
	old, _ := r.get("timestamp.json")
	r.publish(kitTargets(t, s))
	c := r.client()
	if _, err := c.Kit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put("timestamp.json", old)
	_, err := c.Kit(t.Context())
	wantTUF(t, err, "older metadata than was seen")
	if _, err := r.client().Kit(t.Context()); err != nil {
		t.Errorf("who has seen nothing: %v", err)
	}
}

// TestTUFRefusesRootRollback has a mirror that hides a rotation from who knows it.
func TestTUFRefusesRootRollback(t *testing.T) {
	r, s := newTUF(t)
	old, _ := r.get("timestamp.json")
	c := r.client()
	r.rotate()
	r.publish(kitTargets(t, s))
	if _, err := c.Kit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.edit("2.root.json", func([]byte) []byte { return nil })
	r.put("timestamp.json", old)
	_, err := c.Kit(t.Context())
	wantTUF(t, err, "not enough signatures")
}

// TestTUFRefusesTarget changes files that the client has not fetched yet.
func TestTUFRefusesTarget(t *testing.T) {
	for _, name := range []string{"trusted_root.json", "signing_config.v0.2.json"} {
		r, _ := newTUF(t)
		r.edit("."+name, flipped)
		_, err := r.client().Kit(t.Context())
		wantTUF(t, err, "target "+name)
	}
}

func TestTUFRefusesUnknownRoot(t *testing.T) {
	r, _ := newTUF(t)
	c := r.client()
	c.Root, _ = newTUFRepo(t).get("1.root.json")
	_, err := c.Kit(t.Context())
	wantTUF(t, err, "not enough signatures")
	c.Root = flipped(bytes.Clone(c.Root))
	_, err = c.Kit(t.Context())
	wantTUF(t, err, "load root")
}

// TestTUFExpires moves the client's clock rather than the metadata.
func TestTUFExpires(t *testing.T) {
	r, _ := newTUF(t)
	c := r.client()
	c.Now = func() time.Time { return now().Add(59 * time.Minute) }
	if _, err := c.Kit(t.Context()); err != nil {
		t.Error(err)
	}
	c.Now = func() time.Time { return now().Add(61 * time.Minute) }
	_, err := c.Kit(t.Context())
	wantTUF(t, err, "timestamp.json is expired")
	c.Now = func() time.Time { return now().Add(25 * time.Hour) }
	_, err = c.Kit(t.Context())
	wantTUF(t, err, "root.json is expired")
}

// TestTUFMirrorFails has mirrors that are down or none at all.
func TestTUFMirrorFails(t *testing.T) {
	r, _ := newTUF(t)
	synctest.Test(t, func(t *testing.T) {
		c := r.client()
		c.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("connection refused")
		})}
		_, err := c.Kit(t.Context())
		var unreachable *signing.UnreachableError
		if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), mirror) || strings.Contains(err.Error(), "--client") {
			t.Errorf("got %v, want the mirror unreachable", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Kit(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the caller's end", err)
		}
	})
	c := r.client()
	c.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return respond(404, ""), nil })}
	_, err := c.Kit(t.Context())
	var answered *signing.ServiceError
	if !errors.As(err, &answered) || answered.Status != http.StatusNotFound || !strings.Contains(err.Error(), "check that the URL") {
		t.Errorf("got %v, want it said that this is no TUF repository", err)
	}
}

// TestTUFCache damages the cache: targets are fetched again, metadata is named.
func TestTUFCache(t *testing.T) {
	r, _ := newTUF(t)
	c := r.client()
	if _, err := c.Kit(t.Context()); err != nil {
		t.Fatal(err)
	}
	damage := func(pattern string) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(c.Cache, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("got %v, %v, want one file %s", found, err, pattern)
		}
		if err := os.WriteFile(found[0], []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage("*/targets/trusted_root.json")
	if _, err := c.Kit(t.Context()); err != nil {
		t.Errorf("damaged target: %v", err)
	}
	damage("*/snapshot.json")
	var refused *signing.RefusedError
	if _, err := c.Kit(t.Context()); err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "snapshot.json: it is damaged") {
		t.Errorf("damaged snapshot: got %v, want the file named, and the mirror not blamed", err)
	}
	c.Cache = filepath.Join(c.Cache, "file")
	if err := os.WriteFile(c.Cache, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kit(t.Context()); err == nil || errors.As(err, &refused) {
		t.Errorf("cache is a file: got %v, want an error that is no refusal", err)
	}
}

// TestTUFCacheIsShared has clients of one cache at once: they take turns.
func TestTUFCacheIsShared(t *testing.T) {
	r, _ := newTUF(t)
	c := r.client()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := c.Kit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	found, err := filepath.Glob(filepath.Join(c.Cache, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v, want one directory", found, err)
	}
	lock, err := durable.LockDir(found[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Kit(ctx); !errors.Is(err, durable.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the holder waited for until the deadline", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTUFNeedsAll(t *testing.T) {
	r, _ := newTUF(t)
	for i, change := range []func(*signing.TUF){
		func(c *signing.TUF) { c.URL = "" },
		func(c *signing.TUF) { c.Root = nil },
		func(c *signing.TUF) { c.Cache = "" },
		func(c *signing.TUF) { c.Now = nil },
	} {
		c := r.client()
		change(&c)
		if _, err := c.Kit(t.Context()); err == nil {
			t.Errorf("%d: got a kit, want an error", i)
		}
	}
}
