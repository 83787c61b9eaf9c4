package identity_test

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

func provider(t testing.TB, m identity.CIMetadata) identity.Issuer {
	t.Helper()
	p, err := identity.NewCIProvider("ci", m)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Issuer{URL: "https://ci.example.com", ClientID: "sigstore", Type: identity.CIProviderType, CIProvider: p}
}

// TestClaimTexts holds how claims become text in templates.
func TestClaimTexts(t *testing.T) {
	tests := []struct{ json, want, refused string }{
		{json: `"bar"`, want: "bar"},
		{json: `""`},
		{json: `true`, want: "true"},
		{json: `false`, want: "false"},
		{json: `1`, want: "1"},
		{json: `0`, want: "0"},
		{json: `-7`, want: "-7"},
		{json: `1000000`, want: "1000000"},
		{json: `1234567890123456789012345`, want: "1234567890123456789012345"},
		{json: `1.0`, want: "1"},
		{json: `1e6`, want: "1000000"},
		{json: `1.5E+3`, want: "1500"},
		{json: `1.4`, want: "1.4"},
		{json: `1.7`, want: "1.7"},
		{json: `0.000001`, want: "0.000001"},
		{json: `null`, want: "default"},
		{json: `1e400`, refused: "claim value is not a number within bounds"},
		{json: strings.Repeat("9", 4097), refused: "claim value is over 4096 bytes"},
		{json: `"` + strings.Repeat("x", 4097) + `"`, refused: "claim value is over 4096 bytes"},
		{json: `"a\u0000b"`, refused: "claim value has control characters"},
		{json: `"a\nb"`, refused: "claim value has control characters"},
		{json: `"a\u009bb"`, refused: "claim value has control characters"},
		{json: `{"a":"b"}`, refused: "claim value is not a string, number or boolean"},
		{json: `["a"]`, refused: "claim value is not a string, number or boolean"},
	}
	issuer := provider(t, identity.CIMetadata{
		DefaultTemplateValues:          map[string]string{"value": "default"},
		ExtensionTemplates:             map[string]string{"build-trigger": "value", "runner-environment": "{{.value}}"},
		SubjectAlternativeNameTemplate: "https://ci.example.com/{{.sub}}",
	})
	for _, tt := range tests {
		t.Run(tt.json[:min(len(tt.json), 30)], func(t *testing.T) {
			_, exts, err := certified(issuer, []byte(`{"iss":"https://ci.example.com","sub":"a","value":`+tt.json+`}`))
			if tt.refused != "" {
				wantInvalid(t, err, tt.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, arc := range []string{"11", "20"} {
				i := slices.IndexFunc(exts, func(e string) bool { return strings.HasPrefix(e, "1.3.6.1.4.1.57264.1."+arc+" ") })
				if tt.want == "" && i < 0 {
					continue
				}
				if want := "1.3.6.1.4.1.57264.1." + arc + " " + der(tt.want); i < 0 || exts[i] != want {
					t.Errorf("extensions %q have no %q", exts, want)
				}
			}
		})
	}
}

// der is the hex of a UTF8String of at most 127 bytes.
func der(s string) string { return hex.EncodeToString(append([]byte{0x0c, byte(len(s))}, s...)) }

func TestProviderRefuses(t *testing.T) {
	base := identity.CIMetadata{SubjectAlternativeNameTemplate: "{{.url}}/{{.path}}"}
	tests := []struct {
		name   string
		san    string
		exts   map[string]string
		claims map[string]any
		want   string
	}{
		{"empty name", "empty", nil, nil, "do not make a plain ASCII URL"},
		{"relative name", "path", nil, nil, "do not make a plain ASCII URL"},
		{"name that is no URL", "", nil, map[string]any{"path": "100%"}, "subject alternative name: the token's claims do not make a URL"},
		{"name with a user", "", nil, map[string]any{"url": "https://root@ci.example.com"}, "do not make a plain ASCII URL"},
		{"name with an empty label", "", nil, map[string]any{"url": "https://ci..example.com"}, "do not make a plain ASCII URL"},
		{"name with a last dot", "", nil, map[string]any{"url": "https://ci.example.com."}, "do not make a plain ASCII URL"},
		{"name without a host", "", nil, map[string]any{"url": "https://"}, "do not make a plain ASCII URL"},
		{"name that climbs", "", nil, map[string]any{"path": "a/../../b"}, "do not make a plain ASCII URL"},
		{"name that climbs in disguise", "", nil, map[string]any{"path": "a/%2E%2e/b"}, "do not make a plain ASCII URL"},
		{"name of a missing claim", "", nil, map[string]any{"path": nil}, "subject alternative name: claim path is missing"},
		{"extension of a missing claim", "", map[string]string{"build-trigger": "nowhere"}, nil, "extension build-trigger: claim nowhere is missing"},
		{"extension that climbs", "", map[string]string{"source-repository-uri": "{{.url}}/{{.up}}"}, nil, "extension source-repository-uri: the token's claims do not make a clean path"},
		{"extension of two lines", "", map[string]string{"build-trigger": "{{.path}}\n"}, nil, "extension build-trigger: the template has a line break"},
		{"extension too long", "", map[string]string{"build-trigger": "{{.long}}{{.long}}"}, nil, "extension build-trigger: result is over 4096 bytes"},
	}
	claims := map[string]any{
		"iss": "https://ci.example.com", "sub": "subject-of-secret", "url": "https://ci.example.com", "path": "secret-path",
		"up": "secret/../up", "empty": "", "long": strings.Repeat("secret", 400),
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := base
			m.ExtensionTemplates = tt.exts
			if tt.san != "" {
				m.SubjectAlternativeNameTemplate = tt.san
			}
			_, err := provider(t, m).Principal(parse(t, with(claims, tt.claims)))
			wantInvalid(t, err, tt.want)
			if strings.Contains(fault.Public(err), "secret") {
				t.Errorf("public sentence %q repeats a claim", fault.Public(err))
			}
		})
	}
}

func TestNewCIProvider(t *testing.T) {
	tests := []struct {
		name   string
		change func(*identity.CIMetadata)
		want   string // "" for accepted
	}{
		{"least", func(*identity.CIMetadata) {}, ""},
		{"blank extension", func(m *identity.CIMetadata) { m.ExtensionTemplates = map[string]string{"build-trigger": " "} }, ""},
		{"issuer and subject", func(m *identity.CIMetadata) {
			m.ExtensionTemplates = map[string]string{"issuer": "other", "subject": "{{.other}}"}
		}, ""},
		{"no name", func(m *identity.CIMetadata) { m.SubjectAlternativeNameTemplate = " " }, "subject alternative name: template is empty"},
		{"broken name", func(m *identity.CIMetadata) { m.SubjectAlternativeNameTemplate = "{{.a" }, "subject alternative name: parse template"},
		{"broken extension", func(m *identity.CIMetadata) { m.ExtensionTemplates = map[string]string{"build-trigger": "{{.a"} }, "extension build-trigger: parse template"},
		{"broken subject", func(m *identity.CIMetadata) { m.ExtensionTemplates = map[string]string{"subject": "{{.a"} }, "extension subject: parse template"},
		{"unknown extension", func(m *identity.CIMetadata) { m.ExtensionTemplates = map[string]string{"build-triger": "a"} }, `"build-triger" is not an extension`},
		{"JSON name", func(m *identity.CIMetadata) { m.ExtensionTemplates = map[string]string{"BuildTrigger": "a"} }, `"BuildTrigger" is not an extension`},
		{"default with a line break", func(m *identity.CIMetadata) { m.DefaultTemplateValues = map[string]string{"a": "b\n"} }, "default value: claim a has control characters"},
		{"default too long", func(m *identity.CIMetadata) {
			m.DefaultTemplateValues = map[string]string{"a": strings.Repeat("x", 4097)}
		}, "default value: claim a is over 4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := identity.CIMetadata{SubjectAlternativeNameTemplate: "{{.url}}"}
			tt.change(&m)
			p, err := identity.NewCIProvider("ci", m)
			switch {
			case tt.want == "" && (err != nil || p.Name() != "ci"):
				t.Errorf("provider %v, error %v, want ci", p, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), `ci provider "ci": `) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestIgnoredTemplates: issuer and subject are the token's, whatever a template
// says.
func TestIgnoredTemplates(t *testing.T) {
	issuer := provider(t, identity.CIMetadata{
		ExtensionTemplates:             map[string]string{"issuer": "other", "subject": "other"},
		SubjectAlternativeNameTemplate: "{{.iss}}",
	})
	_, exts, err := certified(issuer, []byte(`{"iss":"https://ci.example.com","sub":"a","other":"b"}`))
	want := []string{"1.3.6.1.4.1.57264.1.8 " + der("https://ci.example.com"), "1.3.6.1.4.1.57264.1.24 " + der("a")}
	if err != nil || !slices.Equal(exts[2:], want) {
		t.Errorf("extensions %q, %v, want %q at the end", exts, err, want)
	}
}

// TestTemplateKeys: each key makes an extension of its own, and the JSON name
// follows from the YAML one.
func TestTemplateKeys(t *testing.T) {
	texts, names := map[string]string{}, map[string]string{}
	for i, key := range identity.TemplateKeys() {
		texts[key.YAML] = "{{.sub}}" + strings.Repeat("x", i)
		names[key.JSON] = key.YAML
		var want string
		for part := range strings.SplitSeq(key.YAML, "-") {
			if part == "uri" || part == "sha" {
				part = strings.ToUpper(part)
			}
			want += strings.ToUpper(part[:1]) + part[1:]
		}
		if key.JSON != want {
			t.Errorf("%s is %s in JSON, want %s", key.YAML, key.JSON, want)
		}
	}
	if len(names) != 22 || len(texts) != 22 {
		t.Errorf("%d names in JSON and %d in YAML, want 22", len(names), len(texts))
	}
	issuer := provider(t, identity.CIMetadata{ExtensionTemplates: texts, SubjectAlternativeNameTemplate: "{{.iss}}"})
	_, exts, err := certified(issuer, []byte(`{"iss":"https://ci.example.com","sub":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range exts {
		oid, value, _ := strings.Cut(e, " ")
		found[oid], found[value] = true, true
	}
	// The name, 1, 8 and 24, and 20 extensions by template with a value each; the
	// issuer's two values differ, as 1 is bare bytes.
	if want := 24 + 24; len(exts) != 24 || len(found) != want {
		t.Errorf("%d extensions with %d names and values, want 24 and %d: %q", len(exts), len(found), want, slices.Sorted(maps.Keys(found)))
	}
}
