package release_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

func TestSignTwice(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	before := snapshot(t, tree)
	r, err := l.sign(t, tree)
	if err != nil || r.Signed != 0 || r.Skipped != 10 {
		t.Fatalf("got %+v, %v, want 10 skipped", r, err)
	}
	if after := snapshot(t, tree); after != before {
		t.Error("the second run changed the tree")
	}
}

// TestSignFinishesInterrupted takes away what a run killed at some moment would
// not have written yet; the next writes exactly that.
func TestSignFinishesInterrupted(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	tests := []struct {
		name   string
		remove []string
		signed int
	}{
		{"before the bundle", []string{".sigstore.json", ".sig", ".cert"}, 1},
		{"before .sig", []string{".sig", ".cert"}, 0},
		{"before .cert", []string{".cert"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyTree(t, tree)
			for _, suffix := range tt.remove {
				remove(t, dir, victim+suffix)
			}
			// What durable leaves behind when it is killed.
			write(t, dir, "bin/linux/amd64/.kubectl.sig.tmp-123", []byte("half"))
			r, err := l.sign(t, dir)
			if err != nil || r.Signed != tt.signed || r.Skipped != 10-tt.signed {
				t.Fatalf("got %+v, %v, want %d signed", r, err, tt.signed)
			}
			wantProblems(t, l.verify(t, dir))
		})
	}
}

// TestSignRefuses has trees that must not be signed as they are. Nothing of what
// is there may change.
func TestSignRefuses(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	tests := []struct {
		name   string
		change func(t *testing.T, tree string)
		want   string
	}{
		{"damaged file", func(t *testing.T, tree string) { flip(t, tree, victim) }, "make the checksums again"},
		{"file signed and changed", func(t *testing.T, tree string) {
			flip(t, tree, victim)
			redoSums(t, tree, victim)
		}, "remove its sidecars"},
		{"broken bundle", func(t *testing.T, tree string) { write(t, tree, victim+".sigstore.json", []byte("{}")) }, "remove its sidecars"},
		{"bundle of another file", func(t *testing.T, tree string) {
			write(t, tree, victim+".sigstore.json", read(t, tree, "kubernetes.tar.gz.sigstore.json"))
		}, "remove its sidecars"},
		{".sig that disagrees", func(t *testing.T, tree string) { write(t, tree, victim+".sig", read(t, tree, "kubernetes.tar.gz.sig")) }, "remove its sidecars"},
		{"somebody else's .sig", func(t *testing.T, tree string) { remove(t, tree, victim+".sigstore.json") }, "of another signer"},
		{"unlisted file", func(t *testing.T, tree string) { write(t, tree, "bin/extra", []byte("x")) }, "not listed"},
		{"symlink", func(t *testing.T, tree string) { symlink(t, victim, filepath.Join(tree, "link")) }, "neither a regular file"},
		{"no checksums", func(t *testing.T, tree string) { remove(t, tree, "SHA256SUMS") }, "checksums"},
		{"malformed checksums", func(t *testing.T, tree string) { write(t, tree, "SHA256SUMS", []byte("x")) }, "SHA256SUMS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyTree(t, tree)
			tt.change(t, dir)
			before := snapshot(t, dir)
			_, err := l.sign(t, dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if after := snapshot(t, dir); after != before {
				t.Error("the refused run changed the tree")
			}
		})
	}
	t.Run("another identity", func(t *testing.T) {
		dir := copyTree(t, tree)
		_, err := release.Sign(t.Context(), release.SignConfig{Now: time.Now, Dir: dir, Session: l.session(t, "mallory@fake.example")})
		var refused *signing.RefusedError
		if !errors.As(err, &refused) || refused.Check != signing.CheckIdentity {
			t.Errorf("got %v, want a refusal by identity", err)
		}
	})
}

// TestSignStops has a log that goes away in the middle: what was signed stays,
// and the next run does the rest.
func TestSignStops(t *testing.T) {
	s := signingtest.New(t, nowUTC)
	var entries atomic.Int32
	var down atomic.Bool
	down.Store(true)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/log/entries" || !down.Load() || entries.Add(1) <= 5 {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		return true
	}
	l := labOf(t, s)
	tree := newSample(t, 20)
	// One worker, so that none is stopped between its log entry and its bundle.
	_, err := release.Sign(t.Context(), release.SignConfig{Now: time.Now, Dir: tree, Session: l.session(t, signingtest.Email), Workers: 1})
	var refused *signing.ServiceError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want the log's refusal", err)
	}
	down.Store(false)
	r, err := l.sign(t, tree)
	if err != nil || r.Skipped != 5 || r.Signed != 17 {
		t.Fatalf("got %+v, %v, want 5 kept and 17 signed", r, err)
	}
	wantProblems(t, l.verify(t, tree))
}

func TestSignHonoursContext(t *testing.T) {
	l := newLab(t)
	tree := newSample(t, 20)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := release.Sign(ctx, release.SignConfig{
		Now: time.Now,
		Dir: tree, Session: l.session(t, signingtest.Email), Workers: 1,
		Progress: func(p release.Progress) {
			if p.Done == 3 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	bundles := 0
	for _, name := range list(t, tree) {
		if strings.HasSuffix(name, signing.BundleSuffix) {
			bundles++
		}
	}
	if bundles < 3 || bundles > 4 {
		t.Errorf("got %d bundles, want the three that were done, or one more", bundles)
	}
}

// snapshot renders names, times and contents of a tree.
func snapshot(t *testing.T, tree string) string {
	t.Helper()
	var b strings.Builder
	names := list(t, tree)
	slices.Sort(names)
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(tree, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := ""
		if info.Mode().IsRegular() {
			sum, _ = sums(read(t, tree, name))
		}
		b.WriteString(name + " " + info.ModTime().String() + " " + sum + "\n")
	}
	return b.String()
}
