package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/digitorus/timestamp"

	"sigstack/services/tlog/tlogtest"
)

// badInputRows returns the row of every route, by method and path.
func badInputRows(t *testing.T, s *inProcess) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for _, part := range []map[string]row{
		caRows(t, s), tlogRows(t, s), tsaRows(t), ctlogRows(), oidcRows(), fileRows(s), pageRows(),
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
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(mustRun(t, nil, sigstackBin, "token", "--dir", s.dir))}}
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
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(mustRun(t, nil, sigstackBin, "token", "--dir", s.dir))}}
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
	digest := sha256.Sum256([]byte(demoUser))
	proof, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return keyProof{publicPEM(t, key.Public()), proof}
}

func weakRSA(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // its weakness is the point
	if err != nil {
		t.Fatal(err)
	}
	return publicPEM(t, key.Public())
}

func publicPEM(t *testing.T, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func emptyPEM(label string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: []byte{0x30, 0}})
}

const entriesPath = "/api/v1/log/entries"

func tlogRows(t *testing.T, s *inProcess) map[string]row {
	t.Helper()
	// The start check has logged an entry: 0 is there, 9 is not.
	none := strings.Repeat("ab", 32)
	entry := func(name, id string, status int, want string, shape shape) badCase {
		return badCase{name: name, target: entriesPath + "/" + id, status: status, want: want, shape: shape}
	}
	const notID = "entry ID is not 64 or 80 hex digits"
	return map[string]row{
		"POST " + entriesPath: {entriesPath, restError, badEntries(t)},
		"GET " + entriesPath: {entriesPath + "?logIndex=0", restError, []badCase{
			{name: "no index", target: entriesPath, status: 422, want: "logIndex is missing"},
			{name: "empty", target: entriesPath + "?logIndex=", status: 422, want: "logIndex is missing"},
			{name: "negative", target: entriesPath + "?logIndex=-1", status: 422, want: "logIndex is not an index"},
			{name: "not decimal", target: entriesPath + "?logIndex=0x0", status: 422, want: "logIndex is not an index"},
			{name: "a fraction", target: entriesPath + "?logIndex=0.0", status: 422, want: "logIndex is not an index"},
			{name: "beyond numbers", target: entriesPath + "?logIndex=" + strings.Repeat("9", 4000), status: 422, want: "logIndex is not an index"},
			{name: "null byte", target: entriesPath + "?logIndex=0%00", status: 422, want: "logIndex is not an index"},
			{name: "badly escaped", target: entriesPath + "?logIndex=%zz", status: 400, want: "query could not be parsed"},
			{name: "beyond the log", target: entriesPath + "?logIndex=9223372036854775807", status: 404, shape: noBody},
			{name: "twice: the first counts", target: entriesPath + "?logIndex=9&logIndex=0", status: 404, shape: noBody},
		}},
		"GET " + entriesPath + "/{id}": {entriesPath + "/" + s.firstEntry(t), restError, []badCase{
			entry("too short", none[1:], 422, notID, nil),
			entry("too long", strings.Repeat("a", 5000), 422, notID, nil),
			entry("not hex", none[1:]+"g", 422, notID, nil),
			entry("tree not hex", "000000000000000g"+none, 422, notID, nil),
			entry("null bytes", strings.Repeat("%00", 64), 422, notID, nil),
			entry("not UTF-8", strings.Repeat("%ff", 64), 422, notID, nil),
			entry("dots", "%2e%2e", 422, notID, nil),
			entry("escape", "..%2f..%2fkeys", 422, notID, nil),
			entry("unknown", none, 404, "", noBody),
			entry("unknown tree", "00000000000000ff"+none, 404, "", noBody),
			entry("tree beyond int64", "ffffffffffffffff"+none, 404, "", noBody),
		}},
		"POST " + entriesPath + "/retrieve": {entriesPath + "/retrieve", restError, badSearches(none)},
		"GET /api/v1/log":                   {"/api/v1/log", restError, ignored()},
		"GET /api/v1/log/proof":             {"/api/v1/log/proof?lastSize=1", restError, badProofs("/api/v1/log/proof")},
		"GET /api/v1/log/publicKey": {"/api/v1/log/publicKey", restError, []badCase{
			{name: "other tree", target: "?treeID=7", status: 400, want: "no such tree"},
			{name: "tree in hex", target: "?treeID=0x1", status: 400, want: "treeID is not a decimal number"},
			{name: "negative tree", target: "?treeID=-1", status: 400, want: "treeID is not a decimal number"},
			{name: "tree beyond numbers", target: "?treeID=" + strings.Repeat("9", 4000), status: 400, want: "treeID is not a decimal number"},
			{name: "badly escaped", target: "?treeID=%zz", status: 400, want: "query could not be parsed"},
		}},
	}
}

// firstEntry returns the ID of the log's first entry.
func (s *inProcess) firstEntry(t *testing.T) string {
	t.Helper()
	a := s.send(t, http.MethodGet, entriesPath+"?logIndex=0", nil, nil)
	var e map[string]any
	if err := json.Unmarshal(a.body, &e); err != nil || len(e) != 1 {
		t.Fatalf("first entry: %d %s: %v", a.status, a.body, err)
	}
	return slices.Collect(maps.Keys(e))[0]
}

func badProofs(path string) []badCase {
	var cases []badCase
	for name, c := range map[string]struct{ query, want string }{
		"no size":            {"", "lastSize is missing"},
		"size 0":             {"?lastSize=0", "lastSize is not a tree size"},
		"negative":           {"?lastSize=-1", "lastSize is not a tree size"},
		"not decimal":        {"?lastSize=1e0", "lastSize is not a tree size"},
		"beyond numbers":     {"?lastSize=" + strings.Repeat("9", 4000), "lastSize is not a tree size"},
		"beyond the log":     {"?lastSize=9223372036854775807", "more than the log has now"},
		"from 0":             {"?firstSize=0&lastSize=1", "firstSize is not a tree size"},
		"backwards":          {"?firstSize=2&lastSize=1", "firstSize(2) must be"},
		"twice: first one":   {"?lastSize=x&lastSize=1", "lastSize is not a tree size"},
		"other tree":         {"?lastSize=1&treeID=7", "no such tree"},
		"tree not decimal":   {"?lastSize=1&treeID=ff", "treeID is not a decimal number"},
		"tree beyond int64":  {"?lastSize=1&treeID=9223372036854775808", "treeID is not a decimal number"},
		"badly escaped":      {"?lastSize=%", "query could not be parsed"},
		"parted by semicola": {"?firstSize=1;lastSize=1", "query could not be parsed"},
	} {
		cases = append(cases, badCase{name: name, target: path + c.query, status: 400, want: c.want})
	}
	return cases
}

func badSearches(none string) []badCase {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	const unread = "search query could not be parsed"
	cases := append(notJSON(400, unread),
		badCase{name: "IDs a string", body: `{"entryUUIDs":"x"}`, status: 400, want: unread},
		badCase{name: "ID of another kind", body: `{"entryUUIDs":[1]}`, status: 400, want: unread},
		badCase{name: "ID not hex", body: `{"entryUUIDs":["x"]}`, status: 400, want: "entryUUIDs[0] is not"},
		badCase{name: "index negative", body: `{"logIndexes":[-1]}`, status: 400, want: unread},
		badCase{name: "index a fraction", body: `{"logIndexes":[0.5]}`, status: 400, want: unread},
		badCase{name: "index beyond numbers", body: `{"logIndexes":[1e400]}`, status: 400, want: unread},
		badCase{name: "index null", body: `{"logIndexes":[null]}`, status: 400, want: "logIndexes[0] is null"},
		badCase{name: "entry of nothing", body: `{"entries":[{}]}`, status: 400, want: "entries[0]: kind is missing"},
		badCase{name: "entry a number", body: `{"entries":[1]}`, status: 400, want: "entries[0]"},
		badCase{name: "empty list", body: `{"logIndexes":[]}`, status: 422, want: "logIndexes is empty"},
		badCase{name: "eleven", body: `{"logIndexes":` + list(11, "0") + `}`, status: 422, want: "more than max allowed 10"},
		badCase{name: "half a million", body: `{"logIndexes":` + list(500_000, "0") + `}`, status: 422, want: "more than max allowed 10"},
		badCase{name: "eleven in two lists", body: `{"logIndexes":` + list(6, "0") + `,"entryUUIDs":` + list(5, text(none)) + `}`, status: 422, want: "more than max allowed 10"},
	)
	return cases
}

// badEntries are proposals that are good but for one member.
func badEntries(t *testing.T) []badCase {
	t.Helper()
	signer := tlogtest.NewSigner(t)
	// change returns a good proposal with the member at path set to v, or gone.
	change := func(proposal object, v any, path ...string) string {
		at := proposal
		for _, name := range path[:len(path)-1] {
			at = at[name].(object)
		}
		last := path[len(path)-1]
		if _, there := at[last]; !there {
			t.Fatalf("proposal has no %v", path)
		}
		if at[last] = v; v == nil {
			delete(at, last)
		}
		return text(proposal)
	}
	rekord := func(v any, path ...string) string {
		return change(tlogtest.HashedRekord(t, signer, crypto.SHA256, []byte("artifact")), v, path...)
	}
	dsse := func(v any) string {
		return change(tlogtest.DSSE(t, tlogtest.Envelope(t, "text/plain", []byte("x"), signer), signer), v, "spec", "proposedContent", "envelope")
	}
	other := tlogtest.HashedRekord(t, signer, crypto.SHA256, []byte("other"))["spec"].(object)["signature"].(object)["content"]
	cases := append(notJSON(400, ""),
		badCase{name: "null", body: "null", status: 400},
		badCase{name: "kind a number", body: rekord(1, "kind"), status: 422, want: "kind"},
		badCase{name: "kind nobody knows", body: rekord("nosuch", "kind"), status: 422, want: "kind is not one that is known"},
		badCase{name: "kind a path", body: rekord("../../hashedrekord", "kind"), status: 422, want: "kind is not one that is known"},
		badCase{name: "kind not enabled", body: rekord("rpm", "kind"), status: 400, want: "not enabled"},
		badCase{name: "no kind", body: rekord(nil, "kind"), status: 422, want: "kind is missing"},
		badCase{name: "no version", body: rekord(nil, "apiVersion"), status: 422, want: "apiVersion is missing"},
		badCase{name: "version of the far future", body: rekord("999999999999.0.0", "apiVersion"), status: 400, want: "version"},
		badCase{name: "no spec", body: rekord(nil, "spec"), status: 422, want: "spec is missing"},
		badCase{name: "spec a string", body: rekord("x", "spec"), status: 400, want: "spec"},
		badCase{name: "no hash", body: rekord(nil, "spec", "data", "hash"), status: 400, want: "hash"},
		badCase{name: "hash too short", body: rekord("abcd", "spec", "data", "hash", "value"), status: 400, want: "64 hex digits"},
		badCase{name: "hash not hex", body: rekord(strings.Repeat("x", 64), "spec", "data", "hash", "value"), status: 400, want: "64 hex digits"},
		badCase{name: "hash of another artifact", body: rekord(strings.Repeat("0", 64), "spec", "data", "hash", "value"), status: 400, want: "signature does not verify"},
		badCase{name: "hash algorithm nobody knows", body: rekord("md5", "spec", "data", "hash", "algorithm"), status: 400, want: "none of sha256"},
		badCase{name: "no signature", body: rekord(nil, "spec", "signature"), status: 400, want: "signature"},
		badCase{name: "signature not base64", body: rekord("!", "spec", "signature", "content"), status: 400, want: "base64"},
		badCase{name: "signature of another artifact", body: rekord(other, "spec", "signature", "content"), status: 400, want: "signature does not verify"},
		badCase{name: "signature of megabytes", body: rekord(make([]byte, 4<<20), "spec", "signature", "content"), status: 400, want: "signature does not verify"},
		badCase{name: "key not PEM", body: rekord([]byte("x"), "spec", "signature", "publicKey", "content"), status: 400, want: "PEM"},
		badCase{name: "key of nothing", body: rekord(emptyPEM("PUBLIC KEY"), "spec", "signature", "publicKey", "content"), status: 400},
		badCase{name: "certificate of nothing", body: rekord(emptyPEM("CERTIFICATE"), "spec", "signature", "publicKey", "content"), status: 400},
		badCase{name: "certificates without end", body: rekord([]byte(strings.Repeat(string(emptyPEM("CERTIFICATE")), 20_000)), "spec", "signature", "publicKey", "content"), status: 400},
		badCase{name: "envelope not JSON", body: dsse("x"), status: 400, want: "envelope is not valid JSON"},
		badCase{name: "envelope an object", body: dsse(object{}), status: 400, want: "envelope"},
		badCase{name: "envelope of nothing", body: dsse("{}"), status: 400, want: "envelope"},
		badCase{name: "envelope nested deeply", body: dsse(strings.Repeat("[", deepest)), status: 400, want: "envelope is not valid JSON"},
		badCase{name: "envelope without signatures", body: dsse(`{"payloadType":"text/plain","payload":"eA==","signatures":[]}`), status: 400, want: "signatures"},
	)
	return cases
}

func tsaRows(t *testing.T) map[string]row {
	t.Helper()
	const path = "/api/v1/timestamp"
	return map[string]row{
		"POST " + path:               {path, restError, append(badTimestampJSON(), badTimestampDER(t)...)},
		"GET " + path + "/certchain": {path + "/certchain", restError, ignored()},
	}
}

func badTimestampJSON() []badCase {
	good := func(name string, v any) string {
		q := object{"artifactHash": make([]byte, 32), "hashAlgorithm": "sha256"}
		q[name] = v
		return text(q)
	}
	var cases []badCase
	for _, c := range notJSON(400, "body is not a JSON timestamp request") {
		if len(c.body) > 1024 {
			c.status, c.want = 413, "over the limit of"
		}
		if c.header != nil {
			c.status, c.want = 415, "content type must be"
		}
		cases = append(cases, c)
	}
	return append(cases,
		badCase{name: "no hash", body: good("artifactHash", nil), status: 400, want: "digest is 0 bytes long"},
		badCase{name: "hash too short", body: good("artifactHash", make([]byte, 20)), status: 400, want: "digest is 20 bytes long"},
		badCase{name: "hash not base64", body: good("artifactHash", "!"), status: 400, want: "artifactHash is not base64"},
		badCase{name: "no algorithm", body: good("hashAlgorithm", nil), status: 400, want: "hash algorithm is not accepted"},
		badCase{name: "broken algorithm", body: good("hashAlgorithm", "sha1"), status: 400, want: "hash algorithm is not accepted"},
		badCase{name: "nonce a string", body: good("nonce", "x"), status: 400, want: "not a JSON timestamp request"},
		badCase{name: "nonce a fraction", body: good("nonce", 0.5), status: 400, want: "not a JSON timestamp request"},
		badCase{name: "nonce an exponent", body: good("nonce", json.RawMessage("1e400")), status: 400, want: "not a JSON timestamp request"},
		badCase{name: "nonce without end", body: good("nonce", json.RawMessage(strings.Repeat("9", 1024))), status: 413, want: "over the limit of 1024 bytes"},
		badCase{name: "policy of another", body: good("tsaPolicyOID", "1.2.3"), status: 400, want: "policy is not accepted"},
		badCase{name: "policy that is none", body: good("tsaPolicyOID", "../x"), status: 400, want: "policy is not accepted"},
		badCase{name: "certificates a number", body: good("certificates", 1), status: 400, want: "not a JSON timestamp request"},
		badCase{name: "no content type", body: good("certificates", true), header: http.Header{"Content-Type": {}}, status: 415, want: "content type must be"},
		badCase{name: "content type that is none", body: good("certificates", true), header: http.Header{"Content-Type": {"application/json; ="}}, status: 415, want: "content type must be"},
	)
}

func badTimestampDER(t *testing.T) []badCase {
	t.Helper()
	query := func(change func(*timestamp.Request)) string {
		r := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32)}
		change(&r)
		der, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	good := query(func(*timestamp.Request) {})
	cases := []badCase{
		{name: "DER of nothing", body: "", want: "not a DER TimeStampReq"},
		{name: "DER truncated", body: good[:len(good)-1], want: "not a DER TimeStampReq"},
		{name: "DER with more behind it", body: good + "\x00", want: "not a DER TimeStampReq"},
		{name: "DER of null bytes", body: strings.Repeat("\x00", 1000), want: "not a DER TimeStampReq"},
		{name: "DER of another version", body: strings.Replace(good, "\x02\x01\x01", "\x02\x01\x02", 1), want: "not a DER TimeStampReq"},
		{name: "DER nested deeply", body: strings.Repeat("\x30\x80", 30_000), want: "not a DER TimeStampReq"},
		{name: "DER of absurd length", body: "\x30\x84\xff\xff\xff\xff", want: "not a DER TimeStampReq"},
		{name: "JSON as DER", body: `{}`, want: "not a DER TimeStampReq"},
		{name: "digest too short", body: query(func(r *timestamp.Request) { r.HashedMessage = make([]byte, 20) }), want: ""},
		{name: "SHA-1", body: query(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = crypto.SHA1, make([]byte, 20) }), want: "hash algorithm is not accepted"},
		{name: "another's policy", body: query(func(r *timestamp.Request) { r.TSAPolicyOID = asn1.ObjectIdentifier{1, 2, 3} }), want: "policy is not accepted"},
	}
	return withDefaults(cases, http.Header{"Content-Type": {"application/timestamp-query"}}, 400)
}

func ctlogRows() map[string]row {
	const prefix = "/ctlog/ct/v1/"
	rows := map[string]row{}
	for _, name := range []string{"add-chain", "add-pre-chain"} {
		cases := append(notJSON(400, ""),
			badCase{name: "nothing", status: 400},
			badCase{name: "no chain", body: `{"chain":[]}`, status: 400},
			badCase{name: "chain a string", body: `{"chain":"x"}`, status: 400},
			badCase{name: "chain not base64", body: `{"chain":["!"]}`, status: 400},
			badCase{name: "chain of nothing", body: `{"chain":["",null]}`, status: 400},
			badCase{name: "certificate of zeros", body: text(object{"chain": [][]byte{make([]byte, 1000)}}), status: 400},
			badCase{name: "certificates without end", body: text(object{"chain": make([][]byte, 50_000)}), status: 400},
		)
		rows["POST "+prefix+name] = row{prefix + name, textError, cases}
	}
	for name, r := range map[string]struct {
		good string
		bad  map[string]int // status by query
	}{
		"get-sth":   {"", map[string]int{"?%zz": 400, "?x=1": 200}},
		"get-roots": {"", map[string]int{"?%zz": 400, "?x=1": 200}},
		"get-sth-consistency": {"?first=1&second=1", map[string]int{
			"": 400, "?first=1": 400, "?first=-1&second=1": 400, "?first=x&second=1": 400, "?first=1&second=0": 400,
			"?first=99999999999999999999&second=1": 400, "?first=1&second=9223372036854775807": 404, "?first=%zz&second=1": 400,
			"?first=0x1&second=1": 400, "?first=x&first=1&second=1": 400,
		}},
		"get-proof-by-hash": {"", map[string]int{
			"": 400, "?hash=!&tree_size=1": 400, "?hash=AAAA&tree_size=1": 400, "?hash=" + zeroHash + "&tree_size=1": 404,
			"?hash=" + zeroHash + "&tree_size=-1": 400, "?hash=" + zeroHash + "&tree_size=0": 400, "?hash=" + zeroHash: 400,
			"?hash=" + zeroHash + "&tree_size=9223372036854775807": 404, "?hash=" + zeroHash + "&tree_size=99999999999999999999": 400,
		}},
		"get-entries": {"?start=0&end=0", map[string]int{
			"": 400, "?start=0": 400, "?start=-1&end=0": 400, "?start=1&end=0": 400, "?start=x&end=0": 400,
			"?start=9223372036854775807&end=9223372036854775807": 400, "?start=0&end=99999999999999999999": 400, "?start=%00&end=0": 400,
		}},
		"get-entry-and-proof": {"?leaf_index=0&tree_size=1", map[string]int{
			"": 400, "?leaf_index=-1&tree_size=1": 400, "?leaf_index=1&tree_size=1": 400, "?leaf_index=0&tree_size=-1": 400,
			"?leaf_index=0&tree_size=9223372036854775807": 404, "?leaf_index=x&tree_size=1": 400,
		}},
	} {
		var cases []badCase
		for query, status := range r.bad {
			c := badCase{name: "query " + query, target: prefix + name + query, status: status}
			if status == 200 {
				c.shape = granted
			}
			cases = append(cases, c)
		}
		rows["GET "+prefix+name] = row{prefix + name + r.good, textError, cases}
	}
	return rows
}

// zeroHash is base64 of 32 zero bytes, escaped for a query.
const zeroHash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"

func oidcRows() map[string]row {
	long := "?x=" + strings.Repeat("a", 17<<10)
	get := []badCase{
		{name: "unknown path", target: "/dex/nosuch", status: 404, shape: textError},
		{name: "path escape", target: "/dex/..%2fconfig.yaml", status: 404, shape: textError},
		{name: "path of null bytes", target: "/dex/%00", status: 404, shape: textError},
		{name: "path not UTF-8", target: "/dex/%ff", status: 400, shape: oauthError},
		{name: "static escape", target: "/dex/static/..%2f..%2f..%2fconfig.yaml", status: 404, shape: textError},
		{name: "query of 17 KiB", target: "/dex/auth" + long, status: 414, shape: oauthError},
		{name: "query badly escaped", target: "/dex/auth?client_id=%zz", status: 400, shape: oauthError},
		{name: "query not UTF-8", target: "/dex/auth?client_id=%ff", status: 400, shape: oauthError},
		{name: "login of nobody", target: "/dex/auth", status: 400, shape: pageError},
		{name: "login of an unknown client", target: "/dex/auth?client_id=nosuch&response_type=code&scope=openid", status: 400, shape: pageError},
		{name: "login back to a stranger", target: "/dex/auth/local?client_id=sigstore&response_type=code&scope=openid&redirect_uri=https%3A%2F%2Fevil.example", status: 400, shape: pageError},
		{name: "login by an unknown connector", target: "/dex/auth/nosuch?client_id=sigstore&response_type=code&scope=openid&redirect_uri=http%3A%2F%2Flocalhost", status: 400, shape: pageError},
		{name: "approval of nothing", target: "/dex/approval", status: 401, shape: pageError},
		{name: "callback of nothing", target: "/dex/callback", status: 400, shape: pageError},
		{name: "user info of nobody", target: "/dex/userinfo", status: 401, shape: oauthError},
		{name: "user info of a bad token", target: "/dex/userinfo", header: http.Header{"Authorization": {"Bearer x.y.z"}}, status: 403, shape: oauthError},
		{name: "token without a grant", target: "/dex/token", status: 400, shape: oauthError},
		{name: "login state of nobody", target: "/dex/auth/local/login?state=nosuch", status: 400, shape: pageError},
	}
	token := func(name, body string, status int) badCase {
		return badCase{name: name, body: body, header: form(), status: status}
	}
	post := []badCase{
		token("nothing", "", 400),
		token("unknown client", "grant_type=password&client_id=nosuch", 401),
		token("unknown grant", "grant_type=magic&client_id=sigstore", 400),
		token("grant twice", "grant_type=password&grant_type=password&client_id=sigstore", 400),
		token("no password", "grant_type=password&client_id=sigstore&scope=openid", 401),
		token("wrong password", "grant_type=password&client_id=sigstore&scope=openid&username="+demoUser+"&password=x", 401),
		token("password of a megabyte's hundredth", "grant_type=password&client_id=sigstore&scope=openid&username="+demoUser+"&password="+strings.Repeat("x", 10_000), 401),
		token("unknown scope", "grant_type=password&client_id=sigstore&scope=all", 400),
		token("unknown code", "grant_type=authorization_code&client_id=sigstore&code=nosuch", 400),
		token("unknown refresh token", "grant_type=refresh_token&client_id=sigstore&refresh_token=nosuch", 400),
		token("badly escaped", "grant_type=%zz", 400),
		token("not UTF-8", "grant_type=%ff", 400),
		token("null bytes", "grant_type=%00&client_id=%00", 400),
		{name: "JSON", body: `{"grant_type":"password"}`, status: 400},
		{name: "multipart that is none", body: "x", header: http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, status: 400},
		// Dex looks at the client when the code is redeemed.
		{name: "device code for nobody", target: "/dex/device/code", body: "client_id=", header: form(), status: 200, shape: granted},
		{name: "unknown user code", target: "/dex/device/auth/verify_code", body: "user_code=nosuch", header: form(), status: 400, shape: pageError},
		{name: "unknown path", target: "/dex/nosuch", status: 404, shape: textError},
	}
	return map[string]row{
		"GET /dex/":  {"/dex/.well-known/openid-configuration", oauthError, get},
		"POST /dex/": {"/dex/token", oauthError, post},
	}
}

// fileRows are the trust root's and the kit's: no name leads out of its folder.
func fileRows(s *inProcess) map[string]row {
	return map[string]row{
		"GET /tuf/{name}":         {"/tuf/timestamp.json", restError, escapes("/tuf/", "config.yaml", "root.json", "counters.json", "lock")},
		"GET /tuf/targets/{name}": {s.target(), restError, escapes("/tuf/targets/", "../../config.yaml", "trusted_root.json", "..")},
		"GET /client/{name}":      {"/client/root.json", restError, escapes("/client/", "demo-user", ".env", "config.yaml")},
	}
}

// target finds a name below /tuf/targets/.
func (s *inProcess) target() string {
	files, err := filepath.Glob(filepath.Join(s.dir, "tuf", "targets", "*.trusted_root.json"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("no trusted root among the targets: %v", err))
	}
	return "/tuf/targets/" + filepath.Base(files[0])
}

func escapes(prefix string, absent ...string) []badCase {
	names := []string{
		"..", "../config.yaml", "../../etc/passwd", "%2e%2e", "%2e%2e/config.yaml", "%2e%2e%2fconfig.yaml", "..%2fconfig.yaml",
		"..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "..%2fkeys%2fca.key", "..%5ckeys%5cca.key", "..\\demo-user", "%252e%252e%252fconfig.yaml",
		"%2fetc%2fpasswd", "/etc/passwd", ".", "%2e", "%00", "root.json%00", "root.json%00.txt", "%ff%fe", "root.json%2f..", "root.json/x",
		"root.json.", "ROOT.JSON", "*", "%2a.json", "~root", "con", strings.Repeat("a", 5000), strings.Repeat("..%2f", 500) + "etc%2fpasswd",
		"%c0%ae%c0%ae%c0%afconfig.yaml", "root.json;x", "1.root.json%20", "-1.root.json", "99999999999999999999.root.json", "99.root.json",
	}
	var cases []badCase
	for _, name := range append(names, absent...) {
		cases = append(cases, badCase{name: fmt.Sprintf("%.60s", name), target: prefix + name, status: 404})
	}
	return cases
}

func pageRows() map[string]row {
	page := func(path string) row { return row{path, restError, ignored()} }
	return map[string]row{
		"GET /":        page("/"),
		"GET /ping":    page("/ping"),
		"GET /healthz": page("/healthz"),
		"GET /readyz":  page("/readyz"),
		"GET /readyz/{service}": {"/readyz/ca", restError, []badCase{
			{name: "unknown service", target: "/readyz/nosuch", status: 404},
			{name: "escape", target: "/readyz/..%2fca", status: 404},
			{name: "null byte", target: "/readyz/ca%00", status: 404},
			{name: "not UTF-8", target: "/readyz/%ff", status: 404},
			{name: "a long one", target: "/readyz/" + strings.Repeat("a", 10_000), status: 404},
		}},
	}
}
