package identity_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// FuzzPrincipal: whatever a trusted issuer says, it is refused as the token's
// fault, without repeating it, or makes a certificate that Go's x509 reads back
// with exactly one name.
func FuzzPrincipal(f *testing.F) {
	goldens := readGoldens(f)
	var issuers []identity.Issuer
	last := ""
	for _, c := range goldens {
		if name := string(c.Type) + c.SAN + c.IssuerClaim; name != last {
			issuers = append(issuers, c.issuer(f))
			last = name
		}
		f.Add(uint8(len(issuers)-1), c.payload(f))
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		who, _, err := certified(issuers[int(which)%len(issuers)], payload)
		if err != nil {
			checkRefusal(t, err, payload)
			return
		}
		cert := encode(t, key, who)
		names := len(cert.URIs) + len(cert.EmailAddresses)
		if who.Name.Kind == identity.OtherName {
			names++
		}
		if names != 1 || len(cert.DNSNames)+len(cert.IPAddresses) != 0 {
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
