package check_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/signing/signingtest"
	"sigstack/tools/load/check"
	"sigstack/tools/load/loadtest"
)

// A sample is a right answer and how to judge it. Judge returns what the answer
// says, so that an answer that is accepted with a byte changed can be seen to say
// the same.
type sample struct {
	answer []byte
	judge  func(answer []byte) (facts any, err error)
}

var moment = time.Now()

func post(tb testing.TB, f *loadtest.Fake, path, contentType string, body []byte) []byte {
	tb.Helper()
	req, err := http.NewRequest(http.MethodPost, f.URL+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+f.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		tb.Fatalf("%s: %s %s, %v", path, resp.Status, answer, err)
	}
	return answer
}

func entrySample(tb testing.TB) sample {
	f := loadtest.Start(tb)
	body := []byte(`{"kind":"hashedrekord"}`)
	log, err := check.NewLogV1("127.0.0.1", []check.Shard{{TreeID: f.TreeID(), Key: &f.Stack.Keys.Log.PublicKey}})
	if err != nil {
		tb.Fatal(err)
	}
	return sample{post(tb, f, "/api/v1/log/entries", "application/json", body), func(answer []byte) (any, error) {
		return log.Entry(answer, nil)
	}}
}

func entryV2Sample(tb testing.TB) sample {
	f := loadtest.Start(tb)
	log, err := check.NewLogV2("127.0.0.1", f.V2.Public())
	if err != nil {
		tb.Fatal(err)
	}
	answer := post(tb, f, "/api/v2/log/entries", "application/json", []byte(`{"hashedRekordRequestV002":{"digest":"AAAA","signature":{}}}`))
	var good loadtest.EntryV2
	if err := json.Unmarshal(answer, &good); err != nil {
		tb.Fatal(err)
	}
	return sample{answer, func(answer []byte) (any, error) {
		err := log.Entry(answer, good.Body)
		var facts loadtest.EntryV2
		if json.Unmarshal(answer, &facts) != nil && err == nil {
			tb.Errorf("accepted what is no entry: %q", answer)
		}
		facts.IntegratedTime = "" // means nothing
		return facts, err
	}}
}

func certificateSample(tb testing.TB) sample { return certificateOf(tb, loadtest.Start(tb)) }

func certificateOf(tb testing.TB, f *loadtest.Fake) sample {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256([]byte(loadtest.Email))
	proof, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	body := fmt.Appendf(nil, `{"publicKeyRequest":{"publicKey":{"content":%q},"proofOfPossession":%q}}`,
		loadtest.KeyPEM(key.Public()), base64.StdEncoding.EncodeToString(proof))
	ca, err := check.NewCA([][]*x509.Certificate{f.Stack.Keys.CA.Chain}, []crypto.PublicKey{f.Stack.Keys.CT.Public()}, 10*time.Minute, moment)
	if err != nil {
		tb.Fatal(err)
	}
	id := check.Identity{Email: loadtest.Email, Issuer: f.Stack.Issuer()}
	return sample{post(tb, f, "/api/v2/signingCert", "application/json", body), func(answer []byte) (any, error) {
		cert, err := ca.Certificate(answer, key.Public(), id, moment)
		if err != nil {
			return nil, err
		}
		return cert.Raw, nil
	}}
}

func timestampSample(tb testing.TB) sample {
	f := loadtest.Start(tb)
	digest, nonce := sha256.Sum256([]byte("x")), big.NewInt(1234567)
	query, err := check.Query(digest, nonce)
	if err != nil {
		tb.Fatal(err)
	}
	tsa, err := check.NewTSA(f.Stack.Keys.TSA.Chain, moment)
	if err != nil {
		tb.Fatal(err)
	}
	return sample{post(tb, f, "/api/v1/timestamp", "application/timestamp-query", query), func(answer []byte) (any, error) {
		return tsa.Timestamp(answer, digest, nonce, moment)
	}}
}

func samples() map[string]func(testing.TB) sample {
	return map[string]func(testing.TB) sample{
		"entry": entrySample, "entry v2": entryV2Sample, "certificate": certificateSample, "timestamp": timestampSample,
	}
}

// TestEveryByte changes each byte of a right answer in turn: it is refused, or
// says the same as before.
func TestEveryByte(t *testing.T) {
	for name, make := range samples() {
		t.Run(name, func(t *testing.T) {
			s := make(t)
			want, err := s.judge(s.answer)
			if err != nil {
				t.Fatal(err)
			}
			refused := 0
			for i := range s.answer {
				bad := bytes.Clone(s.answer)
				bad[i] ^= 1 << (i % 8)
				got, err := s.judge(bad)
				var fault *check.Fault
				switch {
				case err == nil && !reflect.DeepEqual(got, want):
					t.Errorf("byte %d from %q to %q: accepted, and says %v, not %v", i, s.answer[i], bad[i], got, want)
				case err != nil && !errors.As(err, &fault):
					t.Errorf("byte %d: %v is no fault", i, err)
				case err != nil:
					refused++
				}
			}
			if refused < len(s.answer)*8/10 {
				t.Errorf("refused %d of %d changed answers, want most", refused, len(s.answer))
			}
		})
	}
}

// TestTruncated: no beginning of a right answer is one.
func TestTruncated(t *testing.T) {
	for name, make := range samples() {
		t.Run(name, func(t *testing.T) {
			s := make(t)
			whole := bytes.TrimSpace(s.answer)
			for n := range len(whole) {
				if _, err := s.judge(whole[:n]); check.KindOf(err) != check.Malformed {
					t.Fatalf("the first %d bytes of %d: got %v", n, len(whole), err)
				}
			}
		})
	}
}

// fuzz: what is accepted says what the one right answer says.
func fuzz(f *testing.F, s sample) {
	want, err := s.judge(s.answer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.answer, 10, byte(1))
	f.Add([]byte("{}"), 0, byte(0))
	f.Fuzz(func(t *testing.T, answer []byte, at int, bits byte) {
		// Keys are made for each run, so a corpus holds no right answers: mutate one.
		if at > 0 {
			answer = bytes.Clone(s.answer)
			answer[at%len(answer)] ^= bits
		}
		if got, err := s.judge(answer); err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("accepted, and says %v, not %v: %q", got, want, answer)
		}
	})
}

func FuzzEntry(f *testing.F)       { fuzz(f, entrySample(f)) }
func FuzzEntryV2(f *testing.F)     { fuzz(f, entryV2Sample(f)) }
func FuzzCertificate(f *testing.F) { fuzz(f, certificateSample(f)) }
func FuzzTimestamp(f *testing.F)   { fuzz(f, timestampSample(f)) }

// FuzzFound: what is accepted has the ID in it.
func FuzzFound(f *testing.F) {
	id := strings.Repeat("0a", 40)
	f.Add(`["` + id + `"]`)
	f.Add(`["` + id + `",1]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, answer string) {
		var ids []any
		if check.Found([]byte(answer), id) == nil && (json.Unmarshal([]byte(answer), &ids) != nil || len(ids) == 0) {
			t.Errorf("found in %q", answer)
		}
	})
}

// TestShards: entries of an old tree have its key, and indexes that begin where it
// does.
func TestShards(t *testing.T) {
	f := loadtest.Start(t)
	answer := post(t, f, "/api/v1/log/entries", "application/json", []byte(`{"kind":"x"}`))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := &f.Stack.Keys.Log.PublicKey, &other.PublicKey
	for _, tt := range []struct {
		name   string
		shards []check.Shard
		kind   check.Kind
	}{
		{"among others", []check.Shard{{TreeID: 7, Key: theirs}, {TreeID: f.TreeID(), Key: ours}, {TreeID: 9, Key: theirs, First: 5}}, ""},
		{"another tree", []check.Shard{{TreeID: 7, Key: ours}}, check.EntryID},
		{"another key", []check.Shard{{TreeID: f.TreeID(), Key: theirs}}, check.LogID},
		{"it begins later", []check.Shard{{TreeID: f.TreeID(), Key: ours, First: 3}}, check.Index},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, err := check.NewLogV1("127.0.0.1", tt.shards)
			if err != nil {
				t.Fatal(err)
			}
			_, err = log.Entry(answer, nil)
			if (err == nil) != (tt.kind == "") || err != nil && check.KindOf(err) != tt.kind {
				t.Errorf("got %v, want kind %q", err, tt.kind)
			}
		})
	}
	if _, err := check.NewLogV1("127.0.0.1", nil); err == nil {
		t.Error("a log without trees is taken")
	}
}

// TestManyHeads: what is remembered of checkpoints is bounded, and a checkpoint
// that differs by one byte from a remembered one is not taken for it.
func TestManyHeads(t *testing.T) {
	f := loadtest.Start(t)
	log, err := check.NewLogV2("127.0.0.1", f.V2.Public())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		body := fmt.Appendf(nil, `{"hashedRekordRequestV002":{"digest":"%s","signature":{}}}`, base64.StdEncoding.EncodeToString([]byte{byte(i), byte(i >> 8)}))
		var e loadtest.EntryV2
		if err := json.Unmarshal(post(t, f, "/api/v2/log/entries", "application/json", body), &e); err != nil {
			t.Fatal(err)
		}
		answer, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Entry(answer, e.Body); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		e.Proof.Checkpoint.Envelope = loadtest.FlipSignature(e.Proof.Checkpoint.Envelope)
		if answer, err = json.Marshal(e); err != nil {
			t.Fatal(err)
		}
		if err := log.Entry(answer, e.Body); check.KindOf(err) != check.Checkpoint {
			t.Fatalf("entry %d with another signature: %v", i, err)
		}
	}
}

// TestAuthorities: what would verify nothing is not taken for an authority, and
// nothing outlasts one.
func TestAuthorities(t *testing.T) {
	f := loadtest.Start(t)
	keys, ct := f.Stack.Keys, []crypto.PublicKey{f.Stack.Keys.CT.Public()}
	for name, chains := range map[string][][]*x509.Certificate{
		"none": nil, "empty": {{}}, "not a chain": {{keys.CA.Chain[0], keys.TSA.Chain[2]}}, "for timestamps": {keys.TSA.Chain[1:]},
	} {
		if _, err := check.NewCA(chains, ct, time.Minute, moment); err == nil {
			t.Errorf("authority %s: taken", name)
		}
	}
	if _, err := check.NewCA([][]*x509.Certificate{keys.CA.Chain}, nil, time.Minute, moment); err == nil {
		t.Error("an authority without a log is taken")
	}
	if _, err := check.NewCA([][]*x509.Certificate{keys.CA.Chain}, ct, time.Minute, moment.AddDate(50, 0, 0)); err == nil {
		t.Error("an authority that has ended is taken")
	}
	for name, chain := range map[string][]*x509.Certificate{
		"none": nil, "without its leaf": keys.TSA.Chain[1:], "for code": keys.CA.Chain, "another root": {keys.TSA.Chain[0], keys.TSA.Chain[1], keys.CA.Chain[1]},
	} {
		if _, err := check.NewTSA(chain, moment); err == nil {
			t.Errorf("timestamp authority %s: taken", name)
		}
	}
}

// TestCertificateOutlastsAuthority: a certificate of ten minutes is wrong when its
// authority's ends in five.
func TestCertificateOutlastsAuthority(t *testing.T) {
	f := loadtest.Start(t)
	life := f.Stack.Keys.CA.Chain[0].NotAfter.Sub(f.Stack.Keys.CA.Chain[0].NotBefore)
	f.Stack.Keys.CA = signingtest.NewCA(t, moment.Add(5*time.Minute-life))
	s := certificateOf(t, f)
	if _, err := s.judge(s.answer); check.KindOf(err) != check.Lifetime || !strings.Contains(err.Error(), "outlasts") {
		t.Errorf("got %v", err)
	}
}

// TestTimestampBeforeAuthority: a time before the authority's certificate began is
// wrong, near as it is.
func TestTimestampBeforeAuthority(t *testing.T) {
	f := loadtest.Start(t)
	f.Stack.Keys.TSA = signingtest.NewTSA(t, moment)
	f.Set(loadtest.Hooks{Stamp: func(_ *loadtest.Fake, s *timestamp.Timestamp, _ *signingtest.Authority) {
		s.Time = moment.Add(-time.Minute).UTC()
	}})
	digest, nonce := sha256.Sum256(nil), big.NewInt(5)
	query, err := check.Query(digest, nonce)
	if err != nil {
		t.Fatal(err)
	}
	tsa, err := check.NewTSA(f.Stack.Keys.TSA.Chain, moment.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	_, err = tsa.Timestamp(post(t, f, "/api/v1/timestamp", "application/timestamp-query", query), digest, nonce, moment)
	if check.KindOf(err) != check.Time || !strings.Contains(err.Error(), "life") {
		t.Errorf("got %v", err)
	}
}
