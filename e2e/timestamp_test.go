package e2e

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // digests of requests
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// tsa is a stack's timestamp authority, a file to stamp, and another.
type tsa struct {
	url         string
	chain       string // the kit's
	dir         string
	data, other string
}

func newTSA(t *testing.T, s *e2etest.Stack) tsa {
	t.Helper()
	dir := t.TempDir()
	return tsa{s.URL, s.Kit("tsa.crt.pem"), dir, e2etest.WriteFile(t, dir, "data", "data\n"), e2etest.WriteFile(t, dir, "other", "other\n")}
}

// cli runs timestamp-cli.
func (a tsa) cli(t *testing.T, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Client(t, "timestamp-cli"), append(args, "--timestamp_server", a.url)...)
}

func openssl(t *testing.T, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, "openssl", args...)
}

// post sends a request and returns the answer as a file.
func (a tsa) post(t *testing.T, contentType string, body []byte) string {
	t.Helper()
	status, answer := a.try(t, contentType, body)
	if status != http.StatusCreated {
		t.Fatalf("%s request answered %d %s", contentType, status, answer)
	}
	return e2etest.WriteFile(t, t.TempDir(), "response.tsr", string(answer))
}

func (a tsa) try(t *testing.T, contentType string, body []byte) (int, []byte) {
	t.Helper()
	return e2etest.Send(t, http.MethodPost, a.url+"/api/v1/timestamp", contentType, body)
}

// verdicts wants both programs to accept a response for a file, or to refuse it,
// each for its reason.
func (a tsa) verdicts(t *testing.T, response, file, chain, cliReason, opensslReason string) {
	t.Helper()
	block, _ := pem.Decode([]byte(e2etest.ReadFile(t, chain)))
	if block == nil {
		t.Fatalf("no certificate in %s", chain)
	}
	leaf := e2etest.WriteFile(t, t.TempDir(), "leaf.pem", string(pem.EncodeToMemory(block)))
	for who, v := range map[string]struct {
		result e2etest.Result
		reason string
	}{
		"timestamp-cli": {a.cli(t, "verify", "--timestamp", response, "--artifact", file, "--certificate", leaf, "--certificate-chain", chain), cliReason},
		"openssl":       {openssl(t, "ts", "-verify", "-in", response, "-data", file, "-CAfile", chain, "-untrusted", chain), opensslReason},
	} {
		if v.reason == "" {
			e2etest.WantAccepted(t, who, v.result)
		} else if v.result.Code == 0 || !strings.Contains(v.result.Stderr, v.reason) {
			t.Errorf("%s: exit %d, want a refusal because of %q\n%s%s", who, v.result.Code, v.reason, v.result.Stdout, v.result.Stderr)
		}
	}
}

var timestampHashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// TestTimestamps: every hash, each way to ask, judged by two programs that
// share no code with us.
func TestTimestamps(t *testing.T) {
	a := newTSA(t, e2etest.Start(t, t.TempDir()))
	for name, hash := range timestampHashes {
		h := hash.New()
		h.Write([]byte(e2etest.ReadFile(t, a.data)))
		digest := base64.StdEncoding.EncodeToString(h.Sum(nil))
		for _, certificates := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, certificates %v", name, certificates), func(t *testing.T) {
				for how, response := range map[string]string{
					"timestamp-cli": a.byCLI(t, name, certificates),
					"openssl":       a.byOpenSSL(t, name, certificates),
					"JSON": a.post(t, "application/json", []byte(text(object{
						"artifactHash": digest, "hashAlgorithm": name, "certificates": certificates, "nonce": json.RawMessage("123456789012345678901234567890"),
					}))),
				} {
					t.Run(how, func(t *testing.T) {
						a.verdicts(t, response, a.data, a.chain, "", "")
						a.inspected(t, response, hash, h.Sum(nil), certificates)
					})
				}
			})
		}
	}
}

func (a tsa) byCLI(t *testing.T, hash string, certificates bool) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "cli.tsr")
	r := a.cli(t, "timestamp", "--artifact", a.data, "--hash", hash, "--out", out, fmt.Sprintf("--certificate=%v", certificates))
	if r.Code != 0 {
		t.Fatalf("timestamp-cli timestamp: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return out
}

// byOpenSSL asks as openssl does, which has the answer checked against its own
// question too: the nonce came back.
func (a tsa) byOpenSSL(t *testing.T, hash string, certificates bool) string {
	t.Helper()
	query := a.query(t, hash, certificates)
	response := a.post(t, "application/timestamp-query", []byte(e2etest.ReadFile(t, query)))
	e2etest.WantAccepted(t, "openssl, with its question",
		openssl(t, "ts", "-verify", "-in", response, "-queryfile", query, "-CAfile", a.chain, "-untrusted", a.chain))
	second := a.query(t, hash, certificates)
	if r := openssl(t, "ts", "-verify", "-in", response, "-queryfile", second, "-CAfile", a.chain, "-untrusted", a.chain); r.Code == 0 ||
		!strings.Contains(r.Stderr, "nonce mismatch") {
		t.Errorf("openssl, with another nonce: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return response
}

func (a tsa) query(t *testing.T, hash string, certificates bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "query.tsq")
	args := []string{"ts", "-query", "-data", a.data, "-" + hash, "-out", file}
	if certificates {
		args = append(args, "-cert")
	}
	e2etest.MustRun(t, nil, "openssl", args...)
	return file
}

// inspected reads a response with timestamp-cli and openssl.
func (a tsa) inspected(t *testing.T, response string, hash crypto.Hash, digest []byte, certificates bool) {
	t.Helper()
	r := a.cli(t, "inspect", "--timestamp", response, "--format", "json")
	var inspected struct {
		TimestampResponse struct {
			HashAlgorithm crypto.Hash
			HashedMessage []byte
			Time          time.Time
			Policy        []int
			Certificates  []json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &inspected); err != nil {
		t.Fatalf("timestamp-cli inspect: exit %d %q %s: %v", r.Code, r.Stdout, r.Stderr, err)
	}
	got := inspected.TimestampResponse
	if got.HashAlgorithm != hash || !bytes.Equal(got.HashedMessage, digest) || (len(got.Certificates) > 0) != certificates {
		t.Errorf("inspected: %v of %x with %d certificates, want %v of %x, certificates %v",
			got.HashAlgorithm, got.HashedMessage, len(got.Certificates), hash, digest, certificates)
	}
	if age := time.Since(got.Time); age < -time.Second || age > time.Hour || got.Time.Nanosecond() != 0 {
		t.Errorf("stamped at %v, %v ago", got.Time, age)
	}
	reply := e2etest.MustRun(t, nil, "openssl", "ts", "-reply", "-in", response, "-text")
	for _, want := range []string{"Status: Granted", "Policy OID: 1.3.6.1.4.1.57264.2", "Accuracy: 0x01 seconds"} {
		if !strings.Contains(reply, want) {
			t.Errorf("openssl reads %s, want %q in it", reply, want)
		}
	}
}

// TestTimestampsRefused: what does not hold is refused, each for its reason.
func TestTimestampsRefused(t *testing.T) {
	a, foreign := newTSA(t, e2etest.Start(t, t.TempDir())), newTSA(t, e2etest.Start(t, t.TempDir()))
	good := a.byCLI(t, "sha256", true)
	a.verdicts(t, good, a.data, a.chain, "", "")
	tampered := func(change func(der []byte)) string {
		der := []byte(e2etest.ReadFile(t, good))
		change(der)
		return e2etest.WriteFile(t, t.TempDir(), "tampered.tsr", string(der))
	}
	for name, tt := range map[string]struct {
		response, file, chain string
		cli, openssl          string // reasons
	}{
		"other data":       {good, a.other, a.chain, "hashed messages don't match", "message imprint mismatch"},
		"other root":       {good, a.data, foreign.chain, "does not match the provided TSA certificate", "certificate verify error"},
		"other authority":  {foreign.byCLI(t, "sha256", true), a.data, a.chain, "does not match the provided TSA certificate", "certificate verify error"},
		"signature":        {tampered(func(der []byte) { der[len(der)-1] ^= 1 }), a.data, a.chain, "verification failure", "signature failure"},
		"time":             {tampered(func(der []byte) { der[stampedTime(t, der)] ^= 1 }), a.data, a.chain, "digest mismatch", "digest failure"},
		"digest":           {tampered(func(der []byte) { der[stampedDigest(t, der, a.data)] ^= 1 }), a.data, a.chain, "digest mismatch", "digest failure"},
		"another's chain":  {a.byCLI(t, "sha256", false), a.data, foreign.chain, "No certificate for signer", "signer certificate not found"},
		"cut short":        {e2etest.WriteFile(t, t.TempDir(), "cut.tsr", e2etest.ReadFile(t, good)[:500]), a.data, a.chain, "parsing response", "asn1"},
		"nothing but JSON": {e2etest.WriteFile(t, t.TempDir(), "json.tsr", `{"code":400}`), a.data, a.chain, "parsing response", "asn1"},
	} {
		t.Run(name, func(t *testing.T) { a.verdicts(t, tt.response, tt.file, tt.chain, tt.cli, tt.openssl) })
	}
	for name, tt := range map[string]struct {
		args   []string
		reason string
	}{
		"nonce":       {[]string{"--nonce", "5"}, "does not match TSR nonce"},
		"policy":      {[]string{"--oid", "1.2.3"}, "OID"},
		"common name": {[]string{"--common-name", "another"}, "does not match the provided Common Name"},
		"root":        {[]string{"--certificate-chain", foreign.chain}, "certificate signed by unknown authority"},
	} {
		r := a.cli(t, append([]string{"verify", "--timestamp", good, "--artifact", a.data, "--certificate-chain", a.chain}, tt.args...)...)
		if r.Code == 0 || !strings.Contains(r.Stderr, tt.reason) {
			t.Errorf("timestamp-cli, another %s: exit %d, want %q\n%s%s", name, r.Code, tt.reason, r.Stdout, r.Stderr)
		}
	}
	a.refusesRequests(t)
}

// stampedTime is where the last digit of the minute of genTime is.
func stampedTime(t *testing.T, der []byte) int {
	t.Helper()
	at := bytes.Index(der, []byte("\x18\x0f20")) // GeneralizedTime of 15 characters
	if at < 0 {
		t.Fatal("no time in the response")
	}
	return at + 2 + len("20060102150")
}

func stampedDigest(t *testing.T, der []byte, file string) int {
	t.Helper()
	h := crypto.SHA256.New()
	h.Write([]byte(e2etest.ReadFile(t, file)))
	at := bytes.Index(der, h.Sum(nil))
	if at < 0 {
		t.Fatal("no digest in the response")
	}
	return at
}

// refusesRequests sends what the authority must not stamp.
func (a tsa) refusesRequests(t *testing.T) {
	t.Helper()
	const der, hash = "application/timestamp-query", "hash algorithm is not accepted: use SHA-256, SHA-384 or SHA-512"
	policy := filepath.Join(t.TempDir(), "policy.tsq")
	e2etest.MustRun(t, nil, "openssl", "ts", "-query", "-data", a.data, "-sha256", "-tspolicy", "1.2.3", "-out", policy)
	for name, tt := range map[string]struct {
		contentType, body, want string
	}{
		"SHA-1":                    {der, e2etest.ReadFile(t, a.query(t, "sha1", true)), hash},
		"SHA-224":                  {der, e2etest.ReadFile(t, a.query(t, "sha224", true)), "unknown hash function"},
		"SHA-1 in JSON":            {"application/json", text(object{"artifactHash": make([]byte, 20), "hashAlgorithm": "sha1"}), hash},
		"SHA-1 as SHA-256 in JSON": {"application/json", text(object{"artifactHash": make([]byte, 20), "hashAlgorithm": "sha256"}), "digest is 20 bytes long"},
		"another's policy":         {der, e2etest.ReadFile(t, policy), "policy is not accepted"},
	} {
		status, answer := a.try(t, tt.contentType, []byte(tt.body))
		if status != http.StatusBadRequest || !strings.Contains(string(answer), tt.want) {
			t.Errorf("%s: answered %d %s, want 400 %q", name, status, answer, tt.want)
		}
	}
	r := a.cli(t, "timestamp", "--artifact", a.data, "--tsa-policy", "1.2.3", "--out", filepath.Join(t.TempDir(), "x.tsr"))
	if r.Code == 0 || !strings.Contains(r.Stderr, "policy is not accepted") {
		t.Errorf("timestamp-cli, another's policy: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestTimestampChainIsTheKits: what the authority serves is what the kit has, so
// that either verifies.
func TestTimestampChainIsTheKits(t *testing.T) {
	a := newTSA(t, e2etest.Start(t, t.TempDir()))
	status, served := e2etest.Get(t, a.url+"/api/v1/timestamp/certchain")
	if status != http.StatusOK || string(served) != e2etest.ReadFile(t, a.chain) {
		t.Errorf("served chain: %d\n%s\nthe kit's:\n%s", status, served, e2etest.ReadFile(t, a.chain))
	}
	certificates := 0
	for block, rest := pem.Decode(served); block != nil; block, rest = pem.Decode(rest) {
		certificates++
	}
	if certificates != 3 {
		t.Errorf("%d certificates in the chain, want leaf, intermediate and root", certificates)
	}
}
