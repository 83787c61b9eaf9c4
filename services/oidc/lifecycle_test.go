package oidc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/services/oidc"
)

func TestRestartKeepsKeys(t *testing.T) {
	i := start(t, nil)
	raw := i.passwordToken(t)
	_, before := i.get(t, i.url+"/keys")
	i.restart(t)
	i.verify(t, raw)
	if _, after := i.get(t, i.url+"/keys"); after != before {
		t.Errorf("keys after the restart:\n%s\nwant:\n%s", after, before)
	}
	i.verify(t, i.passwordToken(t))
}

// A token signed right before the keys rotate is good for the rest of its life.
func TestRotationKeepsTokens(t *testing.T) {
	i := start(t, nil)
	_, before := i.get(t, i.url+"/keys")
	i.advance(24*time.Hour - time.Minute)
	raw := i.passwordToken(t)
	i.advance(2 * time.Minute)
	i.restart(t) // the keys rotate at a start, too
	i.verify(t, raw)
	kids := map[string]bool{}
	for _, doc := range []string{before, second(i.get(t, i.url+"/keys"))} {
		for _, kid := range keyIDs(t, doc) {
			kids[kid] = true
		}
	}
	if len(kids) != 2 {
		t.Errorf("key ids before and after the rotation: %d, want 2", len(kids))
	}
	i.verify(t, i.passwordToken(t))
}

func second[A, B any](_ A, b B) B { return b }

func keyIDs(t *testing.T, jwks string) []string {
	t.Helper()
	var set struct {
		Keys []struct{ Kid string }
	}
	if err := json.Unmarshal([]byte(jwks), &set); err != nil {
		t.Fatalf("JWKS %q: %v", jwks, err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

func TestHealthAndMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	i := start(t, func(c *oidc.Config) { c.Metrics = reg })
	if status, body := i.get(t, i.url+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz = %d %q, want 200", status, body)
	}
	if err := i.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	if !slices.Contains(names, "sigstack_oidc_http_requests_total") {
		t.Errorf("metrics = %q, want sigstack_oidc_http_requests_total among them", names)
	}
	other := config(t, t.TempDir())
	other.Metrics = reg
	if s, err := oidc.New(t.Context(), other); err == nil {
		t.Error("a second issuer took the metrics of the first")
		_ = s.Close()
	}
	if again, err := reg.Gather(); err != nil || len(again) != len(families) {
		t.Errorf("metrics after a failed New: %d, %v; want %d", len(again), err, len(families))
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := reg.Gather(); err != nil || len(left) != 0 {
		t.Errorf("metrics after Close: %d, %v; want none", len(left), err)
	}
	if status, _ := i.get(t, i.url+"/healthz"); status != http.StatusServiceUnavailable {
		t.Errorf("healthz after Close = %d, want 503", status)
	}
}

func TestCloseEndsWork(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := config(t, t.TempDir())
	s, err := oidc.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // ends the start only
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check after the start's context ended: %v", err)
	}
	if got, want := s.Trust().URL, cfg.Issuer; got != want || s.Trust().APIVersion != 1 {
		t.Errorf("Trust = %+v, want URL %q, version 1", s.Trust(), want)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check after Close succeeded")
	}
	again, err := oidc.New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("New on the same directory after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A stack that was just made has nobody in it, and must start all the same.
func TestStartsWithNobody(t *testing.T) {
	i := start(t, func(c *oidc.Config) { c.Users, c.Connectors, c.PasswordGrant = nil, nil, false })
	if status, _ := i.get(t, i.url+"/.well-known/openid-configuration"); status != http.StatusOK {
		t.Errorf("discovery answered %d, want 200", status)
	}
}
