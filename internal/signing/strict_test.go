package signing_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

// TestVerifyRefusesLedger has bundles that are right in all but one fact of their
// log entry, which the log itself signed.
func TestVerifyRefusesLedger(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	body := func(change func(object)) func(*forger, *ledger) {
		return func(f *forger, l *ledger) { l.body = f.rewrite(l.body, change) }
	}
	type row struct {
		name   string
		change func(f *forger, l *ledger)
		want   signing.Check // empty: accepted
	}
	both := []row{
		{"nothing", func(*forger, *ledger) {}, ""},
		{"checkpoint with an extension", func(_ *forger, l *ledger) { l.tail = "Extension 1\n" }, ""},
		{"checkpoint with a second blank line", func(_ *forger, l *ledger) { l.tail = "\nafter\n" }, signing.CheckInclusion},
		{"checkpoint of another size", func(_ *forger, l *ledger) { l.size = "3" }, signing.CheckInclusion},
		{"checkpoint with a padded size", func(_ *forger, l *ledger) { l.size = "02" }, signing.CheckInclusion},
		{"proof of another size", func(_ *forger, l *ledger) { l.treeSize = 3 }, signing.CheckInclusion},
		{"checkpoint of another log's name", func(_ *forger, l *ledger) { l.signer = "other.example" }, signing.CheckInclusion},
		{"proof at another index", func(_ *forger, l *ledger) { l.proofIndex = 0 }, signing.CheckInclusion},
	}
	v1 := append([]row{
		{"shards before this one", func(_ *forger, l *ledger) { l.index = 1000 }, ""},
		{"origin of a Rekor v2 log", func(f *forger, l *ledger) { l.origin = f.host() }, signing.CheckEntry},
		{"member more", body(func(b object) { b["comment"] = "hello" }), signing.CheckEntry},
		{"member more in the signature", body(func(b object) { b["spec"].(object)["signature"].(object)["format"] = "x509" }), signing.CheckEntry},
		{"member twice", func(_ *forger, l *ledger) { l.body = append([]byte(`{"kind":"dsse",`), l.body[1:]...) }, signing.CheckEntry},
		{"white space", func(_ *forger, l *ledger) { l.body = append([]byte(`{ `), l.body[1:]...) }, signing.CheckEntry},
		{"key after the key", body(func(b object) {
			key := b["spec"].(object)["signature"].(object)["publicKey"].(object)
			key["content"] = base64Of(append(fromBase64(key["content"]), pemOf(s.Keys.CA.Chain[0])...))
		}), signing.CheckEntry},
		{"digest in upper case", body(func(b object) {
			hash := b["spec"].(object)["data"].(object)["hash"].(object)
			hash["value"] = upper(hash["value"])
		}), signing.CheckEntry},
	}, both...)
	v2 := append([]row{
		{"witnesses", func(_ *forger, l *ledger) { l.more = cosignatures(19) }, ""},
		{"too many witnesses", func(_ *forger, l *ledger) { l.more = cosignatures(20) }, signing.CheckInclusion},
		{"a line that is no signature", func(_ *forger, l *ledger) { l.more = "- witness\n" }, signing.CheckInclusion},
		{"time that nobody signed", func(f *forger, l *ledger) { l.integrated = f.stack.Now().Unix() }, ""},
		{"origin of a Rekor v1 log", func(f *forger, l *ledger) { l.origin = f.host() + " - 1" }, signing.CheckInclusion},
		{"entry at another index than its proof", func(_ *forger, l *ledger) { l.proofIndex = 7 }, signing.CheckInclusion},
		{"body that is not the leaf", func(f *forger, l *ledger) {
			l.logged = l.body
			l.body = f.rewrite(l.body, func(b object) {
				b["spec"].(object)["hashedRekordV002"].(object)["data"].(object)["digest"] = base64Of(digest("other"))
			})
		}, signing.CheckInclusion},
		{"leaf of another signature", func(f *forger, l *ledger) { *l = f.tile(f.sign("other"), digest("other")) }, signing.CheckEntry},
		// Upstream's library compares neither kind's content here.
		{"leaf of another signature in a Rekor v1 log", func(f *forger, l *ledger) {
			*l = f.tile(f.sign("other"), digest("other"))
			l.origin = f.host() + " - 1"
		}, signing.CheckInclusion},
		{"leaf of another signature in a Rekor v1 log whose name has a space", func(f *forger, l *ledger) {
			*l = f.tile(f.sign("other"), digest("other"))
			l.origin = "my log - 1"
		}, signing.CheckInclusion},
		{"leaf of another signature in a Rekor v1 log without a name", func(f *forger, l *ledger) {
			*l = f.tile(f.sign("other"), digest("other"))
			l.origin = " - 1"
		}, signing.CheckInclusion},
	}, both...)
	for version, rows := range map[string][]row{"v1": v1, "v2": v2} {
		for _, tt := range rows {
			t.Run(version+"/"+tt.name, func(t *testing.T) {
				f := newForger(t, s)
				sig := f.sign(artifact)
				l := f.hashedRekord(sig, digest(artifact))
				if version == "v2" {
					l = f.tile(sig, digest(artifact))
				}
				tt.change(f, &l)
				text := encode(f, f.message(sig, digest(artifact), []*tlogEntry{f.seal(l)}, f.timestamp(sig)))
				res, err := verify(t, artifact, text, kit, id)
				if tt.want != "" {
					wantRefused(t, err, tt.want)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if res.LogIndex != l.index || res.IntegratedTime.IsZero() != l.v2 {
					t.Errorf("got index %d at %v, want %d, and a time of Rekor v1 only", res.LogIndex, res.IntegratedTime, l.index)
				}
			})
		}
	}
}

// TestVerifyRefusesEntries has more entries than one.
func TestVerifyRefusesEntries(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	f := newForger(t, s)
	sig := f.sign(artifact)
	l := f.hashedRekord(sig, digest(artifact))
	good := f.seal(l)
	l.index = 2
	again := f.seal(l)
	stranger := f.seal(l)
	stranger.LogId.KeyId = digest("another log")
	many := make([]*tlogEntry, 33)
	for i := range many {
		many[i] = good
	}
	tests := []struct {
		name    string
		entries []*tlogEntry
		want    signing.Check
	}{
		{"the same twice", []*tlogEntry{good, good}, signing.CheckEntry},
		{"two of one log", []*tlogEntry{good, again}, signing.CheckEntry},
		{"one of an unknown log", []*tlogEntry{good, stranger}, signing.CheckLog},
		{"too many", many, signing.CheckBundle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, encode(f, f.message(sig, digest(artifact), tt.entries)), kit, id)
			wantRefused(t, err, tt.want)
		})
	}
}

// TestVerifyRefusesCertificate has certificates that the CA issued, but not for
// signing code as one subject.
func TestVerifyRefusesCertificate(t *testing.T) {
	s := signingtest.New(t, now)
	anybody := identity(t, "", ".*", s.Issuer(), "")
	other := signingtest.NewKeys(t, now().Add(-time.Hour)).CT
	ct := []*ecdsa.PrivateKey{s.Keys.CT}
	tests := []struct {
		name   string
		change func(*x509.Certificate)
		logs   []*ecdsa.PrivateKey
		want   signing.Check
	}{
		{"nothing", func(*x509.Certificate) {}, ct, ""},
		{"an authority", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, ct, signing.CheckCertificate},
		{"may sign certificates", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, ct, signing.CheckCertificate},
		{"may not sign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, ct, signing.CheckCertificate},
		{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, ct, signing.CheckCertificate},
		{"no extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, ct, signing.CheckCertificate},
		{"any extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ct, signing.CheckCertificate},
		{"for servers", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, ct, signing.CheckCertificate},
		{"two addresses", func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, "other@fake.example") }, ct, signing.CheckCertificate},
		{"a host besides", func(c *x509.Certificate) { c.DNSNames = []string{"fake.example"} }, ct, signing.CheckCertificate},
		{"a URI besides", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "fake.example"}} }, ct, signing.CheckCertificate},
		{"another issuer in the old extension", func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte("https://other.example") }, ct, signing.CheckCertificate},
		{"old extension only", func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] }, ct, ""},
		{"no SCT", func(*x509.Certificate) {}, nil, signing.CheckSCT},
		{"an SCT of an unknown log besides", func(*x509.Certificate) {}, []*ecdsa.PrivateKey{s.Keys.CT, other}, signing.CheckSCT},
		{"two SCTs of one log", func(*x509.Certificate) {}, []*ecdsa.PrivateKey{s.Keys.CT, s.Keys.CT}, signing.CheckSCT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newForger(t, s)
			var err error
			if f.cert, err = s.IssueAs(f.key.Public(), signingtest.Email, s.Issuer(), tt.change, tt.logs...); err != nil {
				t.Fatal(err)
			}
			_, err = verify(t, artifact, f.bundle(f.sign(artifact), digest(artifact)), newKit(t, s), anybody)
			if tt.want != "" {
				wantRefused(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVerifyRefusesTimes has timestamps of a trusted authority that do not serve.
func TestVerifyRefusesTimes(t *testing.T) {
	s := signingtest.New(t, now)
	id := demo(t, s)
	f := newForger(t, s)
	sig := f.sign(artifact)
	tile := []*tlogEntry{f.seal(f.tile(sig, digest(artifact)))}
	retired := s.Material(t)
	retired.TLogs = append([]trust.Log(nil), retired.TLogs...)
	retired.TLogs[0].Window.End = now().Add(-time.Minute)
	tests := []struct {
		name  string
		kit   *signing.Kit
		times [][]byte
		want  signing.Check
	}{
		{"one", newKit(t, s), [][]byte{f.timestamp(sig)}, ""},
		{"none", newKit(t, s), nil, signing.CheckTimestamp},
		{"two of one authority", newKit(t, s), [][]byte{f.timestamp(sig), f.timestamp(sig)}, signing.CheckTimestamp},
		{"an empty one besides", newKit(t, s), [][]byte{f.timestamp(sig), {}}, signing.CheckTimestamp},
		{"after the log's key", kitOf(t, retired), [][]byte{f.timestamp(sig)}, signing.CheckLog},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, encode(f, f.message(sig, digest(artifact), tile, tt.times...)), tt.kit, id)
			if tt.want != "" {
				wantRefused(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVerifyRefusesRawSignature has an ECDSA signature as two numbers side by
// side, which upstream's library reads, and others do not.
func TestVerifyRefusesRawSignature(t *testing.T) {
	s := signingtest.New(t, now)
	f := newForger(t, s)
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(f.sign(artifact), &sig); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	_, err := verify(t, artifact, f.bundle(raw, digest(artifact)), newKit(t, s), demo(t, s))
	wantRefused(t, err, signing.CheckSignature)
}

// TestVerifyRefusesShape changes what a bundle is made of.
func TestVerifyRefusesShape(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	f := newForger(t, s)
	sig := f.sign(artifact)
	text := f.bundle(sig, digest(artifact))
	for _, tt := range shapes(s) {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, edit(t, text, func(b *protobundle.Bundle) { tt.change(b) }), kit, id)
			if tt.want != "" {
				wantRefused(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("unknown member", func(t *testing.T) {
		_, err := signing.ParseBundle(append([]byte(`{"comment":"hello",`), text[1:]...))
		wantRefused(t, err, signing.CheckBundle)
	})
	t.Run("member twice", func(t *testing.T) {
		_, err := signing.ParseBundle(append([]byte(`{"mediaType":"x",`), text[1:]...))
		wantRefused(t, err, signing.CheckBundle)
	})
	t.Run("text after it", func(t *testing.T) {
		_, err := signing.ParseBundle(append(text[:len(text):len(text)], "{}"...))
		wantRefused(t, err, signing.CheckBundle)
	})
	t.Run("longer digest by VerifyDigest", func(t *testing.T) {
		sum := sha256.Sum256([]byte(artifact))
		b, err := signing.ParseBundle(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = signing.VerifyDigest(append(sum[:], 0), b, kit.Trusted, id)
		wantRefused(t, err, signing.CheckArtifact)
	})
}
