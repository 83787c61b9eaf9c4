package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// The sentences of the contract's §9, as far as they tell cases apart.
const (
	saysCSR       = "The certificate signing request could not be parsed"
	saysKey       = "The public key supplied in the request could not be parsed"
	saysWeak      = "The public key supplied in the request is insecure"
	saysSignature = "The signature supplied in the request could not be verified"
	saysAlgorithm = "signing algorithm not permitted"
)

// refuse posts body with a good token and wants it refused.
func (f *fixture) refuse(t *testing.T, body any, phrase string) {
	t.Helper()
	wantRefusal(t, f.post(t, v2Path, f.issuer.Token(t, alice()), body), http.StatusBadRequest, 3, phrase)
	if n := f.log.Len(); n != 0 {
		t.Errorf("%d precertificates were logged, want none", n)
	}
}

// accept posts body with a good token and returns the leaf, which is for key.
func (f *fixture) accept(t *testing.T, key crypto.Signer, body any) *x509.Certificate {
	t.Helper()
	chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), body))
	leaf := f.checkChain(t, chain, key.Public())
	f.checkTransparency(t, chain)
	checkExtensions(t, leaf, "81"+email, f.attributes(alice(), nil))
	return leaf
}

func TestAPIWithCSRChallenge(t *testing.T) {
	for _, tt := range []struct {
		curve     elliptic.Curve
		algorithm x509.SignatureAlgorithm
	}{
		{elliptic.P256(), x509.ECDSAWithSHA256},
		{elliptic.P384(), x509.ECDSAWithSHA384},
		{elliptic.P521(), x509.ECDSAWithSHA512},
	} {
		f, key := newFixture(t, nil), newECDSA(t, tt.curve)
		f.accept(t, key, csrBody(t, key, tt.algorithm))
	}
	f, key := newFixture(t, nil), newEd25519(t)
	f.accept(t, key, csrBody(t, key, x509.PureEd25519))
}

func TestAPIWithCSRChallengeRSA(t *testing.T) {
	for _, bits := range []int{2048, 3072} {
		f, key := newFixture(t, nil), newRSA(t, bits)
		f.accept(t, key, csrBody(t, key, x509.SHA256WithRSA))
	}
}

func TestAPIWithInvalidCSR(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	good := csrDER(t, key)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good})
	for name, csr := range map[string][]byte{
		"no PEM":            []byte("invalid"),
		"DER":               good,
		"a certificate":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good}),
		"two requests":      append(slices.Clone(text), text...),
		"text behind":       append(slices.Clone(text), "more"...),
		"empty":             pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST"}),
		"information alone": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good[4:]}),
	} {
		t.Run(name, func(t *testing.T) {
			newFixture(t, nil).refuse(t, object{"certificateSigningRequest": csr}, saysCSR)
		})
	}
}

func TestAPIWithInvalidCSRSignature(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ECDSA": newECDSA(t, elliptic.P256()), "RSA": newRSA(t, 2048), "Ed25519": newEd25519(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.refuse(t, changedCSR(t, key, func(der []byte) []byte { der[len(der)-1] ^= 1; return der }), saysSignature)
			f.refuse(t, swappedKey(t, key, likewise(t, key)), saysSignature)
		})
	}
}

// likewise is another key of the same kind and length.
func likewise(t *testing.T, key crypto.Signer) crypto.Signer {
	t.Helper()
	switch spki := spkiOf(t, key); len(spki) {
	case len(spkiOf(t, newEd25519(t))):
		return newEd25519(t)
	case len(spkiOf(t, newECDSA(t, elliptic.P256()))):
		return newECDSA(t, elliptic.P256())
	default:
		return newRSA(t, 2048)
	}
}

func TestAPIWithInvalidCSRPublicKey(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	offCurve := changedCSR(t, key, func(der []byte) []byte {
		spki := spkiOf(t, key)
		at := strings.Index(string(der), string(spki)) + len(spki) - 1
		der[at] ^= 1
		return der
	})
	newFixture(t, nil).refuse(t, offCurve, saysKey)
	newFixture(t, nil).refuse(t, csrBody(t, newRSA(t, 1024), x509.SHA256WithRSA), saysWeak)
	newFixture(t, nil).refuse(t, csrBody(t, newECDSA(t, elliptic.P224()), x509.ECDSAWithSHA256), saysWeak)
}

func TestAPIWithInvalidChallenge(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ECDSA": newECDSA(t, elliptic.P384()), "RSA": newRSA(t, 2048), "Ed25519": newEd25519(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.refuse(t, challengeBody(t, key, "invalid challenge"), saysSignature)
			f.refuse(t, mixed(t, key, likewise(t, newECDSA(t, elliptic.P256()))), saysSignature)
			f.refuse(t, withoutProof(t, key), saysSignature)
		})
	}
}

func TestAPIWithInvalidPublicKey(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	text := publicPEM(t, key.Public())
	for name, content := range map[string]string{
		"no PEM":        "invalid",
		"a request":     strings.ReplaceAll(text, "PUBLIC KEY", "CERTIFICATE REQUEST"),
		"a private key": strings.ReplaceAll(text, "PUBLIC KEY", "PRIVATE KEY"),
		"damaged":       strings.Replace(text, "MFk", "MFm", 1),
		"more behind":   text + "more",
		"off its curve": offCurve(t, key),
	} {
		t.Run(name, func(t *testing.T) { newFixture(t, nil).refuse(t, keyBody(content), saysKey) })
	}
}

func TestAPIWithInsecurePublicKey(t *testing.T) {
	f := newFixture(t, nil)
	f.refuse(t, challengeBody(t, newRSA(t, 1024), email), saysWeak)
	f.refuse(t, challengeBody(t, newECDSA(t, elliptic.P224()), email), saysWeak)
}

func TestAPIWithoutPublicKey(t *testing.T) {
	f := newFixture(t, nil)
	for _, body := range []object{
		{},
		{"publicKeyRequest": object{}},
		{"publicKeyRequest": object{"publicKey": object{"content": ""}, "proofOfPossession": []byte("x")}},
		{"certificateSigningRequest": ""},
	} {
		f.refuse(t, body, saysKey)
	}
}

// TestSigningAlgorithms: the list of the configuration takes the place of the
// default one.
func TestSigningAlgorithms(t *testing.T) {
	p256, p384, p521, rsaKey := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521()), newRSA(t, 2048)
	tests := []struct {
		name  string
		names []string
		key   crypto.Signer
		body  object
		ok    bool
	}{
		{"P-384 with SHA-256", nil, p384, csrBody(t, p384, x509.ECDSAWithSHA256), false},
		{"P-384 with SHA-256, allowed", []string{"ecdsa-sha2-256-nistp384"}, p384, csrBody(t, p384, x509.ECDSAWithSHA256), true},
		{"P-384 with SHA-384 beside it", []string{"ecdsa-sha2-256-nistp384"}, p384, csrBody(t, p384, x509.ECDSAWithSHA384), false},
		{"P-521 with SHA-256, allowed", []string{"ecdsa-sha2-256-nistp521"}, p521, csrBody(t, p521, x509.ECDSAWithSHA256), true},
		{"RSA, not allowed", []string{"ecdsa-sha2-256-nistp256"}, rsaKey, challengeBody(t, rsaKey, email), false},
		{"RSA of PSS by PKCS#1", []string{"rsa-sign-pss-2048-sha256"}, rsaKey, challengeBody(t, rsaKey, email), true},
		{"RSA of another size", []string{"rsa-sign-pkcs1-3072-sha256"}, rsaKey, challengeBody(t, rsaKey, email), false},
		{"P-256, not allowed", []string{"ed25519", "ed25519-ph"}, p256, challengeBody(t, p256, email), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(f *fixture) { f.cfg.Algorithms = tt.names })
			if tt.ok {
				f.accept(t, tt.key, tt.body)
			} else {
				f.refuse(t, tt.body, saysAlgorithm)
			}
		})
	}
	f := newFixture(t, nil)
	f.cfg.Algorithms = []string{"rsa-sign-pkcs1-1024-sha1"}
	if _, err := New(f.cfg); err == nil || !strings.Contains(err.Error(), `"rsa-sign-pkcs1-1024-sha1" is not known`) {
		t.Errorf("error = %v, want one that names the algorithm", err)
	}
}

// TestLifetime: an issuer's certificates live as long as it wants, ten minutes at
// most.
func TestLifetime(t *testing.T) {
	for _, tt := range []struct{ wanted, want time.Duration }{
		{0, 10 * time.Minute},
		{10 * time.Minute, 10 * time.Minute},
		{90 * time.Second, 90 * time.Second},
		{time.Minute, time.Minute},
	} {
		f := newFixture(t, func(f *fixture) { f.cfg.Issuers[0].Lifetime = tt.wanted })
		key := newECDSA(t, elliptic.P256())
		leaf := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, email)))[0]
		if got := leaf.NotAfter.Sub(leaf.NotBefore); got != tt.want || !leaf.NotBefore.Equal(f.now) {
			t.Errorf("lifetime %v: certificate lives %v from %v, want %v from %v", tt.wanted, got, leaf.NotBefore, tt.want, f.now)
		}
	}
	f := newFixture(t, nil)
	for _, odd := range []time.Duration{10*time.Minute + time.Second, -time.Minute} {
		f.cfg.Issuers[0].Lifetime = odd
		if _, err := New(f.cfg); err == nil {
			t.Errorf("an issuer with lifetime %v is taken", odd)
		}
	}
}

// TestPolicy: an issuer's rules have the last word on its tokens, and see only
// those that everything else was in order with.
func TestPolicy(t *testing.T) {
	asked := 0
	var says error
	f := newFixture(t, func(f *fixture) {
		f.cfg.Issuers[0].Policy = func(c identity.Claims) error {
			asked++
			if c.Subject != "subject-1" {
				t.Errorf("policy is asked of %q, want subject-1", c.Subject)
			}
			return says
		}
	})
	key := newECDSA(t, elliptic.P256())
	body := challengeBody(t, key, email)
	issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), body))

	says = fault.Wrap(fault.Invalid, errors.New("rule 7 is false"), "refused by rule release-only")
	w := f.post(t, v2Path, f.issuer.Token(t, alice()), body)
	if strings.Contains(w.Body.String(), "rule 7") {
		t.Errorf("answer leaks: %s", w.Body)
	}
	wantRefusal(t, w, http.StatusBadRequest, 3, "error processing the identity token: refused by rule release-only")
	if e := f.record.Take(); len(e) == 0 || e[len(e)-1].Outcome != audit.Refused || e[len(e)-1].Subject != email {
		t.Errorf("on record: %+v, want a refusal of %s", e[len(e)-1], email)
	}

	if asked != 2 {
		t.Errorf("policy was asked %d times, want twice", asked)
	}
	asked = 0
	unverified := f.issuer.Token(t, map[string]any{"email": email, "email_verified": false})
	wantRefusal(t, f.post(t, v2Path, unverified, body), http.StatusBadRequest, 3, "email is not verified")
	if asked != 0 {
		t.Error("policy was asked of a token that is refused anyway")
	}
	f.log.Only(t)
}

// elsewhere is a key that says where it lives, and may sign wrongly.
type elsewhere struct {
	crypto.Signer
	uri string
}

func (e elsewhere) URI() string { return e.uri }

// TestWrongSignatureOfAKeyElsewhere: not even the log sees it.
func TestWrongSignatureOfAKeyElsewhere(t *testing.T) {
	for name, signer := range map[string]func(*ecdsa.PrivateKey) crypto.Signer{
		"token":   func(k *ecdsa.PrivateKey) crypto.Signer { return elsewhere{brokenSigner{k, nil}, "pkcs11:object=ca"} },
		"unknown": func(k *ecdsa.PrivateKey) crypto.Signer { return brokenSigner{k, nil} },
		"token, failed": func(k *ecdsa.PrivateKey) crypto.Signer {
			return elsewhere{brokenSigner{k, errors.New("gone")}, "pkcs11:object=ca"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(f *fixture) { f.cfg.Signer = signer(f.signer) })
			key := newECDSA(t, elliptic.P256())
			w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, email))
			wantRefusal(t, w, http.StatusInternalServerError, 13, "error communicating with CA backend")
			if n := f.log.Len(); n != 0 {
				t.Errorf("%d precertificates were given to the log, want none", n)
			}
		})
	}
}

// TestWrongSignatureInMemory: a certificate whose signature is wrong goes nowhere,
// whoever made it.
func TestWrongSignatureInMemory(t *testing.T) {
	f := newFixture(t, func(f *fixture) { f.cfg.Signer = elsewhere{brokenSigner{f.signer, nil}, ""} })
	key := newECDSA(t, elliptic.P256())
	w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, email))
	wantRefusal(t, w, http.StatusInternalServerError, 13, "error communicating with CA backend")
}
