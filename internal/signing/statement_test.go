package signing_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// attested is a bundle of an envelope, logged as change has it.
func (f *forger) attested(payloadType string, payload []byte, sigs int, change func(sig []byte) ledger) []byte {
	pae := dsse.PAE(payloadType, payload)
	sig := f.sign(string(pae))
	b := f.material([]*tlogEntry{f.seal(change(sig))}, [][]byte{f.timestamp(sig)})
	envelope := &protodsse.Envelope{Payload: payload, PayloadType: payloadType}
	for range sigs {
		envelope.Signatures = append(envelope.Signatures, &protodsse.Signature{Sig: sig})
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: envelope}
	return encode(f, b)
}

func paeDigest(payload []byte) []byte {
	sum := sha256.Sum256(dsse.PAE(signing.StatementPayloadType, payload))
	return sum[:]
}

func verifyStatement(text []byte, trusted *signing.TrustRoot, id *signing.Identity, content, predicate string) (signing.Result, signing.Statement, error) {
	b, err := signing.ParseBundle(text)
	if err != nil {
		return signing.Result{}, signing.Statement{}, err
	}
	return signing.VerifyStatement(digest(content), "sha256", b, trusted, id, predicate)
}

func TestVerifyStatement(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	payload := statement(t)
	old := bytes.Replace(payload, []byte(signing.StatementType), []byte(signing.StatementTypeV0), 1)
	for name, payload := range map[string][]byte{"v1": payload, "v0.1": old} {
		f := newForger(t, s)
		for log, change := range map[string]func(sig []byte) ledger{
			"Rekor v1": func(sig []byte) ledger { return f.dsse(sig, payload) },
			"Rekor v2": func(sig []byte) ledger { return f.tile(sig, paeDigest(payload)) },
		} {
			text := f.attested(signing.StatementPayloadType, payload, 1, change)
			for _, predicate := range []string{"", predicateType} {
				res, got, err := verifyStatement(text, kit.Trusted, id, artifact, predicate)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, log, err)
				}
				if res.Identity != signingtest.Email || res.Digest != "sha256:"+hexDigest(artifact) {
					t.Errorf("got %+v, want %s over the artifact", res, signingtest.Email)
				}
				if got.PredicateType != predicateType || !json.Valid(got.Predicate) || len(got.Subjects) != 1 {
					t.Errorf("got %+v, want what was signed", got)
				}
			}
		}
	}
}

// TestVerifyStatementRefuses has envelopes that are properly signed and logged.
func TestVerifyStatementRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	f := newForger(t, s)
	good := statement(t)
	intoto := signing.StatementPayloadType
	logged := func(payload []byte) func([]byte) ledger {
		return func(sig []byte) ledger { return f.dsse(sig, payload) }
	}
	tests := []struct {
		name, content, predicate string
		text                     []byte
		want                     signing.Check
	}{
		{"another artifact", "otherwise", "", f.attested(intoto, good, 1, logged(good)), signing.CheckStatement},
		{"another predicate type", artifact, predicateType + "/", f.attested(intoto, good, 1, logged(good)), signing.CheckStatement},
		{"another payload type", artifact, "", f.attested("application/json", good, 1, logged(good)), signing.CheckStatement},
		{"two signatures", artifact, "", f.attested(intoto, good, 2, logged(good)), signing.CheckStatement},
		{"no signature", artifact, "", f.attested(intoto, good, 0, logged(good)), signing.CheckStatement},
		{"no statement", artifact, "", f.attested(intoto, []byte("{}"), 1, logged([]byte("{}"))), signing.CheckStatement},
		{"a signature of the file", artifact, "", f.bundle(f.sign(artifact), digest(artifact)), signing.CheckStatement},
		{"logged as a file's signature", artifact, "", f.attested(intoto, good, 1, func(sig []byte) ledger {
			return f.hashedRekord(sig, paeDigest(good))
		}), signing.CheckEntry},
		{"logged with another payload", artifact, "", f.attested(intoto, good, 1, logged([]byte("other"))), signing.CheckEntry},
		{"logged with a second signature", artifact, "", f.attested(intoto, good, 1, func(sig []byte) ledger {
			l := f.dsse(sig, good)
			l.body = f.rewrite(l.body, func(b object) {
				spec := b["spec"].(object)
				spec["signatures"] = append(spec["signatures"].([]any), object{"signature": base64Of(sig), "verifier": base64Of(pemOf(s.Keys.CA.Chain[0]))})
			})
			return l
		}), signing.CheckEntry},
		{"logged with a member more", artifact, "", f.attested(intoto, good, 1, func(sig []byte) ledger {
			l := f.dsse(sig, good)
			l.body = f.rewrite(l.body, func(b object) { b["spec"].(object)["comment"] = "hello" })
			return l
		}), signing.CheckEntry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := verifyStatement(tt.text, kit.Trusted, id, tt.content, tt.predicate)
			wantRefused(t, err, tt.want)
			if !reflect.DeepEqual(got, signing.Statement{}) {
				t.Errorf("got %+v beside a refusal, want nothing", got)
			}
		})
	}
	t.Run("signature over other bytes", func(t *testing.T) {
		text := f.attested(intoto, good, 1, func(sig []byte) ledger { return f.tile(sig, paeDigest(good)) })
		_, _, err := verifyStatement(edit(t, text, func(b *protobundle.Bundle) {
			envelope := b.GetDsseEnvelope()
			envelope.Payload = bytes.Replace(envelope.Payload, []byte("passed"), []byte("failed"), 1)
		}), kit.Trusted, id, artifact, "")
		wantRefused(t, err, signing.CheckEntry)
	})
	t.Run("another signer", func(t *testing.T) {
		text := f.attested(intoto, good, 1, logged(good))
		_, _, err := verifyStatement(text, kit.Trusted, identity(t, "other@fake.example", "", s.Issuer(), ""), artifact, "")
		wantRefused(t, err, signing.CheckIdentity)
	})
}

// TestVerifyRefusesEnvelope gives attestations to the functions for signatures,
// and a file's signature that was logged as an attestation.
func TestVerifyRefusesEnvelope(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id := newKit(t, s), demo(t, s)
	f := newForger(t, s)
	payload := statement(t)
	text := f.attested(signing.StatementPayloadType, payload, 1, func(sig []byte) ledger { return f.dsse(sig, payload) })
	_, err := verify(t, artifact, text, kit, id)
	wantRefused(t, err, signing.CheckBundle)

	sig := f.sign(string(dsse.PAE(signing.StatementPayloadType, payload)))
	text = encode(f, f.message(sig, paeDigest(payload), []*tlogEntry{f.seal(f.dsse(sig, payload))}, f.timestamp(sig)))
	_, err = verify(t, string(dsse.PAE(signing.StatementPayloadType, payload)), text, kit, id)
	wantRefused(t, err, signing.CheckEntry)
}

func TestStatementHas(t *testing.T) {
	sum := sha512.Sum512([]byte(artifact))
	text, err := signing.NewStatement([]signing.Subject{
		{Name: "a", Digest: map[string]string{"sha256": hexDigest("other")}},
		{Name: "b", Digest: map[string]string{"sha512": hex.EncodeToString(sum[:]), "gitCommit": "00ff"}, Annotations: map[string]string{"k": "<v>"}},
	}, predicateType, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signing.ParseStatement(text)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Has(sum[:], "sha512") || got.Has(sum[:], "sha256") || got.Has(digest(artifact), "sha256") || got.Has(nil, "sha384") {
		t.Errorf("got other subjects than were written: %+v", got.Subjects)
	}
	if got.Subjects[1].Annotations["k"] != "<v>" || string(got.Predicate) != "{}" {
		t.Errorf("got %+v, want the annotation and an empty predicate", got)
	}
}

// TestTextPredicate: an SPDX document as tags and values is a string.
func TestTextPredicate(t *testing.T) {
	subjects := []signing.Subject{{Digest: map[string]string{"sha256": hexDigest(artifact)}}}
	for _, predicateType := range signing.SPDXPredicates() {
		text, err := signing.NewStatement(subjects, predicateType, json.RawMessage(`"SPDXVersion: SPDX-2.3\n"`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := signing.ParseStatement(text)
		if err != nil || string(got.Predicate) != `"SPDXVersion: SPDX-2.3\n"` {
			t.Errorf("%s: got %s, %v, want the text", predicateType, got.Predicate, err)
		}
	}
	if _, err := signing.NewStatement(subjects, "https://cyclonedx.org/bom", json.RawMessage(`"text"`)); err == nil {
		t.Error("a CycloneDX document that is text was not refused")
	}
}

func TestVerifyTextPredicate(t *testing.T) {
	s := signingtest.New(t, now)
	kit, id, f := newKit(t, s), demo(t, s), newForger(t, s)
	spdx := signing.SPDXPredicates()[0]
	payload, err := signing.NewStatement([]signing.Subject{{Digest: map[string]string{"sha256": hexDigest(artifact)}}}, spdx, json.RawMessage(`"text"`))
	if err != nil {
		t.Fatal(err)
	}
	text := f.attested(signing.StatementPayloadType, payload, 1, func(sig []byte) ledger { return f.dsse(sig, payload) })
	if _, got, err := verifyStatement(text, kit.Trusted, id, artifact, spdx); err != nil || string(got.Predicate) != `"text"` {
		t.Errorf("got %s, %v, want the text", got.Predicate, err)
	}
}

func TestContradicts(t *testing.T) {
	digests := map[string]string{"sha256": strings.Repeat("a", 64), "sha512": strings.Repeat("b", 128)}
	tests := []struct {
		name     string
		subjects []signing.Subject
		want     bool
	}{
		{"one", []signing.Subject{{Digest: map[string]string{"sha256": digests["sha256"]}}}, false},
		{"both", []signing.Subject{{Digest: digests}}, false},
		{"one that is not known", []signing.Subject{{Digest: map[string]string{"sha256": digests["sha256"], "gitCommit": "00"}}}, false},
		{"two artifacts", []signing.Subject{{Digest: map[string]string{"sha256": digests["sha256"]}}, {Digest: map[string]string{"sha512": "00"}}}, false},
		{"none", []signing.Subject{{Digest: map[string]string{"sha256": "00", "sha512": "00"}}}, false},
		{"the other of something else", []signing.Subject{{Digest: map[string]string{"sha256": digests["sha256"], "sha512": "00"}}}, true},
		{"in the second subject", []signing.Subject{{Digest: digests}, {Digest: map[string]string{"sha256": "00", "sha512": digests["sha512"]}}}, true},
	}
	for _, tt := range tests {
		if err := (signing.Statement{Subjects: tt.subjects}).Contradicts(digests); (err != nil) != tt.want {
			t.Errorf("%s: got %v, want an error: %v", tt.name, err, tt.want)
		}
	}
}

func TestParseStatementRefuses(t *testing.T) {
	const (
		subject = `[{"name":"a","digest":{"sha1":"00ff"}}]`
		head    = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":`
	)
	if _, err := signing.ParseStatement([]byte(head + subject + `}`)); err != nil {
		t.Fatalf("got %v, want the statement that the others differ from accepted", err)
	}
	tests := map[string]string{
		"empty":                       ``,
		"null":                        `null`,
		"array":                       `[]`,
		"text after it":               head + subject + `}{}`,
		"type of version 2":           strings.Replace(head, "v1", "v2", 1) + subject + `}`,
		"no type":                     `{"predicateType":"p","subject":` + subject + `}`,
		"no predicate type":           `{"_type":"https://in-toto.io/Statement/v1","subject":` + subject + `}`,
		"no subject":                  head + `[]}`,
		"subject twice":               head + subject + `,"subject":` + subject + `}`,
		"subject in upper case":       head + subject + `,"Subject":` + subject + `}`,
		"type twice by escapes":       head + subject + `,"\u005ftype":"x"}`,
		"unknown member":              head + subject + `,"comment":"x"}`,
		"unknown member in a subject": head + `[{"digest":{"sha1":"00"},"hash":"00"}]}`,
		"digest twice":                head + `[{"digest":{"sha1":"00","sha1":"01"}}]}`,
		"member twice in a predicate": head + subject + `,"predicate":{"a":[{"b":1,"c":2,"b":3}]}}`,
		"predicate is text":           head + subject + `,"predicate":"x"}`,
		"predicate is null":           head + subject + `,"predicate":null}`,
		"subject without digest":      head + `[{"name":"a"}]}`,
		"subject with empty digests":  head + `[{"name":"a","digest":{}}]}`,
		"subject is null":             head + `[null]}`,
		"digest in upper case":        head + `[{"digest":{"sha1":"00FF"}}]}`,
		"digest not in hex":           head + `[{"digest":{"sha1":"zz"}}]}`,
		"digest empty":                head + `[{"digest":{"sha1":""}}]}`,
		"digest too short":            head + `[{"digest":{"sha256":"00"}}]}`,
		"digest too long":             head + `[{"digest":{"sha512":"` + strings.Repeat("00", 65) + `"}}]}`,
		"digest is a number":          head + `[{"digest":{"sha1":1}}]}`,
		"broken UTF-8":                head + "[{\"name\":\"\xff\",\"digest\":{\"sha256\":\"00\"}}]}",
		"too long a subject":          head + `[{"digest":{"sha1":"00"},"annotations":{"a":"` + strings.Repeat("x", 1<<20) + `"}}]}`,
		"too many subjects":           head + `[` + strings.Repeat(`{"digest":{"sha1":"00"}},`, 1024) + `{"digest":{"sha1":"00"}}]}`,
		"too many digests":            head + `[{"digest":{` + digests(33) + `}}]}`,
		"nested too deeply":           head + subject + `,"predicate":{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`,
	}
	for name, text := range tests {
		if got, err := signing.ParseStatement([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func digests(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"a%d":"00"`, i)
	}
	return strings.Join(list, ",")
}

func TestNewStatementRefuses(t *testing.T) {
	good := []signing.Subject{{Name: "a", Digest: map[string]string{"sha1": "00"}}}
	tests := []struct {
		name      string
		subjects  []signing.Subject
		predicate string
		body      string
	}{
		{"no subject", nil, predicateType, `{}`},
		{"no digest", []signing.Subject{{Name: "a"}}, predicateType, `{}`},
		{"upper case", []signing.Subject{{Digest: map[string]string{"sha1": "AB"}}}, predicateType, `{}`},
		{"no predicate type", good, "", `{}`},
		{"predicate is no object", good, predicateType, `[]`},
		{"predicate is no JSON", good, predicateType, `{`},
		{"predicate with a member twice", good, predicateType, `{"a":1,"a":2}`},
	}
	for _, tt := range tests {
		if text, err := signing.NewStatement(tt.subjects, tt.predicate, json.RawMessage(tt.body)); err == nil {
			t.Errorf("%s: got %s, want an error", tt.name, text)
		}
	}
}

// FuzzParseStatement: what is accepted reads the same to a lenient reader, and
// re-encodes to a statement that says the same.
func FuzzParseStatement(f *testing.F) {
	f.Add(statement(f))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"a","digest":{"sha1":"00"},"annotations":{"a":1,"b":"c"}}],"predicateType":"p"}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"digest":{"a":"00"}}],"predicate":{"a":{"b":1}},"subject":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := signing.ParseStatement(data)
		if err != nil {
			return
		}
		var lenient struct {
			Type          string `json:"_type"`
			PredicateType string `json:"predicateType"`
			Subject       []struct{ Digest map[string]string }
		}
		if err := json.Unmarshal(data, &lenient); err != nil {
			t.Fatalf("accepted what is no statement: %v", err)
		}
		if lenient.Type != got.Type || lenient.PredicateType != got.PredicateType || len(lenient.Subject) != len(got.Subjects) {
			t.Fatalf("got %+v, want what a lenient reader sees: %+v", got, lenient)
		}
		for i, s := range lenient.Subject {
			if !reflect.DeepEqual(s.Digest, got.Subjects[i].Digest) {
				t.Errorf("got digests %v, want %v", got.Subjects[i].Digest, s.Digest)
			}
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := signing.ParseStatement(text)
		if err != nil {
			t.Fatalf("its encoding %s is refused: %v", text, err)
		}
		again.Predicate, got.Predicate = nil, nil // white space differs
		if !reflect.DeepEqual(again, got) {
			t.Errorf("got %+v after re-encoding, want %+v", again, got)
		}
	})
}
