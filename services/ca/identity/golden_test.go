package identity_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// golden is a case of testdata/fulcio.json; testdata/README.md says where it is
// from.
type golden struct {
	Name, Like        string
	Type              identity.Type
	SubjectDomain     string
	SPIFFETrustDomain string
	IssuerClaim       string
	SkipVerification  bool `json:"skipEmailVerification"`
	Defaults          map[string]string
	Templates         map[string]string
	SAN               string
	Claims            map[string]json.RawMessage
	Without           []string

	Refused    bool
	Stricter   string
	Looser     bool
	Challenge  string
	Extensions []string
}

func readGoldens(t testing.TB) []golden {
	t.Helper()
	text, err := os.ReadFile("testdata/fulcio.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	byName := map[string]golden{}
	for i, c := range cases {
		if c.Like != "" {
			c = byName[c.Like].varied(c)
		}
		byName[c.Name], cases[i] = c, c
	}
	return cases
}

// varied returns the settings and claims of base, with the changes and the outcome
// of c.
func (base golden) varied(c golden) golden {
	out := base
	out.Claims = maps.Clone(base.Claims)
	maps.DeleteFunc(out.Claims, func(name string, _ json.RawMessage) bool { return slices.Contains(c.Without, name) })
	maps.Copy(out.Claims, c.Claims)
	out.Name, out.Challenge, out.Extensions = c.Name, c.Challenge, c.Extensions
	out.Refused, out.Stricter, out.Looser = c.Refused, c.Stricter, c.Looser
	return out
}

func (c golden) issuer(t testing.TB) identity.Issuer {
	t.Helper()
	var url string
	if err := json.Unmarshal(c.Claims["iss"], &url); err != nil {
		t.Fatal(err)
	}
	i := identity.Issuer{
		URL: url, ClientID: "sigstore", Type: c.Type, SubjectDomain: c.SubjectDomain,
		SPIFFETrustDomain: c.SPIFFETrustDomain, IssuerClaim: c.IssuerClaim, SkipEmailVerification: c.SkipVerification,
	}
	if c.Type == identity.CIProviderType {
		var err error
		i.CIProvider, err = identity.NewCIProvider("ci", identity.CIMetadata{
			DefaultTemplateValues: c.Defaults, ExtensionTemplates: c.Templates, SubjectAlternativeNameTemplate: c.SAN,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func (c golden) payload(t testing.TB) []byte {
	t.Helper()
	payload, err := json.Marshal(c.Claims)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// TestUpstream compares every type of issuer with upstream: what is refused, what
// is to be signed, and each byte of the extensions.
func TestUpstream(t *testing.T) {
	seen := map[identity.Type]bool{}
	for _, c := range readGoldens(t) {
		t.Run(c.Name, func(t *testing.T) {
			issuer := c.issuer(t)
			if err := issuer.Check(); err != nil {
				t.Fatal(err)
			}
			who, exts, err := certified(issuer, c.payload(t))
			switch {
			case c.Stricter != "":
				if c.Refused {
					t.Error("upstream refuses this, too: no need to call it stricter")
				}
				wantInvalid(t, err, c.Stricter)
			case c.Looser:
				if !c.Refused || err != nil {
					t.Errorf("error = %v, upstream refuses: %v; want it refused there only", err, c.Refused)
				}
			case c.Refused:
				wantInvalid(t, err, "")
			case err != nil:
				t.Errorf("error = %v, but upstream issues", err)
			default:
				seen[c.Type] = true
				if who.Challenges[0] != c.Challenge {
					t.Errorf("challenge = %q, want %q", who.Challenges[0], c.Challenge)
				}
				if !slices.Equal(exts, c.Extensions) {
					t.Errorf("extensions are\n%s\nwant\n%s", strings.Join(exts, "\n"), strings.Join(c.Extensions, "\n"))
				}
			}
		})
	}
	if len(seen) != 11 {
		t.Errorf("%d types of issuers were compared, want 11: %v", len(seen), seen)
	}
}

// certified maps a payload and encodes the result as "OID hex".
func certified(issuer identity.Issuer, payload []byte) (who identity.Principal, exts []string, err error) {
	claims, err := identity.ParseClaims(payload)
	if err != nil {
		return who, nil, err
	}
	if who, err = issuer.Principal(claims); err != nil {
		return who, nil, err
	}
	encoded, err := who.Extensions()
	for _, e := range encoded {
		exts = append(exts, e.Id.String()+" "+hex.EncodeToString(e.Value))
	}
	return who, exts, err
}

func wantInvalid(t testing.TB, err error, phrase string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), phrase) {
		t.Errorf("error = %v, public %q, want an invalid one with %q", err, fault.Public(err), phrase)
	}
}
