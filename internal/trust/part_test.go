package trust_test

import (
	"bytes"
	"strings"
	"testing"

	"sigstack/internal/trust"
)

// parts cuts material as the processes of a stack would hold it.
func parts(m trust.Material) []trust.Material {
	return []trust.Material{
		{Operator: m.Operator, CAs: m.CAs, TSAs: m.TSAs, CAServices: m.CAServices, TSAServices: m.TSAServices},
		{Operator: m.Operator, TLogs: m.TLogs, CTLogs: m.CTLogs, TLogServices: m.TLogServices},
		{Operator: m.Operator, OIDCServices: m.OIDCServices},
	}
}

func TestPartsJoinToTheWhole(t *testing.T) {
	m := newMaterial(t)
	var read []trust.Material
	for _, p := range parts(m) {
		data, err := p.EncodePart()
		if err != nil {
			t.Fatal(err)
		}
		again, err := trust.ParsePart(data)
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, again)
	}
	joined := trust.Material{Operator: m.Operator}.With(read...)
	for name, render := range map[string]func(trust.Material) ([]byte, error){
		"trusted root":   trust.Material.TrustedRoot,
		"signing config": trust.Material.SigningConfig,
		"part":           trust.Material.EncodePart,
	} {
		want, err := render(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := render(joined)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s of the joined parts:\n%s\nwant:\n%s", name, got, want)
		}
	}
}

func TestParsePartRefuses(t *testing.T) {
	valid, err := newMaterial(t).EncodePart()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty":             "",
		"no operator":       "{}",
		"unknown member":    strings.Replace(string(valid), `"operator"`, `"x":1,"operator"`, 1),
		"two documents":     string(valid) + "{}",
		"no certificate":    `{"operator":"a","cas":[{"uri":"https://a","chain":["AA=="],"start":"2026-01-01T00:00:00Z"}]}`,
		"key of no kind":    `{"operator":"a","ctlogs":[{"url":"https://a","key":"AA==","version":1,"start":"2026-01-01T00:00:00Z"}]}`,
		"service, no start": `{"operator":"a","oidc_services":[{"url":"https://a","version":1}]}`,
	} {
		if _, err := trust.ParsePart([]byte(data)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParsePart(f *testing.F) {
	for _, p := range parts(newMaterial(f)) {
		data, err := p.EncodePart()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"operator":"a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := trust.ParsePart(data)
		if err != nil {
			return
		}
		once, err := m.EncodePart()
		if err != nil {
			t.Fatalf("accepted %q, which does not encode: %v", data, err)
		}
		m, err = trust.ParsePart(once)
		if err != nil {
			t.Fatalf("own output refused: %v\n%s", err, once)
		}
		if twice, err := m.EncodePart(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encodes to %s, then to %s (%v)", once, twice, err)
		}
	})
}
