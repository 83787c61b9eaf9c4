package trust_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigstack/internal/trust"
)

func TestDifferences(t *testing.T) {
	m := newMaterial(t)
	for _, tt := range []struct {
		name   string
		change func(m *trust.Material)
		want   []string // the beginning of each sentence but those on files
	}{
		{"nothing", func(*trust.Material) {}, nil},
		{"a log", func(m *trust.Material) {
			m.TLogs = append(m.TLogs[:len(m.TLogs):len(m.TLogs)], trust.Log{BaseURL: "https://sig.corp.example", PublicKey: newSPKI(t), APIVersion: 1, Window: trust.Window{Start: epoch.Add(time.Hour)}})
		}, []string{"transparency log https://sig.corp.example, key "}},
		{"a CT log goes", func(m *trust.Material) { m.CTLogs = nil }, []string{"CT log https://sig.corp.example/ctlog, key "}},
		{"a chain ends", func(m *trust.Material) {
			m.CAs = append([]trust.Authority{}, m.CAs...)
			m.CAs[0].Window.End = epoch.AddDate(1, 0, 0)
		}, []string{"certificate authority https://sig.corp.example: CN=intermediate,O=corp.example, certificate sha256:"}},
		{"a service", func(m *trust.Material) {
			m.OIDCServices = []trust.Service{{URL: "https://id.corp.example", APIVersion: 1, Window: m.OIDCServices[0].Window}}
		}, []string{"service to sign with: issuer https://id.corp.example, version 1, operator corp.example is added", "service to sign with: issuer https://sig.corp.example/dex, version 1, operator corp.example is TAKEN AWAY"}},
		{"a window", func(m *trust.Material) {
			m.TSAServices = []trust.Service{m.TSAServices[0]}
			m.TSAServices[0].Window = trust.Window{Start: epoch.Add(time.Hour), End: epoch.AddDate(1, 0, 0)}
		}, []string{
			"service to sign with: timestamp authority https://sig.corp.example/api/v1/timestamp, version 1, operator corp.example: trusted from 2026-03-01T13:00:00Z on, before: from 2026-03-01T12:00:00Z",
			"service to sign with: timestamp authority https://sig.corp.example/api/v1/timestamp, version 1, operator corp.example: trusted until 2027-03-01T12:00:00Z, before: without an end",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after := m
			tt.change(&after)
			old, now := newFiles(t, m, published).all(), newFiles(t, after, published).all()
			got := trust.Differences(old, now)
			for i, want := range tt.want {
				if i >= len(got) || !strings.HasPrefix(got[i], want) {
					t.Errorf("got %q, want sentence %d to begin with %q", got, i, want)
				}
			}
			for _, s := range got[min(len(tt.want), len(got)):] {
				if !strings.HasPrefix(s, "file ") {
					t.Errorf("got %q, want sentences on files alone after the first %d", s, len(tt.want))
				}
			}
			if (len(got) > 0) != (len(tt.want) > 0) {
				t.Errorf("got %q, want %d sentences and the files", got, len(tt.want))
			}
			back := trust.Differences(now, old)
			if len(back) == 0 != (len(got) == 0) {
				t.Errorf("backwards %q, forwards %q: want both or none", back, got)
			}
		})
	}
}

// TestDifferencesOfFiles: whatever is not understood is told by its digest.
func TestDifferencesOfFiles(t *testing.T) {
	const name = trust.TrustedRootName
	target := func(name, data, custom string) trust.Target {
		return trust.Target{Name: name, Data: []byte(data), Custom: json.RawMessage(custom)}
	}
	sum := func(data string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(data))) }
	for _, tt := range []struct {
		name          string
		before, after []trust.Target
		want          []string
	}{
		{"same", []trust.Target{target("a", "1", "")}, []trust.Target{target("a", "1", "")}, nil},
		{"new", nil, []trust.Target{target("a", "1", "")}, []string{"file a is new: " + sum("1")}},
		{"gone", []trust.Target{target("a", "1", "")}, nil, []string{"file a is taken away, it was " + sum("1")}},
		{"changed", []trust.Target{target("a", "1", "")}, []trust.Target{target("a", "2", `{"sigstore":{"status":"Expired","uri":"https://x","usage":"TSA"}}`)}, []string{"file a changes: " + sum("2") + ", before: " + sum("1") + "; for older clients: TSA of https://x, expired"}},
		{"custom", []trust.Target{target("a", "1", "")}, []trust.Target{target("a", "1", `{}`)}, []string{"file a keeps its bytes"}},
		{"unreadable", []trust.Target{target(name, "1", "")}, []trust.Target{target(name, "2", "")}, []string{name + " cannot be compared in words: parse trusted root", "file " + name + " changes: " + sum("2")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := trust.Differences(tt.before, tt.after)
			ok := len(got) == len(tt.want)
			for i := range min(len(got), len(tt.want)) {
				ok = ok && strings.HasPrefix(got[i], tt.want[i])
			}
			if !ok {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzParseSigningConfig: what is accepted says the same when it is rendered by
// what was read, and has no second meaning.
func FuzzParseSigningConfig(f *testing.F) {
	data, err := newMaterial(f).SigningConfig()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := trust.ParseSigningConfig(data)
		if err != nil {
			return
		}
		again, err := trust.RenderConfig(c)
		if err != nil {
			t.Fatalf("render what was accepted: %v", err)
		}
		twice, err := trust.ParseSigningConfig(again)
		if err != nil {
			t.Fatalf("parse what was rendered: %v", err)
		}
		if got, want := fmt.Sprint(twice), fmt.Sprint(c); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
