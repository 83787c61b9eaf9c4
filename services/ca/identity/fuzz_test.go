package identity_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// FuzzPrincipal: whatever a trusted issuer says in one claim, it is refused as the
// token's fault, without repeating it, or makes a certificate that Go's x509 reads
// back with exactly one name.
func FuzzPrincipal(f *testing.F) {
	var goldens []golden
	for _, c := range readGoldens(f) {
		if !c.Refused && c.Stricter == "" {
			goldens = append(goldens, c)
		}
	}
	for i, c := range goldens {
		for j, name := range slices.Sorted(maps.Keys(c.Claims)) {
			f.Add(uint8(i), uint8(j), true, string(c.Claims[name]))
		}
	}
	for i, text := range []string{
		"", ".", "..", "a/../b", "/a", "a/", "a//b", "%2e%2e", "a%", "ž", "\u202e", "a\nb", "a!b", "a@b.c", "https://a@b/c", "//x", "a?b#c", "a:b", "[::1]",
	} {
		f.Add(uint8(i), uint8(i), false, text)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Fuzz(func(t *testing.T, which, claim uint8, raw bool, value string) {
		c := goldens[int(which)%len(goldens)]
		issuer := c.issuer(t)
		names := slices.Sorted(maps.Keys(c.Claims))
		c.Claims = maps.Clone(c.Claims)
		payload, ok := c.with(names[int(claim)%len(names)], raw, value)
		if !ok {
			return
		}
		who, _, err := certified(issuer, payload)
		if err != nil {
			checkRefusal(t, err, payload)
			return
		}
		cert := encode(t, key, who)
		count := len(cert.URIs) + len(cert.EmailAddresses)
		if who.Name.Kind == identity.OtherName {
			count++
		}
		if count != 1 || len(cert.DNSNames)+len(cert.IPAddresses) != 0 {
			t.Fatalf("certificate has URIs %v and emails %q, want one name", cert.URIs, cert.EmailAddresses)
		}
		if len(cert.URIs) == 1 && (cert.URIs[0].String() != who.Name.Value || !cert.URIs[0].IsAbs() || strings.Contains(cert.URIs[0].Path, "/../")) {
			t.Fatalf("URI %q, want a plain %q", cert.URIs[0], who.Name.Value)
		}
		for _, challenge := range append(who.Challenges, who.Challenges[0]) {
			if challenge == "" {
				t.Fatalf("challenges %q: one is empty", who.Challenges)
			}
		}
	})
}

// with returns the payload with a claim replaced, by JSON if it is raw.
func (c golden) with(name string, raw bool, value string) (payload []byte, ok bool) {
	text := []byte(value)
	if !raw {
		var err error
		if text, err = json.Marshal(value); err != nil {
			return nil, false
		}
	}
	c.Claims[name] = text
	payload, err := json.Marshal(c.Claims)
	return payload, err == nil
}

// checkRefusal demands a public sentence without any claim's text of some length.
func checkRefusal(t *testing.T, err error, payload []byte) {
	t.Helper()
	if fault.KindOf(err) != fault.Invalid {
		t.Fatalf("error = %v, want an invalid one", err)
	}
	var members map[string]any
	if json.Unmarshal(payload, &members) != nil {
		return
	}
	for name, value := range members {
		text, ok := value.(string)
		if ok && len(text) > 40 && strings.Contains(fault.Public(err), text) {
			t.Fatalf("public sentence %q repeats claim %s", fault.Public(err), name)
		}
	}
}

// encode makes a certificate of the principal's extensions and reads it back.
func encode(t *testing.T, key ed25519.PrivateKey, who identity.Principal) *x509.Certificate {
	t.Helper()
	exts, err := who.Extensions()
	if err != nil {
		t.Fatalf("extensions of %+v: %v", who, err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<31, 0), ExtraExtensions: exts}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("certificate of %+v: %v", who, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("certificate of %+v: %v", who, err)
	}
	return cert
}
