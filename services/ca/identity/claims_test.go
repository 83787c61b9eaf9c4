package identity_test

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

func TestParseClaims(t *testing.T) {
	tests := []struct{ name, payload, want string }{
		{"good", `{"iss":"a","sub":"b"}`, ""},
		{"not JSON", `x`, "not a JSON object"},
		{"array", `[]`, "not a JSON object"},
		{"null", `null`, "claim iss is missing"},
		{"duplicate", `{"iss":"a","sub":"b","sub":"c"}`, "not a JSON object"},
		{"trailing data", `{"iss":"a","sub":"b"}{}`, "not a JSON object"},
		{"no issuer", `{"sub":"b"}`, "claim iss is missing"},
		{"no subject", `{"iss":"a"}`, "claim sub is missing"},
		{"empty subject", `{"iss":"a","sub":""}`, "claim sub is missing"},
		{"issuer by another case", `{"ISS":"a","sub":"b"}`, "claim iss is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := identity.ParseClaims([]byte(tt.payload))
			if tt.want == "" && err == nil {
				return
			}
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), tt.want) {
				t.Errorf("error = %v, want an invalid one with %q", err, tt.want)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	tests := []struct {
		json string
		want time.Time
		ok   bool
		bad  bool
	}{
		{json: `1767225600`, want: time.Unix(1767225600, 0), ok: true},
		{json: `1767225600.5`, want: time.Unix(1767225600, 500_000_000), ok: true},
		{json: `1.7672256e9`, want: time.Unix(1767225600, 0), ok: true},
		{json: `null`},
		{json: `-1`, bad: true},
		{json: `1e300`, bad: true},
		{json: `253402300800`, bad: true},
		{json: `"1767225600"`, bad: true},
	}
	for _, tt := range tests {
		c, err := identity.ParseClaims([]byte(`{"iss":"a","sub":"b","exp":` + tt.json + `}`))
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := c.Time("exp")
		if (err != nil) != tt.bad || ok != tt.ok || !got.Equal(tt.want) {
			t.Errorf("Time(%s) = %v, %v, %v, want %v, %v, error %v", tt.json, got, ok, err, tt.want, tt.ok, tt.bad)
		}
	}
}
