package e2e

import (
	"crypto"
	"encoding/asn1"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/digitorus/timestamp"

	"sigstack/services/tlog/tlogtest"
)

const (
	entriesPath = "/api/v1/log/entries"
	indexPath   = "/api/v1/index/retrieve"
)

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
		"POST " + indexPath:                 {indexPath, restError, badIndexQueries(none)},
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
	const unread, badType = "search query could not be parsed", "holds a value of another type"
	cases := append(notJSON(400, unread),
		badCase{name: "IDs a string", body: `{"entryUUIDs":"x"}`, status: 422, want: badType},
		badCase{name: "ID of another kind", body: `{"entryUUIDs":[1]}`, status: 422, want: badType},
		badCase{name: "ID not hex", body: `{"entryUUIDs":["x"]}`, status: 400, want: "entryUUIDs[0] is not"},
		badCase{name: "index negative", body: `{"logIndexes":[-1]}`, status: 422, want: badType},
		badCase{name: "index a fraction", body: `{"logIndexes":[0.5]}`, status: 422, want: badType},
		badCase{name: "index beyond numbers", body: `{"logIndexes":[1e400]}`, status: 422, want: badType},
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

// badIndexQueries are questions to the search index; none is 64 hex digits.
func badIndexQueries(none string) []badCase {
	key := func(format, content any) string {
		return text(object{"publicKey": object{"format": format, "content": content}})
	}
	certificates := []byte(strings.Repeat(string(emptyPEM("CERTIFICATE")), 1000))
	const unread, badType, badHash = "index query could not be parsed", "holds a value of another type", "hash is not a SHA-1"
	var cases []badCase
	for _, c := range notJSON(400, unread) {
		if len(c.body) > 128<<10 {
			c.status, c.want = 413, "over the limit of"
		}
		cases = append(cases, c)
	}
	return append(cases,
		badCase{name: "email a list", body: `{"email":["a@b.test"]}`, status: 422, want: badType},
		badCase{name: "email that is none", body: `{"email":"a"}`, status: 422, want: "email is not an e-mail address"},
		badCase{name: "email of two", body: `{"email":"a@b.test, c@d.test"}`, status: 422, want: "email is not an e-mail address"},
		badCase{name: "email with a line break", body: `{"email":"a@b.test\r\nx"}`, status: 422, want: "email is not an e-mail address"},
		badCase{name: "email without end", body: text(object{"email": strings.Repeat("a", 100_000)}), status: 422, want: "email is not an e-mail address"},
		badCase{name: "subject a number", body: `{"subject":1}`, status: 422, want: badType},
		badCase{name: "subject without end", body: text(object{"subject": strings.Repeat("a", 100_000)}), status: 422, want: "subject is longer than 512"},
		badCase{name: "hash an object", body: `{"hash":{}}`, status: 422, want: badType},
		badCase{name: "hash too short", body: text(object{"hash": none[1:]}), status: 422, want: badHash},
		badCase{name: "hash not hex", body: text(object{"hash": none[1:] + "g"}), status: 422, want: badHash},
		badCase{name: "hash of another length", body: text(object{"hash": "sha512:" + none}), status: 422, want: badHash},
		badCase{name: "hash with a null byte", body: text(object{"hash": none + "\x00"}), status: 422, want: badHash},
		badCase{name: "hash of an unknown algorithm", body: text(object{"hash": "md5:" + none[32:]}), status: 422, want: badHash},
		badCase{name: "operator unknown", body: `{"operator":"not"}`, status: 422, want: "operator is neither"},
		badCase{name: "operator in capitals", body: `{"operator":"AND"}`, status: 422, want: "operator is neither"},
		badCase{name: "key a string", body: `{"publicKey":"x"}`, status: 422, want: badType},
		badCase{name: "key of nothing", body: `{"publicKey":{}}`, status: 422, want: "publicKey.format is missing"},
		badCase{name: "key of another format", body: key("../x509", ""), status: 422, want: "publicKey.format is none"},
		badCase{name: "key that is no minisign key", body: key("minisign", ""), status: 400, want: "minisign public key"},
		badCase{name: "key not base64", body: key("x509", "!"), status: 400, want: "not standard padded base64"},
		badCase{name: "key not PEM", body: key("x509", []byte("x")), status: 400, want: "not PEM"},
		badCase{name: "key empty", body: key("x509", emptyPEM("PUBLIC KEY")), status: 400, want: "could not be parsed"},
		badCase{name: "certificates without end", body: key("x509", certificates), status: 400, want: "could not be parsed"},
	)
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
	env := tlogtest.Envelope(t, "text/plain", []byte("x"), signer)
	intoto1 := func(v any, path ...string) string { return change(tlogtest.InTotoV001(t, env, signer), v, path...) }
	intoto2 := func(v any, path ...string) string {
		return change(tlogtest.InTotoV002(t, env, signer), v, append([]string{"spec", "content"}, path...)...)
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
		badCase{name: "intoto of a later version", body: intoto1("0.0.3", "apiVersion"), status: 400, want: "version"},
		badCase{name: "intoto, no content", body: intoto1(nil, "spec", "content"), status: 400, want: "spec.content is missing"},
		badCase{name: "intoto, envelope nested deeply", body: intoto1(strings.Repeat("[", deepest), "spec", "content", "envelope"), status: 400, want: "envelope is not valid JSON"},
		badCase{name: "intoto, envelope an object", body: intoto1(env, "spec", "content", "envelope"), status: 400, want: "must be a string"},
		badCase{name: "intoto, another's key", body: intoto1(tlogtest.NewSigner(t).Material, "spec", "publicKey"), status: 400, want: "does not verify any signature"},
		badCase{name: "intoto 0.0.2, no envelope", body: intoto2(nil, "envelope"), status: 400, want: "envelope is missing"},
		badCase{name: "intoto 0.0.2, envelope a string", body: intoto2("{}", "envelope"), status: 400, want: "must be a JSON object"},
		badCase{name: "intoto 0.0.2, no hash", body: intoto2(nil, "hash"), status: 400, want: "hash is missing"},
		badCase{name: "intoto 0.0.2, hash of megabytes", body: intoto2(strings.Repeat("a", 4<<20), "hash", "value"), status: 400, want: "not a SHA-256"},
		badCase{name: "intoto 0.0.2, payload of another", body: intoto2([]byte("eHg="), "envelope", "payload"), status: 400, want: "does not verify"},
		badCase{name: "intoto 0.0.2, payload type of megabytes", body: intoto2(strings.Repeat("a", 4<<20), "envelope", "payloadType"), status: 400, want: "longer than 1024"},
		badCase{name: "intoto 0.0.2, no signatures", body: intoto2([]any{}, "envelope", "signatures"), status: 400, want: "1 to 10 signatures"},
		badCase{name: "intoto 0.0.2, signatures null", body: intoto2([]any{nil}, "envelope", "signatures"), status: 400, want: "must be a JSON object"},
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
	const description = "/ctlog/log.v3.json"
	rows["GET "+description] = row{description, textError, []badCase{
		{name: "query ?%zz", target: description + "?%zz", status: 400},
		{name: "query ?x=1", target: description + "?x=1", status: 200, shape: granted},
	}}
	return rows
}

// zeroHash is base64 of 32 zero bytes, escaped for a query.
const zeroHash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"
