package target_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/signing/signingtest"
	"sigstack/tools/load/loadtest"
)

// entryRow makes one thing wrong in an entry of the v1 log.
type entryRow struct {
	name, kind string
	change     func(f *loadtest.Fake, id *string, e *loadtest.Entry)
}

func entryRows() []entryRow {
	// proof changes what needs no more than the proof.
	proof := func(name, kind string, change func(f *loadtest.Fake, e *loadtest.Entry)) entryRow {
		return entryRow{name, kind, func(f *loadtest.Fake, _ *string, e *loadtest.Entry) { change(f, e) }}
	}
	root := func(e *loadtest.Entry) []byte {
		data, err := hex.DecodeString(e.Verification.Proof.RootHash)
		if err != nil {
			panic(err)
		}
		return data
	}
	origin := func(f *loadtest.Fake) string { return fmt.Sprintf("127.0.0.1 - %d", f.TreeID()) }
	return []entryRow{
		proof("a bit of the body", "body", func(_ *loadtest.Fake, e *loadtest.Entry) { e.Body = loadtest.Flip(e.Body) }),
		{"a bit of the id's hash", "entry id", func(_ *loadtest.Fake, id *string, _ *loadtest.Entry) { *id = loadtest.FlipHex(*id) }},
		{"another tree", "entry id", func(_ *loadtest.Fake, id *string, _ *loadtest.Entry) { *id = "0000000000000001" + (*id)[16:] }},
		{"no tree", "entry id", func(_ *loadtest.Fake, id *string, _ *loadtest.Entry) { *id = (*id)[16:] }},
		proof("a bit of the log id", "log id", func(_ *loadtest.Fake, e *loadtest.Entry) { e.LogID = loadtest.FlipHex(e.LogID) }),
		proof("log id, promised", "log id", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.LogID = loadtest.FlipHex(e.LogID)
			f.Promise(e)
		}),
		proof("index", "index", func(_ *loadtest.Fake, e *loadtest.Entry) { e.LogIndex++ }),
		proof("index, promised", "index", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.LogIndex++
			f.Promise(e)
		}),
		proof("index of the proof", "index", func(_ *loadtest.Fake, e *loadtest.Entry) { e.Verification.Proof.LogIndex-- }),
		proof("both indexes, promised", "inclusion proof", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.LogIndex--
			e.Verification.Proof.LogIndex--
			f.Promise(e)
		}),
		proof("both indexes", "signed entry timestamp", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.LogIndex--
			e.Verification.Proof.LogIndex--
		}),
		proof("negative index", "index", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.LogIndex, e.Verification.Proof.LogIndex = -1, -1
			f.Promise(e)
		}),
		proof("a bit of the promise", "signed entry timestamp", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.SET = loadtest.Flip(e.Verification.SET)
		}),
		proof("no promise", "signed entry timestamp", func(_ *loadtest.Fake, e *loadtest.Entry) { e.Verification.SET = nil }),
		proof("integrated time", "signed entry timestamp", func(_ *loadtest.Fake, e *loadtest.Entry) { e.IntegratedTime++ }),
		proof("integrated an hour ago, promised", "time", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.IntegratedTime -= 3600
			f.Promise(e)
		}),
		proof("a bit of the checkpoint's signature", "checkpoint", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Checkpoint = loadtest.FlipSignature(e.Verification.Proof.Checkpoint)
		}),
		proof("the checkpoint's size", "checkpoint", func(_ *loadtest.Fake, e *loadtest.Entry) {
			p := &e.Verification.Proof
			p.Checkpoint = strings.Replace(p.Checkpoint, fmt.Sprintf("\n%d\n", p.TreeSize), fmt.Sprintf("\n%d\n", p.TreeSize+1), 1)
			p.TreeSize++
		}),
		proof("the checkpoint's origin, signed", "checkpoint", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Checkpoint = f.Note("127.0.0.1 - 1", e.Verification.Proof.TreeSize, root(e))
		}),
		proof("the checkpoint's name", "checkpoint", func(_ *loadtest.Fake, e *loadtest.Entry) {
			p := &e.Verification.Proof
			p.Checkpoint = strings.Replace(p.Checkpoint, "\u2014 127.0.0.1", "\u2014 127.0.0.2", 1)
		}),
		proof("another line of the checkpoint", "checkpoint", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Checkpoint += "\u2014 witness AAAAAAAA\n"
		}),
		proof("no checkpoint", "checkpoint", func(_ *loadtest.Fake, e *loadtest.Entry) { e.Verification.Proof.Checkpoint = "" }),
		proof("a bit of the root", "root", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.RootHash = loadtest.FlipHex(e.Verification.Proof.RootHash)
		}),
		proof("tree size", "root", func(_ *loadtest.Fake, e *loadtest.Entry) { e.Verification.Proof.TreeSize++ }),
		proof("a bit of the checkpoint's root, signed", "root", func(f *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Checkpoint = f.Note(origin(f), e.Verification.Proof.TreeSize, loadtest.Flip(root(e)))
		}),
		proof("both roots, signed", "inclusion proof", func(f *loadtest.Fake, e *loadtest.Entry) {
			p := &e.Verification.Proof
			p.Checkpoint = f.Note(origin(f), p.TreeSize, loadtest.Flip(root(e)))
			p.RootHash = loadtest.FlipHex(p.RootHash)
		}),
		proof("a bit of a proof's hash", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Hashes[0] = loadtest.FlipHex(e.Verification.Proof.Hashes[0])
		}),
		proof("a hash too few", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Hashes = e.Verification.Proof.Hashes[1:]
		}),
		proof("a hash too many", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Hashes = append(e.Verification.Proof.Hashes, e.Verification.Proof.RootHash)
		}),
		proof("half a hash", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.Entry) {
			e.Verification.Proof.Hashes[0] = e.Verification.Proof.Hashes[0][:32]
		}),
	}
}

// TestWrongEntries feeds each row to what adds entries, and to what reads them.
func TestWrongEntries(t *testing.T) {
	f := loadtest.Start(t)
	for _, row := range entryRows() {
		t.Run(row.name, func(t *testing.T) {
			wantOnly(t, measure(t, f, "rekor1", config(t, f), loadtest.Hooks{Added: row.change}), row.kind)
			wantOnly(t, measure(t, f, "get", config(t, f), loadtest.Hooks{Read: row.change}), row.kind)
		})
	}
	other := loadtest.Start(t)
	config := config(t, f)
	for _, tt := range []struct {
		name, target, kind string
		hooks              loadtest.Hooks
	}{
		{"another entry is added", "rekor1", "body", loadtest.Hooks{Propose: func(body []byte) []byte {
			return bytes.Replace(body, []byte(`"value":"`), []byte(`"value":"00`), 1)
		}}},
		{"promised by another log", "rekor1", "signed entry timestamp", loadtest.Hooks{Added: func(_ *loadtest.Fake, _ *string, e *loadtest.Entry) { other.Promise(e) }}},
		{"another entry is read", "get", "body", loadtest.Hooks{ReadID: func(id string) string {
			for _, other := range f.IDs() {
				if other != id {
					return other
				}
			}
			return ""
		}}},
		{"an entry is not found", "search", "missing", loadtest.Hooks{Found: func([]string) []string { return []string{} }}},
		{"null is found", "search", "missing", loadtest.Hooks{Found: func([]string) []string { return nil }}},
		{"another entry is found", "search", "missing", loadtest.Hooks{Found: func(ids []string) []string { return []string{loadtest.FlipHex(ids[0])} }}},
		{"a short id is found, too", "search", "entry id", loadtest.Hooks{Found: func(ids []string) []string { return append(ids, "00") }}},
		{"what is no id is found, too", "search", "entry id", loadtest.Hooks{Found: func(ids []string) []string {
			return append(ids, strings.Repeat("x", 80))
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) { wantOnly(t, measure(t, f, tt.target, config, tt.hooks), tt.kind) })
	}
	t.Run("the entry of another index", func(t *testing.T) {
		c := config
		c.Indexes = [2]int64{1, 2}
		ids := f.IDs()
		swap := func(id string) string {
			if id == ids[0] {
				return ids[1]
			}
			return ids[0]
		}
		wantOnly(t, measure(t, f, "get", c, loadtest.Hooks{ReadID: swap}), "index")
	})
}

func TestWrongEntriesV2(t *testing.T) {
	f := loadtest.Start(t)
	config := config(t, f)
	note := func(f *loadtest.Fake, e *loadtest.EntryV2, origin string, root []byte) {
		var size int
		if _, err := fmt.Sscan(e.Proof.TreeSize, &size); err != nil {
			panic(err)
		}
		e.Proof.Checkpoint.Envelope = f.V2.Note(origin, size, root)
	}
	for _, tt := range []struct {
		name, kind string
		change     func(f *loadtest.Fake, e *loadtest.EntryV2)
	}{
		{"witnessed", "", func(_ *loadtest.Fake, e *loadtest.EntryV2) {
			e.Proof.Checkpoint.Envelope += "\u2014 witness AAAAAAAA\n"
		}},
		{"a bit of the body", "body", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.Body = loadtest.Flip(e.Body) }},
		{"kind", "version", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.KindVersion.Kind = "dsse" }},
		{"version", "version", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.KindVersion.Version = "0.0.1" }},
		{"a bit of the log id", "log id", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.LogID.KeyID = loadtest.Flip(e.LogID.KeyID) }},
		{"index", "index", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.LogIndex = "0" }},
		{"both indexes", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.LogIndex, e.Proof.LogIndex = "0", "0" }},
		{"index is no number", "malformed", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.LogIndex = "1.5" }},
		{"negative index", "malformed", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.LogIndex, e.Proof.LogIndex = "-1", "-1" }},
		{"tree size", "root", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.Proof.TreeSize += "0" }},
		{"a bit of the root", "root", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.Proof.RootHash = loadtest.Flip(e.Proof.RootHash) }},
		{"both roots, signed", "inclusion proof", func(f *loadtest.Fake, e *loadtest.EntryV2) {
			e.Proof.RootHash = loadtest.Flip(e.Proof.RootHash)
			note(f, e, "127.0.0.1", e.Proof.RootHash)
		}},
		{"a bit of a proof's hash", "inclusion proof", func(_ *loadtest.Fake, e *loadtest.EntryV2) { e.Proof.Hashes[0] = loadtest.Flip(e.Proof.Hashes[0]) }},
		{"a bit of the checkpoint's signature", "checkpoint", func(_ *loadtest.Fake, e *loadtest.EntryV2) {
			e.Proof.Checkpoint.Envelope = loadtest.FlipSignature(e.Proof.Checkpoint.Envelope)
		}},
		{"the checkpoint's origin, signed", "checkpoint", func(f *loadtest.Fake, e *loadtest.EntryV2) { note(f, e, "127.0.0.2", e.Proof.RootHash) }},
		{"no signature by the log", "checkpoint", func(_ *loadtest.Fake, e *loadtest.EntryV2) {
			e.Proof.Checkpoint.Envelope = strings.Replace(e.Proof.Checkpoint.Envelope, "\u2014 127", "\u2014 128", 1)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantOnly(t, measure(t, f, "rekor2", config, loadtest.Hooks{V2: tt.change}), tt.kind)
		})
	}
	t.Run("another entry is added", func(t *testing.T) {
		wantOnly(t, measure(t, f, "rekor2", config, loadtest.Hooks{Propose: loadtest.Flip}), "body")
	})
}

func TestWrongCertificates(t *testing.T) {
	f, other := loadtest.Start(t), loadtest.Start(t)
	// changed is the usual certificate, but for what change does.
	changed := func(change func(*x509.Certificate)) func(*loadtest.Fake, crypto.PublicKey) ([]*x509.Certificate, error) {
		return func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return f.Issue(pub, change, f.Stack.Keys.CT)
		}
	}
	extension := func(oid asn1.ObjectIdentifier, value []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i := range c.ExtraExtensions {
				if c.ExtraExtensions[i].Id.Equal(oid) {
					c.ExtraExtensions[i].Value = value
					return
				}
			}
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Value: value})
		}
	}
	scts := func(logs ...*ecdsa.PrivateKey) func(*loadtest.Fake, crypto.PublicKey) ([]*x509.Certificate, error) {
		return func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return f.Issue(pub, func(*x509.Certificate) {}, logs...)
		}
	}
	shift := func(start, life time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotBefore = c.NotBefore.Add(start)
			c.NotAfter = c.NotBefore.Add(life)
		}
	}
	issuerV1, issuer := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	sctList := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	for _, tt := range []struct {
		name, kind string
		certify    func(*loadtest.Fake, crypto.PublicKey) ([]*x509.Certificate, error)
	}{
		{"another address", "subject alternative name", changed(func(c *x509.Certificate) { c.EmailAddresses = []string{"x" + loadtest.Email[1:]} })},
		{"two addresses", "subject alternative name", changed(func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, "b@c") })},
		{"an address and a URI", "subject alternative name", changed(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "x"}} })},
		{"the address as a DNS name", "subject alternative name", changed(func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{loadtest.Email} })},
		{"a name that is not critical", "subject alternative name", changed(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} })},
		{"another issuer", "issuer", changed(extension(issuer, []byte("\x0c\x03bad")))},
		{"another issuer by the old extension", "issuer", changed(extension(issuerV1, []byte("bad")))},
		{"another key", "key", func(f *loadtest.Fake, _ crypto.PublicKey) ([]*x509.Certificate, error) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, err
			}
			return f.Issue(key.Public(), func(*x509.Certificate) {}, f.Stack.Keys.CT)
		}},
		{"another authority", "chain", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return other.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
		}},
		{"another authority in the right chain", "chain", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			chain, err := other.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
			return append(chain[:1], f.Stack.Keys.CA.Chain...), err
		}},
		{"a bit of the certificate's signature", "chain", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			chain, err := f.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
			if err != nil {
				return nil, err
			}
			raw := bytes.Clone(chain[0].Raw)
			raw[len(raw)-1] ^= 1
			leaf, err := x509.ParseCertificate(raw)
			return append([]*x509.Certificate{leaf}, chain[1:]...), err
		}},
		{"no root", "chain", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			chain, err := f.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
			return chain[:2], err
		}},
		{"nothing above", "malformed", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			chain, err := f.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
			return chain[:1], err
		}},
		{"for servers", "chain", changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
		{"for more", "profile", changed(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) })},
		{"for something unknown, too", "profile", changed(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} })},
		{"another authority's key id", "profile", changed(extension(asn1.ObjectIdentifier{2, 5, 29, 35}, []byte{0x30, 3, 0x80, 1, 1}))},
		{"for encryption", "profile", changed(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment })},
		{"an authority", "profile", changed(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })},
		{"eleven minutes", "lifetime", changed(shift(0, 11*time.Minute))},
		{"an hour ago", "lifetime", changed(shift(-time.Hour, 10*time.Minute))},
		{"in an hour", "lifetime", changed(shift(time.Hour, 10*time.Minute))},
		{"no SCT", "sct", scts()},
		{"SCT of another log", "sct", scts(other.Stack.Keys.CT)},
		{"two SCTs", "sct", scts(f.Stack.Keys.CT, f.Stack.Keys.CT)},
		{"SCT of another certificate", "sct", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return reissue(f, pub, sctList, func(value []byte) []byte { return value })
		}},
		{"SCT list that is cut", "sct", func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return reissue(f, pub, sctList, func(value []byte) []byte { return value[:len(value)-1] })
		}},
		{"SCT of an hour ago", "sct", oldSCT(t, f)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantOnly(t, measure(t, f, "ca", config(t, f), loadtest.Hooks{Certify: tt.certify}), tt.kind)
		})
	}
}

// reissue makes a certificate with an extension of another one, changed.
func reissue(f *loadtest.Fake, pub crypto.PublicKey, oid asn1.ObjectIdentifier, change func([]byte) []byte) ([]*x509.Certificate, error) {
	chain, err := f.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
	if err != nil {
		return nil, err
	}
	for _, e := range chain[0].Extensions {
		if e.Id.Equal(oid) {
			return f.Issue(pub, func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Value: change(e.Value)})
			})
		}
	}
	return nil, fmt.Errorf("no extension %s", oid)
}

// oldSCT makes certificates of now whose SCTs are of an hour ago.
func oldSCT(t *testing.T, f *loadtest.Fake) func(*loadtest.Fake, crypto.PublicKey) ([]*x509.Certificate, error) {
	t.Helper()
	late := signingtest.NewWith(t, func() time.Time { return time.Now().Add(-time.Hour) }, f.Stack.Keys)
	return func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
		leaf, err := late.IssueAs(pub, loadtest.Email, f.Stack.Issuer(), func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(time.Hour), c.NotAfter.Add(time.Hour)
		}, f.Stack.Keys.CT)
		return append([]*x509.Certificate{leaf}, f.Stack.Keys.CA.Chain...), err
	}
}

func TestWrongTimestamps(t *testing.T) {
	f, other := loadtest.Start(t), loadtest.Start(t)
	stamp := func(change func(s *timestamp.Timestamp, by *signingtest.Authority)) loadtest.Hooks {
		return loadtest.Hooks{Stamp: func(_ *loadtest.Fake, s *timestamp.Timestamp, by *signingtest.Authority) { change(s, by) }}
	}
	stamped := func(change func(der []byte) []byte) loadtest.Hooks { return loadtest.Hooks{Stamped: change} }
	for _, tt := range []struct {
		name, kind string
		hooks      loadtest.Hooks
	}{
		{"with certificates", "", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) { s.AddTSACertificate = true })},
		{"another imprint", "imprint", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) {
			s.HashedMessage = loadtest.Flip(s.HashedMessage)
		})},
		{"another hash", "imprint", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) {
			s.HashAlgorithm = crypto.SHA384
		})},
		{"another nonce", "nonce", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) {
			s.Nonce = new(big.Int).Add(s.Nonce, big.NewInt(1))
		})},
		{"no nonce", "nonce", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) { s.Nonce = nil })},
		{"an hour ago", "time", stamp(func(s *timestamp.Timestamp, _ *signingtest.Authority) { s.Time = s.Time.Add(-30 * time.Minute) })},
		{"another authority", "signer", stamp(func(_ *timestamp.Timestamp, by *signingtest.Authority) { *by = other.Stack.Keys.TSA })},
		{"another serial number", "signer", stamp(func(_ *timestamp.Timestamp, by *signingtest.Authority) {
			cert := *by.Chain[0]
			cert.SerialNumber = big.NewInt(1)
			by.Chain = []*x509.Certificate{&cert}
		})},
		{"another name", "signer", stamp(func(_ *timestamp.Timestamp, by *signingtest.Authority) {
			cert := *by.Chain[0]
			cert.RawIssuer = other.Stack.Keys.TSA.Chain[2].RawIssuer
			by.Chain = []*x509.Certificate{&cert}
		})},
		{"another certificate in the attributes", "signer", stamp(func(_ *timestamp.Timestamp, by *signingtest.Authority) {
			cert := *by.Chain[0]
			cert.Raw = other.Stack.Keys.TSA.Chain[0].Raw
			by.Chain = []*x509.Certificate{&cert}
		})},
		{"another key", "signature", stamp(func(_ *timestamp.Timestamp, by *signingtest.Authority) { by.Key = other.Stack.Keys.TSA.Key })},
		{"a bit of the signature", "signature", stamped(func(der []byte) []byte {
			der[len(der)-1] ^= 1
			return der
		})},
		{"a bit of the content", "signature", stamped(func(der []byte) []byte {
			at := bytes.Index(der, []byte("\x18\x0f20")) // genTime
			der[at+16-3] ^= 1                            // a digit of its seconds
			return der
		})},
		{"refused", "refused", stamped(func([]byte) []byte { return []byte{0x30, 5, 0x30, 3, 2, 1, 2} })},
		{"granted, without a token", "malformed", stamped(func([]byte) []byte { return []byte{0x30, 5, 0x30, 3, 2, 1, 0} })},
		{"more behind", "malformed", stamped(func(der []byte) []byte { return append(der, 0) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantOnly(t, measure(t, f, "tsa", config(t, f), tt.hooks), tt.kind)
		})
	}
}

// TestWrongSignings makes one of a signature's three answers wrong, and then
// their times.
func TestWrongSignings(t *testing.T) {
	f := loadtest.Start(t)
	for _, tt := range []struct {
		name, kind string
		hooks      loadtest.Hooks
	}{
		{"certificate", "sct", loadtest.Hooks{Certify: func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return f.Issue(pub, func(*x509.Certificate) {})
		}}},
		{"entry", "signed entry timestamp", loadtest.Hooks{Added: func(_ *loadtest.Fake, _ *string, e *loadtest.Entry) { e.IntegratedTime++ }}},
		{"timestamp", "nonce", loadtest.Hooks{Stamp: func(_ *loadtest.Fake, s *timestamp.Timestamp, _ *signingtest.Authority) { s.Nonce = nil }}},
		{"certificate of later", "time", loadtest.Hooks{Certify: func(f *loadtest.Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return f.Issue(pub, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = c.NotBefore.Add(4*time.Minute), c.NotAfter.Add(4*time.Minute)
			}, f.Stack.Keys.CT)
		}}},
		{"entry of before the certificate", "time", loadtest.Hooks{Added: func(f *loadtest.Fake, _ *string, e *loadtest.Entry) {
			e.IntegratedTime -= 60
			f.Promise(e)
		}}},
		{"timestamp of before the certificate", "time", loadtest.Hooks{Stamp: func(_ *loadtest.Fake, s *timestamp.Timestamp, _ *signingtest.Authority) {
			s.Time = s.Time.Add(-time.Minute)
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantOnly(t, measure(t, f, "signing", config(t, f), tt.hooks), tt.kind)
		})
	}
}
