package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/token"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// setup is an issuer and a verifier that trusts it.
type setup struct {
	clock    *clock
	issuer   *identitytest.Issuer
	verifier *token.Verifier
	logged   *bytes.Buffer
}

func newSetup(t testing.TB) setup {
	t.Helper()
	s := setup{clock: newClock(), logged: &bytes.Buffer{}}
	s.issuer = identitytest.New(t, s.clock.Now)
	s.verifier = s.trusting(t, emailIssuer(s.issuer.URL))
	return s
}

func (s setup) trusting(t testing.TB, issuers ...identity.Issuer) *token.Verifier {
	t.Helper()
	v, err := token.New(token.Config{Issuers: issuers, Now: s.clock.Now, Log: slog.New(slog.NewTextHandler(s.logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func emailIssuer(url string) identity.Issuer {
	return identity.Issuer{URL: url, ClientID: identitytest.ClientID, Type: identity.Email}
}

// refused checks that raw is refused as the caller's fault with a sentence that
// holds want, and that neither sentence nor cause repeats the token.
func refused(t *testing.T, v *token.Verifier, raw, want string) {
	t.Helper()
	_, err := v.Verify(t.Context(), raw)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), want) {
		t.Errorf("error = %v, want an invalid one with %q", err, want)
	}
	if err != nil && len(raw) > 20 && strings.Contains(err.Error(), raw[len(raw)/2:]) {
		t.Errorf("error repeats the token: %v", err)
	}
}

func accepted(t *testing.T, v *token.Verifier, raw string) token.Token {
	t.Helper()
	got, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("token refused: %v", err)
	}
	return got
}

// claims are changes to an ordinary token's claims.
type claims = map[string]any

func TestAccepted(t *testing.T) {
	s := newSetup(t)
	now := s.clock.Now()
	tests := []struct {
		name    string
		changes claims
	}{
		{"ordinary", nil},
		{"audience list", claims{"aud": []string{"other", "sigstore"}}},
		{"expires this second", claims{"exp": now.Unix()}},
		{"starts within the leeway", claims{"nbf": now.Add(5 * time.Minute).Unix()}},
		{"issued in the future", claims{"iat": now.Add(time.Hour).Unix()}},
		{"no issue time", claims{"iat": nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := accepted(t, s.verifier, s.issuer.Token(t, tt.changes))
			if got.Claims.Subject != "subject-1" || got.Issuer.URL != s.issuer.URL {
				t.Errorf("subject %q of %q, want subject-1 of %q", got.Claims.Subject, got.Issuer.URL, s.issuer.URL)
			}
		})
	}
}

// TestRefusedClaims: each token is good but for one claim.
func TestRefusedClaims(t *testing.T) {
	s := newSetup(t)
	now := s.clock.Now()
	tests := []struct {
		name    string
		changes claims
		want    string
	}{
		{"expired a second ago", claims{"exp": now.Add(-time.Second).Unix()}, "has expired"},
		{"expired half a second ago", claims{"exp": float64(now.Unix()) - 0.5}, "has expired"},
		{"no expiry", claims{"exp": nil}, "claim exp is missing"},
		{"expiry by another case", claims{"exp": nil, "Exp": now.Add(time.Hour).Unix()}, "claim exp is missing"},
		{"expiry is text", claims{"exp": "tomorrow"}, "claim exp is not a time"},
		{"starts past the leeway", claims{"nbf": now.Add(5*time.Minute + time.Second).Unix()}, "not valid yet"},
		{"start is text", claims{"nbf": "x"}, "claim nbf is not a time"},
		{"other audience", claims{"aud": "other"}, "another audience"},
		{"audience list without us", claims{"aud": []string{"a", "b"}}, "another audience"},
		{"audience contains us", claims{"aud": "sigstore2"}, "another audience"},
		{"no audience", claims{"aud": nil}, "claim aud is missing"},
		{"audience is a number", claims{"aud": 1}, "claim aud is neither"},
		{"other issuer", claims{"iss": "https://evil.example"}, "issuer is not trusted"},
		{"issuer with a slash", claims{"iss": s.issuer.URL + "/"}, "issuer is not trusted"},
		{"no issuer", claims{"iss": nil}, "claim iss is missing"},
		{"no subject", claims{"sub": nil}, "claim sub is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, s.verifier, s.issuer.Token(t, tt.changes), tt.want)
		})
	}
}

// TestRefusedForm: each token is good but for its form or signature.
func TestRefusedForm(t *testing.T) {
	s := newSetup(t)
	good := s.issuer.Token(t, nil)
	all := s.issuer.Claims(nil)
	parts := strings.Split(good, ".")
	input := parts[0] + "." + parts[1]

	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(input))
	other := identitytest.NewKey(t, s.issuer.Key().ID)
	unknown := identitytest.Key{ID: "unknown", Alg: jose.ES256, Private: s.issuer.Key().Private}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	doubled := fmt.Sprintf(`{"iss":%q,"sub":"a","sub":"b"}`, s.issuer.URL)

	tests := []struct{ name, raw, want string }{
		{"none", "", "there is no token"},
		{"one dot", input, "not three base64url parts"},
		{"three dots", good + ".", "not three base64url parts"},
		{"a million dots", strings.Repeat(".", 60<<10), "not three base64url parts"},
		{"oversize", good + strings.Repeat("A", 64<<10), "the token is over"},
		{"line break", good + "\n", "not three base64url parts"},
		{"padded", input + "=." + parts[2], "not three base64url parts"},
		{"JSON serialization", `{"payload":"` + parts[1] + `"}`, "not three base64url parts"},
		{"payload no JSON", identitytest.SignPayload(t, s.issuer.Key(), []byte("hello")), "not a JSON object"},
		{"duplicate claim", identitytest.SignPayload(t, s.issuer.Key(), []byte(doubled)), "not a JSON object"},
		{"no signature", input + ".", "no key of the issuer"},
		{"flipped signature", flip(good), "no key of the issuer"},
		{"other payload", strings.Split(s.issuer.Token(t, claims{"sub": "x"}), ".")[0] + "." + strings.Split(s.issuer.Token(t, claims{"sub": "x"}), ".")[1] + "." + parts[2], "no key of the issuer"},
		{"another key of the same name", identitytest.Sign(t, other, all), "no key of the issuer"},
		{"unknown key name", identitytest.Sign(t, unknown, all), "no key of the issuer"},
		{"alg none", identitytest.Unsigned(t, "none", all, nil), "algorithm is not accepted"},
		{"alg HS256", identitytest.Unsigned(t, "HS256", all, mac.Sum(nil)), "algorithm is not accepted"},
		{"alg not advertised", identitytest.Sign(t, identitytest.Key{ID: "key-1", Alg: jose.EdDSA, Private: edwards}, all), "algorithm is not accepted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, s.verifier, tt.raw, tt.want) })
	}
}

// flip changes a bit in the middle of the signature.
func flip(raw string) string {
	b := []byte(raw)
	i := len(b) - 40
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// TestAlgorithms signs with every kind of key that an issuer may advertise.
func TestAlgorithms(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := identitytest.NewRSAKey(t, "k").Private
	tests := []identitytest.Key{
		{ID: "k", Alg: jose.EdDSA, Private: edwards},
		{ID: "k", Alg: jose.ES384, Private: p384},
		{ID: "k", Alg: jose.RS256, Private: rsaKey},
		{ID: "k", Alg: jose.PS512, Private: rsaKey},
	}
	for _, key := range tests {
		t.Run(string(key.Alg), func(t *testing.T) {
			s := newSetup(t)
			s.issuer.SetKey(key)
			s.issuer.SetDiscovery("id_token_signing_alg_values_supported", []string{string(key.Alg), "HS256", "none"})
			accepted(t, s.verifier, s.issuer.Token(t, nil))
		})
	}
}

func TestDefaultAlgorithm(t *testing.T) {
	s := newSetup(t)
	s.issuer.SetDiscovery("id_token_signing_alg_values_supported", []string{"HS256", "none"})
	refused(t, s.verifier, s.issuer.Token(t, nil), "algorithm is not accepted") // ES256
	s.issuer.SetKey(identitytest.NewRSAKey(t, "key-2"))
	s.clock.Advance(time.Minute)
	accepted(t, s.verifier, s.issuer.Token(t, nil))
}

func TestNew(t *testing.T) {
	good := emailIssuer("https://issuer.example.com")
	bad := good
	bad.ClientID = ""
	odd := good
	odd.Type = "saml"
	tests := []struct {
		name    string
		issuers []identity.Issuer
		want    []string
	}{
		{"none", nil, []string{"no token issuer"}},
		{"twice", []identity.Issuer{good, good}, []string{"configured twice"}},
		{"every problem", []identity.Issuer{bad, odd}, []string{"client id is empty", `type "saml" is not supported`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := token.New(token.Config{Issuers: tt.issuers, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want one with %q", err, want)
				}
			}
		})
	}
}

// FuzzVerify: a token is accepted only if it is, byte for byte, header, payload
// and a signature that the issuer made; and nothing panics.
func FuzzVerify(f *testing.F) {
	s := newSetup(f)
	good := s.issuer.Token(f, nil)
	wrong := s.issuer.Token(f, claims{"aud": []string{"a"}})
	all := s.issuer.Claims(nil)
	signed := good[:strings.LastIndex(good, ".")]
	f.Add(good)
	f.Add(flip(good))
	f.Add(identitytest.Unsigned(f, "none", all, nil))
	f.Add(identitytest.Unsigned(f, "HS256", all, []byte("x")))
	f.Add(wrong)
	f.Add("..")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := s.verifier.Verify(t.Context(), raw)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v is not the caller's fault", err)
			}
			return
		}
		if !strings.HasPrefix(raw, signed+".") || got.Claims.Subject != "subject-1" {
			t.Errorf("accepted %q, which the issuer never signed", raw)
		}
	})
}

// TestPEMIsNoToken: pasting the wrong file gives a sentence, not a stack.
func TestPEMIsNoToken(t *testing.T) {
	s := newSetup(t)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, 100)})
	refused(t, s.verifier, string(text), "not three base64url parts")
}
