package ca

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// FuzzParsePublicKey: an accepted key encodes and parses to itself, and its
// policy holds of the copy.
func FuzzParsePublicKey(f *testing.F) {
	for _, key := range []crypto.Signer{newECDSA(f, elliptic.P256()), newECDSA(f, elliptic.P224()), newRSA(f, 2048), newEd25519(f)} {
		spki, err := pki.MarshalPublicKey(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(spki)
		f.Add(pki.PublicKeyPEM(spki))
		if k, ok := key.(*rsa.PrivateKey); ok {
			f.Add(x509.MarshalPKCS1PublicKey(&k.PublicKey))
			f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.PublicKey)}))
		}
	}
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := parsePublicKey(data)
		if err != nil || checkKey(pub) != nil {
			return
		}
		spki, err := pki.MarshalPublicKey(pub)
		if err != nil {
			t.Fatalf("accepted a key that cannot be encoded: %v", err)
		}
		again, err := parsePublicKey(spki)
		if err != nil {
			t.Fatalf("accepted a key that does not parse again: %v", err)
		}
		if second := spkiAgain(t, again); !bytes.Equal(spki, second) || checkKey(again) != nil {
			t.Errorf("key became %x, was %x", second, spki)
		}
	})
}

func spkiAgain(t *testing.T, pub crypto.PublicKey) []byte {
	t.Helper()
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// FuzzParseCSR: what both of us parse, x509 parses the same, and we accept no
// signature that x509 refuses. We are laxer about subjects only. RSA keys are
// left to the policy's own test: its arithmetic would use up the fuzzer's time.
func FuzzParseCSR(f *testing.F) {
	for _, key := range []crypto.Signer{newECDSA(f, elliptic.P256()), newRSA(f, 2048), newEd25519(f)} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example"}}, key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte{0x30, 0x00})
	by := newFixture(f, nil).service.state.Load()
	f.Fuzz(func(t *testing.T, der []byte) {
		ours, err := parseCSRDER(der)
		theirs, theirErr := x509.ParseCertificateRequest(der)
		if err != nil || theirErr != nil {
			return
		}
		if !bytes.Equal(ours.spki, theirs.RawSubjectPublicKeyInfo) || !bytes.Equal(ours.signed, theirs.RawTBSCertificateRequest) ||
			!bytes.Equal(ours.signature, theirs.Signature) {
			t.Errorf("parsed %+v, x509 has other bytes", ours)
		}
		if theirs.PublicKeyAlgorithm == x509.RSA {
			return
		}
		pub, err := by.keyOfCSR(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v is not the caller's fault", err)
			}
			return
		}
		if err := theirs.CheckSignature(); err != nil {
			t.Errorf("accepted a signature that x509 refuses: %v", err)
		}
		if !bytes.Equal(spkiAgain(t, pub), spkiAgain(t, theirs.PublicKey)) {
			t.Error("found another key than x509 does")
		}
	})
}

// FuzzDecode: what is accepted means the same when written down in the canonical
// form, and bodies with both arms are never accepted.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"credentials":{"oidcIdentityToken":"a.b.c"},"publicKeyRequest":{"publicKey":{"algorithm":"ECDSA","content":"x"},"proofOfPossession":"eA=="}}`))
	f.Add([]byte(`{"public_key_request":{"public_key":{"content":"x"},"proof_of_possession":"_-8"}}`))
	f.Add([]byte(`{"certificateSigningRequest":"eA"}`))
	f.Add([]byte(`{"publicKey":{"content":"eA==","algorithm":"ecdsa"},"signedEmailAddress":"eA==","certificateSigningRequest":null}`))
	f.Add([]byte(``))
	f.Add([]byte(strings.Repeat(`{"credentials":`, 1000)))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeV1(body); err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("error %v is not the caller's fault", err)
		}
		req, err := decodeV2(body)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v is not the caller's fault", err)
			}
			return
		}
		if len(req.CSR) > 0 && len(req.PublicKey) > 0 {
			t.Errorf("accepted both arms: %q", body)
		}
		again, err := decodeV2(canonical(t, req))
		if err != nil {
			t.Fatalf("canonical form is refused: %v", err)
		}
		same := req.Token == again.Token && slices.Equal(req.PublicKey, again.PublicKey) &&
			bytes.Equal(req.Proof, again.Proof) && bytes.Equal(req.CSR, again.CSR)
		if !same {
			t.Errorf("%+v became %+v", req, again)
		}
	})
}

// FuzzText: a string reads as the JSON package reads it, whether it is plain or not.
func FuzzText(f *testing.F) {
	for _, text := range []string{`"x"`, `""`, ` "a" `, `"\n"`, "\"\xff\"", `"é"`, `1`, `null`, `["x"]`, `"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := parseMessage(slices.Concat([]byte(`{"x":`), value, []byte(`}`)))
		if err != nil || len(m) != 1 {
			return
		}
		var d fields
		got := d.text(m, "x")
		var want *string
		if err := json.Unmarshal(m["x"], &want); (err != nil) != (d.err != nil) || err == nil && want != nil && *want != got || want == nil && got != "" {
			t.Errorf("%q reads as %q (%v), want %v (%v)", value, got, d.err, want, err)
		}
	})
}

func canonical(t *testing.T, req Request) []byte {
	t.Helper()
	m := object{"credentials": object{"oidcIdentityToken": req.Token}}
	if len(req.CSR) > 0 {
		m["certificateSigningRequest"] = req.CSR
	} else {
		m["publicKeyRequest"] = object{"publicKey": object{"content": string(req.PublicKey)}, "proofOfPossession": req.Proof}
	}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
