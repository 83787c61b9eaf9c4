package tsa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"

	"sigstack/internal/pki"
	"sigstack/services/tsa"
)

var artifact = []byte("what is timestamped\n")

func bigNonce() *big.Int { return new(big.Int).Lsh(big.NewInt(0x1234567), 1600) }

// derQuery encodes a request as clients do.
func derQuery(t testing.TB, req timestamp.Request) []byte {
	t.Helper()
	if req.HashAlgorithm == 0 {
		req.HashAlgorithm = crypto.SHA256
	}
	if req.HashedMessage == nil {
		req.HashedMessage = digest(req.HashAlgorithm, artifact)
	}
	der, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// jsonQuery encodes the same request in the JSON form.
func jsonQuery(t testing.TB, req timestamp.Request) []byte {
	t.Helper()
	names := map[crypto.Hash]string{crypto.SHA256: "SHA256", crypto.SHA384: "Sha384", crypto.SHA512: "sha512"}
	form := map[string]any{
		"artifactHash":  digest(req.HashAlgorithm, artifact),
		"hashAlgorithm": names[req.HashAlgorithm],
		"certificates":  req.Certificates,
	}
	if req.Nonce != nil {
		form["nonce"] = req.Nonce
	}
	if req.TSAPolicyOID != nil {
		form["tsaPolicyOID"] = req.TSAPolicyOID.String()
	}
	body, err := json.Marshal(form)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// verify has Sigstore's own verifier check a response and returns the token.
func verify(t testing.TB, h hierarchy, response []byte, nonce *big.Int) *timestamp.Timestamp {
	t.Helper()
	ts, err := verification.VerifyTimestampResponse(response, bytes.NewReader(artifact), verification.VerifyOpts{
		TSACertificate: h.chain[0],
		Intermediates:  h.chain[1:2],
		Roots:          h.chain[2:],
		Nonce:          nonce,
		OID:            policyOID,
	})
	if err != nil {
		t.Fatalf("response does not verify: %v", err)
	}
	return ts
}

func TestTokensVerify(t *testing.T) {
	p256, p384 := newHierarchy(t, elliptic.P256()), newHierarchy(t, elliptic.P384())
	tests := []struct {
		name  string
		h     hierarchy
		whole bool // embed the whole chain
		req   timestamp.Request
		certs int
	}{
		{"plain", p256, false, timestamp.Request{HashAlgorithm: crypto.SHA256}, 0},
		{"whole chain not asked for", p256, true, timestamp.Request{HashAlgorithm: crypto.SHA256}, 0},
		{"certificate", p256, false, timestamp.Request{HashAlgorithm: crypto.SHA256, Certificates: true, Nonce: big.NewInt(7)}, 1},
		{"chain", p256, true, timestamp.Request{HashAlgorithm: crypto.SHA384, Certificates: true, Nonce: bigNonce()}, 3},
		{"policy", p256, false, timestamp.Request{HashAlgorithm: crypto.SHA512, TSAPolicyOID: policyOID, Nonce: big.NewInt(0)}, 0},
		{"negative nonce", p256, false, timestamp.Request{HashAlgorithm: crypto.SHA256, Nonce: big.NewInt(-5)}, 0},
		{"P-384", p384, false, timestamp.Request{HashAlgorithm: crypto.SHA256, Certificates: true}, 1},
		{"P-384 chain", p384, true, timestamp.Request{HashAlgorithm: crypto.SHA512, Certificates: true, Nonce: big.NewInt(1 << 62)}, 3},
	}
	for _, tt := range tests {
		a := newAuthority(t, tt.h, func(c *tsa.Config) { c.IncludeChain = tt.whole })
		query := derQuery(t, tt.req)
		for form, body := range map[string][]byte{derType: query, jsonType: jsonQuery(t, tt.req)} {
			t.Run(tt.name+"/"+form, func(t *testing.T) {
				response := a.granted(t, form, body)
				checkToken(t, verify(t, tt.h, response, tt.req.Nonce), tt.req, tt.certs)
				checkESS(t, tt.h.chain[0], response)
				opensslVerify(t, tt.h, query, response)
			})
		}
	}
}

func checkToken(t *testing.T, ts *timestamp.Timestamp, req timestamp.Request, certs int) {
	t.Helper()
	if !ts.Time.Equal(start) || ts.Time.Nanosecond() != 0 || ts.Time.Location() != time.UTC {
		t.Errorf("genTime %v, want %v", ts.Time, start)
	}
	if ts.Accuracy != time.Second || ts.Ordering || len(ts.Extensions) != 0 || ts.Qualified {
		t.Errorf("accuracy %v, ordering %v, extensions %v", ts.Accuracy, ts.Ordering, ts.Extensions)
	}
	if ts.HashAlgorithm != req.HashAlgorithm || !ts.Policy.Equal(policyOID) {
		t.Errorf("hash %v policy %v, want %v %v", ts.HashAlgorithm, ts.Policy, req.HashAlgorithm, policyOID)
	}
	if (ts.Nonce == nil) != (req.Nonce == nil) || ts.Nonce != nil && ts.Nonce.Cmp(req.Nonce) != 0 {
		t.Errorf("nonce %v, want %v", ts.Nonce, req.Nonce)
	}
	if ts.SerialNumber.Sign() <= 0 || ts.SerialNumber.BitLen() > 160 || ts.SerialNumber.BitLen() < 100 {
		t.Errorf("serial %x is not a positive random number of at most 160 bits", ts.SerialNumber)
	}
	if len(ts.Certificates) != certs {
		t.Errorf("%d certificates embedded, want %d", len(ts.Certificates), certs)
	}
}

// checkESS demands that the token names its certificate by SHA-256, whatever
// the request's algorithm.
func checkESS(t *testing.T, leaf *x509.Certificate, response []byte) {
	t.Helper()
	sum := sha256.Sum256(leaf.Raw)
	if !bytes.Contains(response, append([]byte{0x04, 0x20}, sum[:]...)) {
		t.Errorf("response lacks the SHA-256 of the signing certificate")
	}
}

func TestTamperedTokensAreRefused(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), nil)
	response := a.granted(t, derType, derQuery(t, timestamp.Request{Nonce: big.NewInt(99)}))
	at := bytes.Index(response, digest(crypto.SHA256, artifact))
	tests := []struct {
		name   string
		offset int
	}{{"digest", at}, {"genTime", at + 32 + 2 + 20 + 2 + 8}, {"signature", len(response) - 1}}
	for _, tt := range tests {
		bad := bytes.Clone(response)
		bad[tt.offset] ^= 1
		_, err := verification.VerifyTimestampResponse(bad, bytes.NewReader(artifact), verification.VerifyOpts{
			TSACertificate: a.chain[0], Intermediates: a.chain[1:2], Roots: a.chain[2:],
		})
		if err == nil {
			t.Errorf("%s flipped at %d: still verifies", tt.name, tt.offset)
		}
	}
}

func TestRefusals(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), nil)
	sum256 := base64.StdEncoding.EncodeToString(digest(crypto.SHA256, artifact))
	form := func(format string, args ...any) []byte { return fmt.Appendf(nil, format, args...) }
	good := derQuery(t, timestamp.Request{})
	edit := func(at int, b byte) []byte { bad := bytes.Clone(good); bad[at] = b; return bad }
	tests := []struct {
		name, contentType string
		body              []byte
		status            int
		message           string // part of it
	}{
		{"no content type", "", good, 415, "content type must be"},
		{"other content type", "text/plain", good, 415, "content type must be"},
		{"malformed content type", "application/json; charset", good, 415, "content type must be"},
		{"forms swapped, json", jsonType, good, 400, "not a JSON timestamp request"},
		{"forms swapped, der", derType, form(`{}`), 400, "not a DER TimeStampReq"},

		{"der: empty", derType, nil, 400, "not a DER TimeStampReq"},
		{"der: version 2", derType, edit(4, 2), 400, "of version 1"},
		{"der: trailing byte", derType, append(bytes.Clone(good), 0), 400, "not a DER TimeStampReq"},
		{"der: trailing field", derType, append(edit(1, good[1]+2), 5, 0), 400, "not a DER TimeStampReq"},
		{"der: truncated", derType, good[:len(good)-1], 400, "not a DER TimeStampReq"},
		{"der: over the limit", derType, make([]byte, 64<<10+1), 413, "over the limit of 65536 bytes"},
		{"der: short digest", derType, derQuery(t, timestamp.Request{HashAlgorithm: crypto.SHA512, HashedMessage: make([]byte, 32)}), 400, "digest is 32 bytes long, SHA-512 has 64"},
		{"der: long digest", derType, derQuery(t, timestamp.Request{HashedMessage: make([]byte, 33)}), 400, "digest is 33 bytes long"},
		{"der: no digest", derType, derQuery(t, timestamp.Request{HashedMessage: []byte{}}), 400, "no hashed message"},
		{"der: SHA-1", derType, derQuery(t, timestamp.Request{HashAlgorithm: crypto.SHA1}), 400, "hash algorithm is not accepted"},
		{"der: unknown hash", derType, edit(19, 99), 400, "unknown hash function"},
		{"der: policy", derType, derQuery(t, timestamp.Request{TSAPolicyOID: []int{1, 2, 3}}), 400, "policy is not accepted"},
		{"der: extension", derType, derQuery(t, timestamp.Request{ExtraExtensions: a.chain[0].Extensions[:1]}), 400, "extensions are not accepted"},

		{"json: empty", jsonType, nil, 400, "not a JSON timestamp request"},
		{"json: no fields", jsonType, form(`{}`), 400, "hash algorithm is not accepted"},
		{"json: trailing data", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha256"} {}`, sum256), 400, "not a JSON timestamp request"},
		{"json: over the limit", jsonType, form(`{"nonce":%s}`, strings.Repeat("1", 1100)), 413, "over the limit of 1024 bytes"},
		{"json: sha1", jsonType, form(`{"artifactHash":"2jmj7l5rSw0yVb/vlWAYkK/YBwk=","hashAlgorithm":"sha1"}`), 400, "hash algorithm is not accepted"},
		{"json: unknown hash", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha3-256"}`, sum256), 400, "hash algorithm is not accepted"},
		{"json: not base64", jsonType, form(`{"artifactHash":"!","hashAlgorithm":"sha256"}`), 400, "artifactHash is not base64"},
		{"json: no digest", jsonType, form(`{"hashAlgorithm":"sha256"}`), 400, "digest is 0 bytes long"},
		{"json: other length", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha384"}`, sum256), 400, "digest is 32 bytes long, SHA-384 has 48"},
		{"json: policy", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha256","tsaPolicyOID":"1.2.3"}`, sum256), 400, "policy is not accepted"},
		{"json: fractional nonce", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha256","nonce":1.5}`, sum256), 400, "not a JSON timestamp request"},
		{"json: quoted nonce", jsonType, form(`{"artifactHash":%q,"hashAlgorithm":"sha256","nonce":"1"}`, sum256), 400, "not a JSON timestamp request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := a.post(tt.contentType, tt.body)
			checkRefusal(t, rec, tt.status, tt.message)
		})
	}
}

func checkRefusal(t *testing.T, rec *httptest.ResponseRecorder, status int, message string) {
	t.Helper()
	var body struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		t.Fatalf("body %q: %v", rec.Body, err)
	}
	if rec.Code != status || body.Code != status || !strings.Contains(body.Message, message) {
		t.Errorf("answer %d %+v, want %d and a message with %q", rec.Code, body, status, message)
	}
	if got := rec.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q, want application/json", got)
	}
}

func TestAcceptedPolicyIsConfigurable(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), func(c *tsa.Config) { c.Policy = []int{1, 2, 3} })
	ts, err := timestamp.ParseResponse(a.granted(t, derType, derQuery(t, timestamp.Request{TSAPolicyOID: []int{1, 2, 3}})))
	if err != nil || ts.Policy.String() != "1.2.3" {
		t.Errorf("policy %v, %v, want 1.2.3", ts.Policy, err)
	}
	checkRefusal(t, a.post(derType, derQuery(t, timestamp.Request{TSAPolicyOID: policyOID})), 400, "policy is not accepted")
}

func TestClock(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), nil)
	a.clock.move(900 * time.Millisecond)
	query := derQuery(t, timestamp.Request{})
	steps := []struct {
		name   string
		move   time.Duration
		want   time.Duration // after start
		refuse string
	}{
		{"fraction dropped", 0, 0, ""},
		{"next second", 200 * time.Millisecond, time.Second, ""},
		{"stepped back by the most that is bridged", -5 * time.Second, time.Second, ""},
		{"stepped back too far", -time.Millisecond, 0, "clock is not trusted"},
		{"back in range", time.Millisecond, time.Second, ""},
		{"caught up", 6 * time.Second, 2 * time.Second, ""},
		{"past the leaf's validity", 4 * 365 * 24 * time.Hour, 0, "clock is outside the validity"},
	}
	for _, s := range steps {
		a.clock.move(s.move)
		if s.refuse != "" {
			checkRefusal(t, a.post(derType, query), 503, s.refuse)
			continue
		}
		ts := verify(t, a.hierarchy, a.granted(t, derType, query), nil)
		if got := ts.Time.Sub(start); got != s.want {
			t.Errorf("%s: genTime %v after start, want %v", s.name, got, s.want)
		}
	}
}

// TestConcurrentTimesNeverRunBackwards has a jittering clock and writers that
// each see times in order.
func TestConcurrentTimesNeverRunBackwards(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), nil)
	query := derQuery(t, timestamp.Request{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			var last time.Time
			for i := range 50 {
				a.clock.move(time.Duration((i*7+w)%5-1) * 700 * time.Millisecond)
				ts, err := timestamp.ParseResponse(a.post(derType, query).Body.Bytes())
				if err != nil {
					t.Error(err)
					return
				}
				if ts.Time.Before(last) {
					t.Errorf("genTime %v after %v", ts.Time, last)
				}
				last = ts.Time
			}
		})
	}
	wg.Wait()
}

func TestCertchainAndTrust(t *testing.T) {
	a := newAuthority(t, newHierarchy(t, elliptic.P256()), nil)
	rec := httptest.NewRecorder()
	a.mux.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path+"/certchain", nil))
	chain, err := pki.ParseCertificatesPEM(rec.Body.Bytes())
	if err != nil || rec.Code != 200 || rec.Header().Get("Content-Type") != "application/pem-certificate-chain" {
		t.Fatalf("answer %d %s, %v", rec.Code, rec.Header().Get("Content-Type"), err)
	}
	tr := a.tsa.Trust()
	if tr.URI != "http://tsa.test/api/v1/timestamp" || !tr.Window.Start.Equal(a.chain[0].NotBefore) || !tr.Window.End.IsZero() {
		t.Errorf("trust: %s %v", tr.URI, tr.Window)
	}
	for i, c := range a.chain {
		if !chain[i].Equal(c) || !tr.Chain[i].Equal(c) {
			t.Errorf("certificate %d served %s, trusted %s, want %s", i, chain[i].Subject, tr.Chain[i].Subject, c.Subject)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	h, other := newHierarchy(t, elliptic.P256()), newHierarchy(t, elliptic.P256())
	weak := newHierarchy(t, elliptic.P521())
	_, edKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*tsa.Config)
		want   string
	}{
		{"no signer", func(c *tsa.Config) { c.Signer = nil }, "required"},
		{"no clock", func(c *tsa.Config) { c.Now = nil }, "required"},
		{"no chain", func(c *tsa.Config) { c.Chain = nil }, "at least a leaf and a root"},
		{"root first", func(c *tsa.Config) { c.Chain = []*x509.Certificate{h.chain[2], h.chain[1], h.chain[0]} }, "is a CA"},
		{"other key", func(c *tsa.Config) { c.Signer = other.key }, "not the signing key"},
		{"other root", func(c *tsa.Config) { c.Chain = []*x509.Certificate{h.chain[0], h.chain[1], other.chain[2]} }, "not issued by the next"},
		{"no intermediate", func(c *tsa.Config) { c.Chain = []*x509.Certificate{h.chain[0], h.chain[2]} }, "not issued by the next"},
		{"expired", func(c *tsa.Config) { c.Now = func() time.Time { return h.chain[0].NotAfter.Add(time.Second) } }, "does not verify"},
		{"P-521", func(c *tsa.Config) { c.Chain, c.Signer = weak.chain, weak.key }, "curve P-521"},
		{"Ed25519", func(c *tsa.Config) { c.Signer = edKey }, "not the signing key"},
		{"key usage", func(c *tsa.Config) {
			c.Chain, c.Signer = customChain(t, func(leaf, _ *x509.Certificate) { leaf.KeyUsage |= x509.KeyUsageContentCommitment })
		}, "another key usage than digitalSignature"},
		{"intermediate without usage", func(c *tsa.Config) {
			c.Chain, c.Signer = customChain(t, func(_, inter *x509.Certificate) { inter.ExtKeyUsage = nil })
		}, "lacks the timeStamping"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newConfig(h)
			tt.change(&cfg)
			if _, err := tsa.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := tsa.New(newConfig(h)); err != nil {
		t.Errorf("the unchanged config is refused: %v", err)
	}
	cfg := newConfig(h)
	cfg.Chain, cfg.Signer = customChain(t, func(_, _ *x509.Certificate) {})
	if _, err := tsa.New(cfg); err != nil {
		t.Errorf("the unchanged custom chain is refused: %v", err)
	}
}
