package ca

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ct "github.com/google/certificate-transparency-go"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/services/ca/catest"
	"sigstack/services/ca/sct"
)

// TestLogFailures: whatever the log does wrong, there is no certificate.
func TestLogFailures(t *testing.T) {
	forger := catest.NewLog(t, time.Now())
	tests := []struct {
		name         string
		change       func(*ct.AddChainResponse)
		err          error
		status, code int
	}{
		{"down", nil, errors.New("dial tcp 10.0.0.9: refused"), http.StatusInternalServerError, 13},
		{"unavailable", nil, fault.New(fault.Unavailable, "busy"), http.StatusServiceUnavailable, 14},
		{"times out", nil, fault.New(fault.Timeout, "slow"), http.StatusServiceUnavailable, 14},
		{"refuses us", nil, fault.New(fault.Invalid, "unknown root"), http.StatusInternalServerError, 13},
		{"other log", func(r *ct.AddChainResponse) { r.ID = make([]byte, 32) }, nil, http.StatusInternalServerError, 13},
		{"other version", func(r *ct.AddChainResponse) { r.SCTVersion = 1 }, nil, http.StatusInternalServerError, 13},
		{"other time", func(r *ct.AddChainResponse) { r.Timestamp++ }, nil, http.StatusInternalServerError, 13},
		{"other extensions", func(r *ct.AddChainResponse) { r.Extensions = "" }, nil, http.StatusInternalServerError, 13},
		{"extensions no base64", func(r *ct.AddChainResponse) { r.Extensions = "?" }, nil, http.StatusInternalServerError, 13},
		{"flipped signature", func(r *ct.AddChainResponse) { r.Signature[len(r.Signature)-1] ^= 1 }, nil, http.StatusInternalServerError, 13},
		{"no signature", func(r *ct.AddChainResponse) { r.Signature = nil }, nil, http.StatusInternalServerError, 13},
		{"other hash", func(r *ct.AddChainResponse) { r.Signature[0] = 2 }, nil, http.StatusInternalServerError, 13},
		{"other algorithm", func(r *ct.AddChainResponse) { r.Signature[1] = 1 }, nil, http.StatusInternalServerError, 13},
		{"data after the signature", func(r *ct.AddChainResponse) { r.Signature = append(r.Signature, 0) }, nil, http.StatusInternalServerError, 13},
		{"forged", func(r *ct.AddChainResponse) { forge(t, forger, r) }, nil, http.StatusInternalServerError, 13},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.log.Answering(tt.change, tt.err)
			key := newECDSA(t, elliptic.P256())
			w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, "alice@example.com"))
			if strings.Contains(w.Body.String(), "10.0.0.9") || strings.Contains(w.Body.String(), "CERTIFICATE-") {
				t.Errorf("answer leaks: %s", w.Body)
			}
			wantRefusal(t, w, tt.status, tt.code, "Error entering certificate in CTL")
			if got := f.counter(t, "fulcio_new_certs"); got != 0 {
				t.Errorf("fulcio_new_certs = %v, want 0", got)
			}
		})
	}
}

// forge puts another log's signature into an answer.
func forge(t *testing.T, forger *catest.Log, r *ct.AddChainResponse) {
	t.Helper()
	signature := sign(t, forger.Key, string(sctInput(r.Timestamp, [32]byte{}, nil)))
	r.Signature = append([]byte{4, 3, 0, byte(len(signature))}, signature...) // SHA-256, ECDSA
}

// sctInput is what an SCT without extensions signs (RFC 6962 §3.2).
func sctInput(timestamp uint64, issuer [32]byte, tbs []byte) []byte {
	signed := binary.BigEndian.AppendUint64([]byte{0, 0}, timestamp) // v1, certificate_timestamp
	signed = append(append(signed, 0, 1), issuer[:]...)              // precert_entry
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	return append(append(signed, tbs...), 0, 0)
}

// TestIssuerAway: a good token of an issuer that cannot be asked is to be tried
// again, which clients do after 503 and not after 400, and then is good.
func TestIssuerAway(t *testing.T) {
	f := newFixture(t, nil)
	f.issuer.Handle(http.NotFoundHandler())
	token, body := f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")
	w := f.post(t, v2Path, token, body)
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After = %q, want 2", got)
	}
	wantRefusal(t, w, http.StatusServiceUnavailable, 14, "could not be reached")
	if e := f.record.Only(t); e.Outcome != audit.Failed || !strings.Contains(e.Detail["cause"], "could not be reached") {
		t.Errorf("on record: %s, %q, want a failure that says so", e.Outcome, e.Detail["cause"])
	}
	f.issuer.Handle(nil)
	f.now = f.now.Add(2 * time.Second)
	issued(t, f.post(t, v2Path, token, body))
}

// TestSlowLog: the wait for a log that never answers ends below five seconds.
func TestSlowLog(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.CTLogs[0].Submit = func(ctx context.Context, _ [][]byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	f.service.state.Load().tokens.Warm(t.Context()) // no network inside the bubble
	token, body := f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := f.post(t, v2Path, token, body)
		if took := time.Since(start); took >= 5*time.Second {
			t.Errorf("answered after %v, want less than 5s", took)
		}
		wantRefusal(t, w, http.StatusServiceUnavailable, 14, "Error entering certificate in CTL")
	})
}

// TestClientLeaves: a client's departure is neither the log's fault nor a success.
func TestClientLeaves(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.CTLogs[0].Submit = func(ctx context.Context, _ [][]byte) ([]byte, error) { return nil, ctx.Err() }
	})
	approval, err := f.service.Prepare(t.Context(), f.request(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.service.Issue(ctx, approval); fault.KindOf(err) != fault.Canceled {
		t.Errorf("error = %v, want kind canceled", err)
	}
}

// brokenSigner is a key whose store is out of order.
type brokenSigner struct {
	crypto.Signer
	err error // nil: signs something else
}

func (s brokenSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(r, append([]byte{digest[0] ^ 1}, digest[1:]...), opts)
}

// TestSignerFaults: the signer's failures are ours, never the client's.
func TestSignerFaults(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fixture)
	}{
		{"fails", func(f *fixture) { f.cfg.Signer = brokenSigner{f.signer, errors.New("hsm: slot 3 locked")} }},
		{"signs wrongly", func(f *fixture) { f.cfg.Signer = brokenSigner{f.signer, nil} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.change)
			w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com"))
			if strings.Contains(w.Body.String(), "hsm") {
				t.Errorf("answer leaks: %s", w.Body)
			}
			wantRefusal(t, w, http.StatusInternalServerError, 13, "error communicating with CA backend")
		})
	}
}

// TestLifeOfChain: nothing is issued that would outlast a CA or begin before it.
func TestLifeOfChain(t *testing.T) {
	f := newFixture(t, nil)
	from, to := f.cfg.Chain[0].NotBefore, f.cfg.Chain[0].NotAfter
	for _, tt := range []struct {
		now    time.Time
		status int
	}{
		{from, http.StatusOK},
		{from.Add(-time.Second), http.StatusInternalServerError},
		{to.Add(-10 * time.Minute), http.StatusOK},
		{to.Add(-10*time.Minute + time.Second), http.StatusInternalServerError},
	} {
		f.now, f.log.Now = tt.now, tt.now
		w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com"))
		if w.Code != tt.status {
			t.Errorf("at %v: status %d %s, want %d", tt.now, w.Code, w.Body, tt.status)
		}
	}
}

// TestRSAAuthority: the other kind of CA and log key.
func TestRSAAuthority(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		key := newRSA(t, 2048)
		root, err := pki.NewRoot(key, pkix.Name{CommonName: "rsa root", Organization: []string{"test"}}, f.now)
		if err != nil {
			t.Fatal(err)
		}
		f.root, f.cfg.Chain, f.cfg.Signer = root, []*x509.Certificate{root}, key
	})
	chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")))
	if chain[0].SignatureAlgorithm != x509.SHA256WithRSA || len(chain) != 2 {
		t.Errorf("algorithm %v in a chain of %d, want SHA256-RSA in 2", chain[0].SignatureAlgorithm, len(chain))
	}
	f.checkTransparency(t, chain)
}

// TestNew: each refusal of the contract's §7, valid but for one fact.
func TestNew(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config, *fixture)
		want   string
	}{
		{"no chain", func(c *Config, _ *fixture) { c.Chain = nil }, "chain or signer is missing"},
		{"no signer", func(c *Config, _ *fixture) { c.Signer = nil }, "chain or signer is missing"},
		{"reversed chain", func(c *Config, _ *fixture) { c.Chain = []*x509.Certificate{c.Chain[1], c.Chain[0]} }, ""},
		{"no root", func(c *Config, _ *fixture) { c.Chain = c.Chain[:1] }, ""},
		{"other signer", func(c *Config, _ *fixture) { c.Signer = newECDSA(t, elliptic.P256()) }, "not the signing key"},
		{"expired chain", func(c *Config, f *fixture) { c.Now = func() time.Time { return f.now.AddDate(20, 0, 0) } }, ""},
		{"Ed25519 authority", ed25519Authority(t), "neither ECDSA nor RSA"},
		{"weak authority", weakAuthority(t), "1024 bits is not allowed"},
		{"no key identifier", func(c *Config, _ *fixture) {
			anonymous := *c.Chain[0]
			anonymous.SubjectKeyId = nil
			c.Chain = []*x509.Certificate{&anonymous, c.Chain[1]}
		}, "no subject key identifier"},
		{"relative URL", func(c *Config, _ *fixture) { c.URL = "ca" }, "not an absolute URL"},
		{"no URL", func(c *Config, _ *fixture) { c.URL = "" }, "not an absolute URL"},
		{"final slash", func(c *Config, _ *fixture) { c.URL += "/" }, "final slash"},
		{"no log", func(c *Config, _ *fixture) { c.CTLogs = nil }, "no CT log"},
		{"no log key", func(c *Config, _ *fixture) { c.CTLogs = []sct.Log{{Submit: c.CTLogs[0].Submit}} }, "parse CT log key"},
		{"Ed25519 log", func(c *Config, _ *fixture) {
			c.CTLogs = []sct.Log{{Submit: c.CTLogs[0].Submit, Key: spkiOf(t, newEd25519(t))}}
		}, "neither ECDSA nor RSA"},
		{"no issuer", func(c *Config, _ *fixture) { c.Issuers = nil }, "no token issuer"},
		{"odd issuer", func(c *Config, _ *fixture) { c.Issuers[0].Type = "saml" }, `"saml" is not supported`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			cfg := f.cfg
			cfg.Issuers = slices.Clone(cfg.Issuers)
			tt.change(&cfg, f)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func spkiOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func ed25519Authority(t *testing.T) func(*Config, *fixture) {
	return func(c *Config, f *fixture) { selfSigned(t, c, f, newEd25519(t)) }
}

func weakAuthority(t *testing.T) func(*Config, *fixture) {
	return func(c *Config, f *fixture) { selfSigned(t, c, f, newRSA(t, 1024)) }
}

func selfSigned(t *testing.T, c *Config, f *fixture, key crypto.Signer) {
	t.Helper()
	root, err := pki.NewRoot(key, pkix.Name{CommonName: "odd", Organization: []string{"test"}}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	c.Chain, c.Signer = []*x509.Certificate{root}, key
}
