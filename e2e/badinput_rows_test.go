package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// badInputRows returns the row of every route, by method and path.
func badInputRows(t *testing.T, s *inProcess) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for _, part := range []map[string]row{
		caRows(t, s), tlogRows(t, s), tsaRows(t), ctlogRows(), oidcRows(), fileRows(s), pageRows(), grpcRows(),
	} {
		maps.Copy(rows, part)
	}
	return rows
}

// text is a request body, or a part of one.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// object is a JSON object.
type object = map[string]any

// Bodies that are no JSON object of anybody's.
const (
	truncated = `{"a":{"b":`
	nullBytes = "{\"a\":\"\x00\"}"
	twoValues = `{} {}`
	deepest   = 80_000 // nested arrays or objects; within all limits but a timestamp's
)

// notJSON are the same cases wherever a JSON object is expected.
func notJSON(status int, want string) []badCase {
	return []badCase{
		{name: "truncated", body: truncated, status: status, want: want},
		{name: "null byte", body: nullBytes, status: status, want: want},
		{name: "only null bytes", body: strings.Repeat("\x00", 100), status: status, want: want},
		{name: "two values", body: twoValues, status: status, want: want},
		{name: "array", body: `[]`, status: status, want: want},
		{name: "string", body: `"x"`, status: status, want: want},
		{name: "number", body: `1e999999999`, status: status, want: want},
		{name: "a form", body: "a=b", header: form(), status: status, want: want},
		{name: "byte order mark", body: "\ufeff{}", status: status, want: want},
		{name: "unclosed arrays", body: strings.Repeat("[", deepest), status: status, want: want},
		{name: "unclosed objects", body: strings.Repeat(`{"a":`, deepest), status: status, want: want},
		{name: "XML", body: "<a/>", header: http.Header{"Content-Type": {"application/xml"}}, status: status, want: want},
	}
}

func form() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
}

// ignored are oddities that a route without parameters and body passes over.
func ignored() []badCase {
	return []badCase{
		{name: "query that is none", target: "?%zz&;=", status: 200, shape: granted},
		{name: "body", body: truncated, status: 200, shape: granted},
		{name: "content type that is none", header: http.Header{"Content-Type": {";;"}}, status: 200, shape: granted},
	}
}

func caRows(t *testing.T, s *inProcess) map[string]row {
	t.Helper()
	invalid := grpcError(3)
	get := func(path string) row { return row{path, invalid, ignored()} }
	return map[string]row{
		"POST /api/v2/signingCert":  {"/api/v2/signingCert", invalid, append(badCertRequests(t, s), badTokens()...)},
		"POST /api/v1/signingCert":  {"/api/v1/signingCert", invalid, badV1Requests(t, s)},
		"GET /api/v2/trustBundle":   get("/api/v2/trustBundle"),
		"GET /api/v2/configuration": get("/api/v2/configuration"),
		"GET /api/v1/rootCert":      get("/api/v1/rootCert"),
	}
}

// badTokens are bodies in good order with a token that is not.
func badTokens() []badCase {
	const phrase = "error processing the identity token"
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"http://localhost/dex","aud":"sigstore","exp":99999999999}`))
	deepClaims := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 40_000)))
	var cases []badCase
	for name, token := range map[string]string{
		"no token":            "",
		"word for a token":    "x",
		"dots for a token":    strings.Repeat(".", 50_000),
		"token of one part":   claims,
		"token of four parts": "a.b.c.d",
		"token of null bytes": "\x00.\x00.\x00",
		"token in base64":     "e30=.e30=.e30=",
		"unsigned token":      none + "." + claims + ".",
		"token nested deeply": none + "." + deepClaims + ".AA",
		"token of an array":   none + ".W10.AA",
		"token of 64 KiB":     strings.Repeat("a", 64<<10),
	} {
		body := text(object{"credentials": object{"oidcIdentityToken": token}})
		cases = append(cases, badCase{name: name, body: body, status: 400, want: phrase})
	}
	for name, header := range map[string]string{
		"no scheme": "x.y.z", "other scheme": "Basic eDp5", "scheme alone": "Bearer", "bad token in the header": "Bearer x.y.z",
	} {
		cases = append(cases, badCase{
			name: name, body: `{}`, header: http.Header{"Authorization": {header}}, status: 400, want: phrase,
		})
	}
	return cases
}

// badCertRequests are v2 requests of which the token is good.
func badCertRequests(t *testing.T, s *inProcess) []badCase {
	t.Helper()
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(e2etest.MustRun(t, nil, e2etest.Sigstack(t), "token", "--dir", s.dir))}}
	key := func(publicKey, proof any) string {
		return text(object{"publicKeyRequest": object{"publicKey": object{"algorithm": "ECDSA", "content": publicKey}, "proofOfPossession": proof}})
	}
	good := newKeyProof(t, elliptic.P256())
	cases := append(notJSON(400, "not a JSON object"),
		badCase{name: "null", body: "null", want: "not a JSON object"},
		badCase{name: "member twice", body: `{"credentials":{},"credentials":{}}`, want: "not a JSON object"},
		badCase{name: "member in both spellings", body: `{"publicKeyRequest":{},"public_key_request":{}}`, want: "there twice"},
		badCase{name: "credentials a number", body: `{"credentials":1}`, want: "credentials is not an object"},
		badCase{name: "token a number", body: `{"credentials":{"oidcIdentityToken":1}}`, want: "oidcIdentityToken is not a string"},
		badCase{name: "key request a string", body: `{"publicKeyRequest":"x"}`, want: "publicKeyRequest is not an object"},
		badCase{name: "key a number", body: key(1e300, good.proof), want: "content is not a string"},
		badCase{name: "algorithm an object", body: `{"publicKeyRequest":{"publicKey":{"algorithm":{}}}}`, want: "algorithm is not an enum"},
		badCase{name: "proof not base64", body: key(good.public, "!"), want: "proofOfPossession is not base64"},
		badCase{name: "request not base64", body: text(object{"certificateSigningRequest": "!"}), want: "certificateSigningRequest is not base64"},
		badCase{name: "both ways of proof", body: text(object{"publicKeyRequest": object{}, "certificateSigningRequest": "AA=="}), want: "alternatives"},
		badCase{name: "no key", body: `{}`, want: "public key supplied in the request could not be parsed"},
		badCase{name: "key not PEM", body: key("x", good.proof), want: "public key supplied in the request could not be parsed"},
		badCase{name: "key with more behind it", body: key(good.public+good.public, good.proof), want: "could not be parsed"},
		badCase{name: "weak key", body: key(weakRSA(t), good.proof), want: "is insecure"},
		badCase{name: "curve that is not allowed", body: key(newKeyProof(t, elliptic.P224()).public, good.proof), want: "is insecure"},
		badCase{name: "no proof", body: key(good.public, nil), want: "signature supplied in the request could not be verified"},
		badCase{name: "empty proof", body: key(good.public, ""), want: "signature supplied in the request could not be verified"},
		badCase{name: "proof of zeros", body: key(good.public, make([]byte, 4096)), want: "signature supplied in the request could not be verified"},
		badCase{name: "request not PEM", body: text(object{"certificateSigningRequest": []byte("x")}), want: "certificate signing request could not be parsed"},
		badCase{name: "request of nothing", body: text(object{"certificateSigningRequest": emptyPEM("CERTIFICATE REQUEST")}), want: "certificate signing request could not be parsed"},
		badCase{name: "request that is a certificate", body: text(object{"certificateSigningRequest": emptyPEM("CERTIFICATE")}), want: "certificate signing request could not be parsed"},
		badCase{name: "member nobody knows, nested deeply", body: `{"x":` + strings.Repeat("[", deepest) + strings.Repeat("]", deepest) + `}`, want: "could not be parsed"},
	)
	return withDefaults(cases, header, 400)
}

func badV1Requests(t *testing.T, s *inProcess) []badCase {
	t.Helper()
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(e2etest.MustRun(t, nil, e2etest.Sigstack(t), "token", "--dir", s.dir))}}
	good := newKeyProof(t, elliptic.P256())
	cases := append(notJSON(400, "not a JSON object"),
		badCase{name: "key a string", body: `{"publicKey":"x"}`, want: "publicKey is not an object"},
		badCase{name: "key not base64", body: `{"publicKey":{"content":"!"}}`, want: "content is not base64"},
		badCase{name: "proof a list", body: `{"signedEmailAddress":[1]}`, want: "signedEmailAddress is not a string"},
		badCase{name: "request not base64", body: `{"certificateSigningRequest":"!"}`, want: "certificateSigningRequest is not base64"},
		badCase{name: "no key", body: `{}`, want: "public key supplied in the request could not be parsed"},
		badCase{name: "key of nothing", body: text(object{"publicKey": object{"content": []byte{0}}}), want: "could not be parsed"},
		badCase{name: "no proof", body: text(object{"publicKey": object{"content": []byte(good.public)}}), want: "could not be verified"},
	)
	cases = withDefaults(cases, header, 400)
	// v1 has its token in the header only.
	return append(cases, badCase{name: "no token", body: `{}`, status: 400, want: "error processing the identity token"})
}

// withDefaults fills in header and status where a case has none of its own.
func withDefaults(cases []badCase, header http.Header, status int) []badCase {
	for i, c := range cases {
		cases[i].header = http.Header{}
		maps.Copy(cases[i].header, header)
		maps.Copy(cases[i].header, c.header)
		if c.status == 0 {
			cases[i].status = status
		}
	}
	return cases
}

// keyProof is a public key as PEM and the demo user's proof of having it.
type keyProof struct {
	public string
	proof  []byte
}

func newKeyProof(t *testing.T, curve elliptic.Curve) keyProof {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(e2etest.DemoUser))
	proof, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return keyProof{e2etest.PublicPEM(t, key.Public()), proof}
}

func weakRSA(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return e2etest.PublicPEM(t, key.Public())
}

func emptyPEM(label string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: []byte{0x30, 0}})
}
