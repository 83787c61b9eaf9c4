package oci_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/internal/oci"
	"sigstack/internal/signing/signingtest"
)

// TestSettleMendsOverwritten: what another signer overwrites between a write and Settle, by
// putting back what it had read before, is there again after Settle, beside the other's.
func TestSettleMendsOverwritten(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			ref := host + "/" + string(style) + ":v1"
			digest := pushImage(t, ref)
			s.sign(t, ref, style, nil)
			tags := []string{"sha256-" + digest.Hex + ".sig", "sha256-" + digest.Hex}
			before := map[string]*remote.Descriptor{}
			for _, tag := range tags {
				if d, err := remote.Get(parse(t, host+"/"+string(style)+":"+tag)); err == nil {
					before[tag] = d
				}
			}

			r := oci.New(oci.Options{Now: time.Now}).PuttingOff()
			_, err := r.Sign(t.Context(), s.session, ref, style, nil)
			must(t, err)
			for tag, d := range before {
				must(t, remote.Tag(parse(t, host+"/"+string(style)+":"+tag).(name.Tag), d))
			}
			got, err := s.verify(t.Context(), ref, nil)
			must(t, err)
			if len(before) > 0 && len(got.Passed) != 1 {
				t.Errorf("by %s: got %d signatures, want one overwritten: this test tests nothing", style, len(got.Passed))
			}
			must(t, r.Settle(t.Context()))
			if got, err := s.verify(t.Context(), ref, nil); err != nil || len(got.Passed) != 2 {
				t.Errorf("by %s: got %d signatures, %v, want both after Settle", style, len(got.Passed), err)
			}
		}
	})
}

// TestSettleTogether: of signers that put off their looks, at one image at the same time
// and with a glance at it before all others wrote, none loses a signature.
func TestSettleTogether(t *testing.T) {
	t.Parallel()
	const signers = 4
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		for _, style := range styles() {
			ref := host + "/" + string(style) + ":v1"
			pushImage(t, ref)
			run, glances := make([]*oci.Registry, signers), make([]*oci.Registry, signers)
			for i := range signers {
				run[i] = oci.New(oci.Options{Now: time.Now}).PuttingOff()
				glances[i] = run[i].Glance()
				found, _, err := glances[i].Proofs(t.Context(), ref, s.trusted, s.id, nil)
				if err != nil || len(found) > 0 {
					t.Fatalf("got %v, %v, want nothing signed", found, err)
				}
			}
			var wg sync.WaitGroup
			errs := make([]error, 2*signers)
			for i := range signers {
				wg.Go(func() {
					_, errs[i] = glances[i].Sign(t.Context(), s.session, ref, style, nil)
					errs[signers+i] = run[i].Settle(t.Context())
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

// TestSettleFails: a registry that shows nothing of what was written is not settled.
func TestSettleFails(t *testing.T) {
	t.Parallel()
	s := demo(t)
	var broken atomic.Bool
	host := intercept(t, func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() && r.Method == http.MethodGet {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"not today"}]}`, http.StatusInsufficientStorage)
			return true
		}
		return false
	})
	pushImage(t, host+"/app:v1")
	for _, style := range styles() {
		broken.Store(false)
		r := oci.New(oci.Options{Now: time.Now}).PuttingOff()
		_, err := r.Sign(t.Context(), s.session, host+"/app:v1", style, nil)
		must(t, err)
		broken.Store(true)
		if err := r.Settle(t.Context()); err == nil || !strings.Contains(err.Error(), "not today") {
			t.Errorf("by %s: got %v, want the registry's error", style, err)
		}
	}
}

// TestCopyKeepsOthers: a copy that is made again does not overwrite what others have written
// to the tag meanwhile.
func TestCopyKeepsOthers(t *testing.T) {
	t.Parallel()
	stack := signingtest.New(t, time.Now)
	first, second := newSigner(t, stack, "first@example.com"), newSigner(t, stack, "second@example.com")
	registries(t, func(t *testing.T, host string) {
		ref := host + "/staging:v1"
		digest := pushImage(t, ref)
		first.sign(t, ref, oci.Tag, nil)
		r := oci.New(oci.Options{Now: time.Now}).PuttingOff()
		pinned := host + "/prod@" + digest.String()
		_, err := r.Copy(t.Context(), ref, host+"/prod:v1")
		must(t, err)
		// Somebody who read that there is no tag, before it was copied, writes it.
		other := host + "/other:v1"
		copyTag(t, ref, other)
		second.sign(t, other, oci.Tag, nil)
		sig := ":sha256-" + digest.Hex + ".sig"
		copyTag(t, host+"/other"+sig, host+"/prod"+sig)
		must(t, r.Settle(t.Context()))
		for _, s := range []signer{first, second} {
			if _, err := s.verify(t.Context(), pinned, nil); err != nil {
				t.Error(err)
			}
		}
	})
}
