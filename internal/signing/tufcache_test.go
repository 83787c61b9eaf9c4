package signing_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/signing"
)

// offline returns c without a mirror: a connection fails the test.
func offline(t *testing.T, c signing.TUF) signing.TUF {
	t.Helper()
	c.Offline = true
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("offline, %s was asked for", r.URL)
		return nil, errors.New("there is no network")
	})}
	return c
}

// filled returns a client that was online once.
func filled(t *testing.T) (*tufRepo, signing.TUF, *signing.Kit) {
	t.Helper()
	r, _ := newTUF(t)
	c := r.client()
	kit, err := c.Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, c, kit
}

// edited changes one file of the cache.
func edited(t *testing.T, c signing.TUF, pattern string, change func(path string) error) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Cache, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v, want one file %s", found, err, pattern)
	}
	if err := change(found[0]); err != nil {
		t.Fatal(err)
	}
}

func TestTUFOffline(t *testing.T) {
	r, c, online := filled(t)
	check := func(when string, want *signing.Kit) {
		t.Helper()
		kit, err := offline(t, c).Kit(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if kit.Trusted.String() != want.Trusted.String() {
			t.Errorf("%s: got %s, want %s", when, kit.Trusted, want.Trusted)
		}
		if _, err := kit.Services(now()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("once filled", online)
	check("again", online)
	r.rotate()
	targets, _ := newTUF(t)
	trustedRoot := targets.only(t, ".trusted_root.json")
	r.publish(map[string][]byte{"trusted_root.json": trustedRoot, "signing_config.v0.2.json": targets.only(t, ".signing_config.v0.2.json")})
	check("published since", online)
	newer, err := c.Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if newer.Trusted.String() == online.Trusted.String() {
		t.Fatal("nothing new was published")
	}
	check("once online again", newer)
}

// only returns the one file whose name ends so.
func (r *tufRepo) only(t *testing.T, suffix string) []byte {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, data := range r.files {
		if strings.HasSuffix(name, suffix) {
			return data
		}
	}
	t.Fatalf("no file %s", suffix)
	return nil
}

func TestTUFOfflineExpires(t *testing.T) {
	_, c, _ := filled(t)
	c = offline(t, c)
	c.Now = func() time.Time { return now().Add(59 * time.Minute) }
	if _, err := c.Kit(t.Context()); err != nil {
		t.Error(err)
	}
	for _, later := range []time.Duration{61 * time.Minute, 25 * time.Hour} {
		c.Now = func() time.Time { return now().Add(later) }
		_, err := c.Kit(t.Context())
		wantTUF(t, err, "json expired at "+now().Add(time.Hour).UTC().Format("2006-01-02"))
		if !strings.Contains(err.Error(), "once online") {
			t.Errorf("got %v, want the next step named", err)
		}
	}
}

// TestTUFOfflineEmpty has caches that lack something.
func TestTUFOfflineEmpty(t *testing.T) {
	wantMissing := func(c signing.TUF, what string) {
		t.Helper()
		_, err := offline(t, c).Kit(t.Context())
		var refused *signing.RefusedError
		if !errors.Is(err, signing.ErrNotCached) || errors.As(err, &refused) || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "once online") {
			t.Errorf("got %v, want it said that %s is missing, and what to do", err, what)
		}
	}
	r, _ := newTUF(t)
	c := r.client()
	wantMissing(c, "root.json")
	if left, err := os.ReadDir(c.Cache); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v in the cache, want nothing made", left, err)
	}
	_, c, _ = filled(t)
	other := c
	other.Root, _ = newTUFRepo(t).get("1.root.json")
	wantMissing(other, "root.json")
	edited(t, c, "*/targets/trusted_root.json", os.Remove)
	wantMissing(c, "trusted_root.json")
	edited(t, c, "*/snapshot.json", os.Remove)
	wantMissing(c, "snapshot.json")
}

// TestTUFOfflineRefuses changes what is cached: all of it is verified again.
func TestTUFOfflineRefuses(t *testing.T) {
	older, _ := newTUF(t)
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		_, c, _ := filled(t)
		edited(t, c, "*/"+role+".json", func(path string) error {
			name := role + ".json"
			if role != "timestamp" {
				name = "1." + name
			}
			data, _ := older.get(name) // a stranger's
			return os.WriteFile(path, data, 0o600)
		})
		_, err := offline(t, c).Kit(t.Context())
		wantTUF(t, err, "is not whole")
	}
	_, c, _ := filled(t)
	edited(t, c, "*/targets/trusted_root.json", func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) })
	if _, err := offline(t, c).Kit(t.Context()); !errors.Is(err, signing.ErrNotCached) {
		t.Errorf("got %v, want the changed target not taken", err)
	}
}

// TestTUFUnreachable has a mirror that is down: the cache is not taken unasked, and
// named while it is good.
func TestTUFUnreachable(t *testing.T) {
	_, c, _ := filled(t)
	start := now() // the bubble below has a time of its own
	c.Now = func() time.Time { return start }
	fresh, late := c, c
	fresh.Cache = t.TempDir()
	late.Now = func() time.Time { return start.Add(61 * time.Minute) }
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name  string
			tuf   signing.TUF
			named bool
		}{{"cached", c, true}, {"not cached", fresh, false}, {"expired", late, false}} {
			tt.tuf.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				return nil, errors.New("connection refused")
			})}
			_, err := tt.tuf.Kit(t.Context())
			var unreachable *signing.UnreachableError
			if !errors.As(err, &unreachable) || strings.Contains(err.Error(), "--offline takes what was fetched last, which is good until 2") != tt.named {
				t.Errorf("%s: got %v, want the mirror unreachable, --offline named: %v", tt.name, err, tt.named)
			}
		}
	})
}
