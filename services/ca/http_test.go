package ca

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
)

const email = "alice@example.com"

// TestRefusedRequests: each request is good but for one fact. The authority
// refuses them all, with the contract's code and phrase.
func TestRefusedRequests(t *testing.T) {
	f := newFixture(t, nil)
	key, other := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	p384, rsaKey := newECDSA(t, elliptic.P384()), newRSA(t, 2048)
	with := func(changes map[string]any) string {
		all := alice()
		for name, value := range changes {
			all[name] = value
		}
		return f.issuer.Token(t, all)
	}
	good, body := with(nil), challengeBody(t, key, email)
	forged := identitytest.Sign(t, identitytest.Key{ID: "key-1", Alg: jose.ES256, Private: other}, f.issuer.Claims(alice()))
	past := f.now.Unix() - 1
	late := f.now.Unix() + 301

	const (
		token     = "error processing the identity token"
		badProof  = "could not be verified"
		csr       = "certificate signing request could not be parsed"
		keySyntax = "public key supplied in the request could not be parsed"
		weak      = "is insecure"
		algorithm = "signing algorithm not permitted"
	)
	tests := []struct {
		name, token string
		body        any
		phrase      string
	}{
		{"expired", with(map[string]any{"exp": past}), body, token},
		{"not valid yet", with(map[string]any{"nbf": late}), body, token},
		{"wrong audience", with(map[string]any{"aud": "other"}), body, token},
		{"other issuer", with(map[string]any{"iss": "https://evil.example"}), body, token},
		{"token by another key", forged, body, token},
		{"alg none", identitytest.Unsigned(t, "none", f.issuer.Claims(alice()), nil), body, token},
		{"alg HS256", identitytest.Unsigned(t, "HS256", f.issuer.Claims(alice()), []byte("mac")), body, token},
		{"one dot", strings.Join(strings.Split(good, ".")[:2], "."), body, token},
		{"three dots", good + ".", body, token},
		{"no token", "", body, token},
		{"unverified email", with(map[string]any{"email_verified": false}), body, token},
		{"non-ASCII email", with(map[string]any{"email": "älice@example.com"}), body, token},
		{"no email", with(map[string]any{"email": nil}), body, token},
		{"token before key", with(map[string]any{"exp": past}), object{}, token},

		{"proof by another key", good, mixed(t, key, other), badProof},
		{"proof of another text", good, challengeBody(t, key, "bob@example.com"), badProof},
		{"proof of the subject", good, challengeBody(t, key, "subject-1"), badProof},
		{"proof of nothing", good, challengeBody(t, key, ""), badProof},
		{"no proof", good, withoutProof(t, key), badProof},
		{"RSA-PSS proof", good, pssBody(t, rsaKey), badProof},

		{"no key", good, object{}, keySyntax},
		{"empty body", good, "", keySyntax},
		{"key is text", good, keyBody("hello"), keySyntax},
		{"key is a certificate", good, keyBody(string(pki.CertificatesPEM(f.cfg.Chain[:1]))), keySyntax},
		{"two keys", good, keyBody(publicPEM(t, key.Public()) + publicPEM(t, other.Public())), keySyntax},
		{"key off its curve", good, keyBody(offCurve(t, key)), keySyntax},
		{"P-224", good, challengeBody(t, newECDSA(t, elliptic.P224()), email), weak},
		{"RSA 1024", good, challengeBody(t, newRSA(t, 1024), email), weak},

		{"CSR no PEM", good, object{"certificateSigningRequest": []byte("hello")}, csr},
		{"CSR of another label", good, relabelled(t, key), csr},
		{"CSR no DER", good, csrPEMBody("CERTIFICATE REQUEST", []byte("hello")), csr},
		{"CSR cut short", good, changedCSR(t, key, func(der []byte) []byte { return der[:len(der)-1] }), csr},
		{"CSR with more behind", good, changedCSR(t, key, func(der []byte) []byte { return append(der, 0) }), csr},
		{"CSR signature flipped", good, changedCSR(t, key, func(der []byte) []byte { der[len(der)-1] ^= 1; return der }), badProof},
		{"CSR key of another", good, swappedKey(t, key, other), badProof},
		{"CSR, P-384 with SHA-256", good, csrBody(t, p384, x509.ECDSAWithSHA256), algorithm},
		{"CSR, P-256 with SHA-384", good, csrBody(t, key, x509.ECDSAWithSHA384), algorithm},
		{"CSR, RSA with SHA-512", good, csrBody(t, rsaKey, x509.SHA512WithRSA), algorithm},
		{"CSR, RSA-PSS", good, csrBody(t, rsaKey, x509.SHA256WithRSAPSS), algorithm},
		{"CSR, P-224", good, csrBody(t, newECDSA(t, elliptic.P224()), x509.ECDSAWithSHA256), weak},

		{"no JSON", good, "{", "not a JSON object"},
		{"JSON array", good, "[]", "not a JSON object"},
		{"JSON null", good, "null", "not a JSON object"},
		{"two values", good, "{}{}", "not a JSON object"},
		{"field twice", good, `{"credentials":null,"credentials":null}`, "not a JSON object"},
		{"both arms", good, merged(body, csrBody(t, key, x509.ECDSAWithSHA256)), "are alternatives"},
		{"both arms, one empty", good, merged(body, object{"certificateSigningRequest": ""}), "are alternatives"},
		{"both names", good, merged(body, object{"public_key_request": object{}}), "publicKeyRequest is there twice"},
		{"arm is no object", good, object{"publicKeyRequest": "x"}, "publicKeyRequest is not an object"},
		{"key is no string", good, keyBody(7), "content is not a string"},
		{"proof no base64", good, merged(keyBody(publicPEM(t, key.Public())), nil, "proofOfPossession", "!"), "proofOfPossession is not base64"},
		{"algorithm is an object", good, algorithmBody(t, key, object{}), "algorithm is not an enum"},
		{"oversize", good, `{"x":"` + strings.Repeat("x", 4<<20) + `"}`, "over the limit of 4194304 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantRefusal(t, f.post(t, v2Path, tt.token, tt.body), http.StatusBadRequest, 3, tt.phrase)
		})
	}
	if got := f.counter(t, "fulcio_new_certs"); got != 0 {
		t.Errorf("fulcio_new_certs = %v, want 0", got)
	}
}

// TestAcceptedForms: what clients send for one and the same request (contract:
// ca.md §1 and §4).
func TestAcceptedForms(t *testing.T) {
	f := newFixture(t, nil)
	token := f.issuer.Token(t, alice())
	key := newECDSA(t, elliptic.P256())
	public, proof := publicPEM(t, key.Public()), sign(t, key, email)
	url := base64.URLEncoding.EncodeToString(proof)
	wide := func(pem string) string { // one line of base64, no final newline (Java)
		lines := strings.Split(strings.TrimSpace(pem), "\n")
		return lines[0] + "\n" + strings.Join(lines[1:len(lines)-1], "") + "\n" + lines[len(lines)-1]
	}
	request := func(publicKey object, proof any) object {
		return object{"publicKeyRequest": object{"publicKey": publicKey, "proofOfPossession": proof}}
	}
	rsaKey := newRSA(t, 2048)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}))

	tests := []struct {
		name   string
		bearer string
		body   any
	}{
		{"token in the header", token, request(object{"algorithm": "ECDSA", "content": public}, proof)},
		{"token in the body", "", merged(request(object{"content": public}, proof), object{"credentials": object{"oidcIdentityToken": token}})},
		{"body wins", "x.y.z", merged(request(object{"content": public}, proof), object{"credentials": object{"oidcIdentityToken": token}})},
		{"snake case", "", object{
			"credentials":        object{"oidc_identity_token": token},
			"public_key_request": object{"public_key": object{"content": public}, "proof_of_possession": proof},
		}},
		{"nulls", token, merged(request(object{"algorithm": nil, "content": public}, proof), object{"certificateSigningRequest": nil, "credentials": nil})},
		{"null beside the other name", token, merged(request(object{"content": public}, proof), object{"public_key_request": nil})},
		{"unknown fields", token, merged(request(object{"content": public, "x": []int{1}}, proof), object{"y": object{"z": nil}})},
		{"unknown enum name", token, request(object{"algorithm": "RSA", "content": public}, proof)},
		{"enum number", token, request(object{"algorithm": 2, "content": public}, proof)},
		{"URL alphabet", token, request(object{"content": public}, url)},
		{"no padding", token, request(object{"content": public}, strings.TrimRight(url, "="))},
		{"one line of base64", token, request(object{"content": wide(public)}, proof)},
		{"PKCS#1 key", token, request(object{"content": pkcs1}, sign(t, rsaKey, email))},
		{"new CSR label", token, relabelledCSR(t, key, "NEW CERTIFICATE REQUEST")},
		{"CSR with a bad subject", token, badSubject(t, key)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { issued(t, f.post(t, v2Path, tt.bearer, tt.body)) })
	}
}

// TestV1 sends what cosign v2, gitsign and sigstore-rs do.
func TestV1(t *testing.T) {
	f := newFixture(t, nil)
	token := f.issuer.Token(t, alice())
	key := newECDSA(t, elliptic.P256())
	der, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	proof := sign(t, key, email)
	csr := csrBody(t, key, x509.ECDSAWithSHA256)["certificateSigningRequest"]
	rsaKey := newRSA(t, 2048)
	tests := []struct {
		name string
		body object
	}{
		{"PEM", object{"publicKey": object{"content": []byte(publicPEM(t, key.Public())), "algorithm": "ecdsa"}, "signedEmailAddress": proof, "certificateSigningRequest": nil}},
		{"DER", object{"publicKey": object{"content": der, "algorithm": "ecdsa"}, "signedEmailAddress": proof}},
		{"PKCS#1 DER", object{"public_key": object{"content": x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}, "signed_email_address": sign(t, rsaKey, email)}},
		{"CSR wins", object{"publicKey": object{"content": "eA=="}, "certificateSigningRequest": csr}},
		{"empty CSR", object{"publicKey": object{"content": der}, "signedEmailAddress": proof, "certificateSigningRequest": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.post(t, v1Path, token, tt.body)
			if w.Code != http.StatusCreated || w.Header().Get("Content-Type") != "application/pem-certificate-chain" {
				t.Fatalf("answer = %d %s %s", w.Code, w.Header(), w.Body)
			}
			if _, ok := w.Header()["Sct"]; ok {
				t.Error("header SCT is there, though the SCT is embedded")
			}
			chain, err := pki.ParseCertificatesPEM(w.Body.Bytes())
			if err != nil || len(chain) != 3 || !chain[2].Equal(f.root) {
				t.Fatalf("chain of %d certificates (%v), want leaf, intermediate and root", len(chain), err)
			}
			if err := f.verify(chain[0]); err != nil {
				t.Error(err)
			}
		})
	}
	inBody := object{"publicKey": object{"content": der}, "signedEmailAddress": proof, "credentials": object{"oidcIdentityToken": token}}
	wantRefusal(t, f.post(t, v1Path, "", inBody), http.StatusBadRequest, 3, "error processing the identity token")
	wantRefusal(t, f.post(t, v1Path, token, `{"publicKey":{"algorithm":1}}`), http.StatusBadRequest, 3, "algorithm is not a string")
	wantRefusal(t, f.post(t, v1Path, token, `[`), http.StatusBadRequest, 3, "not a JSON object")
}

func TestReadEndpoints(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.Issuers = append(f.cfg.Issuers,
			identity.Issuer{URL: "https://*.example.com", ClientID: "other", Type: identity.GitHubWorkflow},
			identity.Issuer{URL: "https://a.example.org", ClientID: "c", Type: identity.URI, SubjectDomain: "https://example.org"})
	})
	chain := pki.CertificatesPEM(f.cfg.Chain)
	one := func(i int) string {
		text, err := json.Marshal(string(pki.CertificatesPEM(f.cfg.Chain[i : i+1])))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	issuer := func(arm, url, audience, claim, kind, domain string) string {
		return `{"` + arm + `":"` + url + `","audience":"` + audience + `","challengeClaim":"` + claim +
			`","spiffeTrustDomain":"","issuerType":"` + kind + `","subjectDomain":"` + domain + `","skipEmailVerification":false}`
	}
	tests := []struct{ path, contentType, want string }{
		{"/api/v2/trustBundle", "application/json", `{"chains":[{"certificates":[` + one(0) + `,` + one(1) + `]}]}` + "\n"},
		{"/api/v2/configuration", "application/json", `{"issuers":[` +
			issuer("issuerUrl", f.issuer.URL, "sigstore", "email", "email", "") + "," +
			issuer("wildcardIssuerUrl", "https://*.example.com", "other", "sub", "github-workflow", "") + "," +
			issuer("issuerUrl", "https://a.example.org", "c", "sub", "uri", "https://example.org") + "]}\n"},
		{"/api/v1/rootCert", "application/pem-certificate-chain", string(chain)},
	}
	for _, tt := range tests {
		w := f.get(t, tt.path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != tt.contentType || w.Body.String() != tt.want {
			t.Errorf("GET %s = %d %q\n%s\nwant\n%s", tt.path, w.Code, w.Header().Get("Content-Type"), w.Body, tt.want)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Grpc-") {
				t.Errorf("GET %s leaks header %s", tt.path, name)
			}
		}
	}
}

// TestRouting: joined slashes are tolerated, other methods refused, and Accept
// changes nothing.
func TestRouting(t *testing.T) {
	f := newFixture(t, nil)
	key := newECDSA(t, elliptic.P256())
	issued(t, f.post(t, "//api/v2/signingCert", f.issuer.Token(t, alice()), challengeBody(t, key, email)))

	for _, r := range []*http.Request{
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, v2Path, nil),
		httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v2/trustBundle", nil),
	} {
		w := httptest.NewRecorder()
		f.mux.ServeHTTP(w, r)
		wantRefusal(t, w, http.StatusNotImplemented, 12, "")
	}

	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v2/trustBundle", nil)
	r.Header.Set("Accept", "application/pem-certificate-chain")
	r.Header.Set("Origin", "https://page.example")
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type = %q, want application/json", got)
	}
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("allowed origin = %q, want *", got)
	}
}

// merged lays objects over one another; more may add one name and value to the
// publicKeyRequest.
func merged(a, b object, more ...any) object {
	all := object{}
	for _, m := range []object{a, b} {
		for name, value := range m {
			all[name] = value
		}
	}
	if len(more) == 2 {
		inner, _ := all["publicKeyRequest"].(object)
		name, _ := more[0].(string)
		inner[name] = more[1]
	}
	return all
}

func keyBody(content any) object {
	return object{"publicKeyRequest": object{"publicKey": object{"content": content}}}
}

func algorithmBody(t *testing.T, key crypto.Signer, algorithm any) object {
	t.Helper()
	return object{"publicKeyRequest": object{
		"publicKey":         object{"algorithm": algorithm, "content": publicPEM(t, key.Public())},
		"proofOfPossession": sign(t, key, email),
	}}
}

func withoutProof(t *testing.T, key crypto.Signer) object {
	t.Helper()
	return keyBody(publicPEM(t, key.Public()))
}

// mixed is the key of one signer with the proof of another.
func mixed(t *testing.T, key, other crypto.Signer) object {
	t.Helper()
	return merged(keyBody(publicPEM(t, key.Public())), nil, "proofOfPossession", sign(t, other, email))
}

func csrDER(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "name"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func changedCSR(t *testing.T, key crypto.Signer, change func([]byte) []byte) object {
	t.Helper()
	return csrPEMBody("CERTIFICATE REQUEST", change(csrDER(t, key)))
}

func relabelledCSR(t *testing.T, key crypto.Signer, label string) object {
	t.Helper()
	return csrPEMBody(label, csrDER(t, key))
}

func relabelled(t *testing.T, key crypto.Signer) object {
	t.Helper()
	return relabelledCSR(t, key, "CERTIFICATE")
}
