package signing_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

func TestLoadKit(t *testing.T) {
	s := signingtest.New(t, now)
	trustedRoot, config := s.KitFiles(t)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := signing.LoadKit(dir); err == nil {
		t.Error("got a kit from an empty directory")
	}
	write("trusted_root.json", trustedRoot)
	if _, err := signing.LoadKit(dir); err == nil || !strings.Contains(err.Error(), "signing_config.v0.2.json") {
		t.Errorf("got %v, want the missing file named", err)
	}
	write("signing_config.v0.2.json", config)
	kit, err := signing.LoadKit(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := kit.Trusted.String(), filepath.Join(dir, "trusted_root.json")+" sha256:"+hexDigest(string(trustedRoot))[:12]; got != want {
		t.Errorf("got trust root %q, want %q", got, want)
	}
	write("trusted_root.json", slices.Concat([]byte(`{"vendorExtension":1,`), trustedRoot[1:]))
	if _, err := signing.LoadKit(dir); err == nil {
		t.Error("got a kit with an unknown member in its trusted root")
	}
}

// TestServices is contract trust-material, "How clients choose", for Go.
func TestServices(t *testing.T) {
	s := signingtest.New(t, now)
	at := now()
	since := func(ago time.Duration) trust.Window { return trust.Window{Start: at.Add(-ago)} }
	tests := []struct {
		name   string
		change func(*trust.Material)
		want   string // URL of the log; empty: an error
	}{
		{"the only one", func(*trust.Material) {}, s.URL},
		{"the newest of two", func(m *trust.Material) {
			m.TLogServices = append(m.TLogServices, trust.Service{URL: "http://new.example", APIVersion: 1, Window: since(time.Minute)})
		}, "http://new.example"},
		{"not the one to come", func(m *trust.Material) {
			m.TLogServices = append(m.TLogServices, trust.Service{URL: "http://new.example", APIVersion: 1, Window: since(-time.Hour)})
		}, s.URL},
		{"not the one that ended", func(m *trust.Material) {
			m.TLogServices = append(m.TLogServices, trust.Service{URL: "http://new.example", APIVersion: 1, Window: trust.Window{Start: at.Add(-30 * time.Minute), End: at.Add(-time.Minute)}})
		}, s.URL},
		{"not a version that we do not speak", func(m *trust.Material) {
			m.TLogServices = append(m.TLogServices, trust.Service{URL: "http://v2.example", APIVersion: 2, Window: since(time.Minute)})
		}, s.URL},
		{"none", func(m *trust.Material) { m.TLogServices = nil }, ""},
		{"none that we speak", func(m *trust.Material) { m.TLogServices[0].APIVersion = 2 }, ""},
		{"no CA", func(m *trust.Material) { m.CAServices = nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := s.Material(t)
			tt.change(&m)
			got, err := kitOf(t, m).Services(at)
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %+v, want an error", got)
				}
				return
			}
			if err != nil || !slices.Equal(got.TLogs, []string{tt.want}) {
				t.Errorf("got %v, %v, want %s", got.TLogs, err, tt.want)
			}
			if got.CA != s.URL || got.OIDC != s.Issuer() || !slices.Equal(got.TSAs, []string{s.URL + "/api/v1/timestamp"}) {
				t.Errorf("got %+v, want the stack's", got)
			}
		})
	}
}

func TestServicesNeedSelector(t *testing.T) {
	s := signingtest.New(t, now)
	trustedRoot, config := s.KitFiles(t)
	without := strings.ReplaceAll(string(config), `"ANY"`, `"SERVICE_SELECTOR_UNDEFINED"`)
	kit, err := signing.NewKit("kit", trustedRoot, []byte(without))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := kit.Services(now()); err == nil {
		t.Errorf("got %+v, want an error", got)
	}
}

func TestSidecars(t *testing.T) {
	s := signingtest.New(t, now)
	signed, other := sign(t, s, artifact), sign(t, s, artifact)
	sig, cert := signing.EncodeSignature(signed.Signature), signing.EncodeCertificate(signed.Certificate)
	tests := []struct {
		name      string
		sig, cert []byte
		ok        bool
	}{
		{"as written", sig, cert, true},
		{"with newlines", append(slices.Clone(sig), '\n'), append(slices.Clone(cert), '\n'), true},
		{"plain PEM", sig, pemOf(signed.Certificate), true},
		{"other signature", signing.EncodeSignature(other.Signature), cert, false},
		{"other certificate", sig, signing.EncodeCertificate(other.Certificate), false},
		{"raw signature", signed.Signature, cert, false},
		{"empty signature", nil, cert, false},
		{"empty certificate", sig, nil, false},
		{"two certificates", sig, slices.Concat(pemOf(signed.Certificate), pemOf(other.Certificate)), false},
	}
	for _, tt := range tests {
		err := signing.CheckSidecars(signed.Bundle, tt.sig, tt.cert)
		if tt.ok && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !tt.ok {
			wantRefused(t, err, signing.CheckSidecar)
		}
	}
}
