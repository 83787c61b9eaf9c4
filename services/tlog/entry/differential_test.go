package entry_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// difference is a decision in which we may differ from the reference server's
// library. Whatever both accept has the same bytes, without exception.
type difference struct{ pattern, reason string }

// stricterThanUpstream are our refusals, by their sentence, of what the library
// accepts.
var stricterThanUpstream = []difference{
	{`not valid JSON in UTF-8$`, "the library reads invalid UTF-8 as U+FFFD, so that what it logs is not what was sent; JSON with more behind it, as if it ended there"},
	{` has a member twice$`, "readers differ on which of two members counts"},
	{` must be (a string|a JSON object|a JSON array)$`, "the library passes over members of another type where it can do without"},
	{` is missing$`, "encoding/json, with which the library reads envelopes, takes names in any case"},
	{` has a member whose name is not text$`, "encoding/json takes a lone surrogate for U+FFFD"},
	{`^public key is of a type or size that is not permitted$`, "the library knows no policy outside of hashedrekord"},
	{`must hold 1 to 10 (keys|signatures)$`, "each verifier is tried on each signature"},
	{` is longer than `, "what nothing verifies is not logged without bounds"},
	{` is not canonical base64$`, "the signature's text is logged, and has one standard spelling"},
	{`^envelope\.payload is not padded base64$`, "the library takes unpadded base64, against the envelope's specification"},
	{`^signature \d+ of the envelope does not verify with its public key$`, "in intoto 0.0.2 the library takes a signature beside another's key, as which it would be logged"},
	{`is not standard padded base64$`, "the library reads a signature in the URL alphabet, which is not what it logs"},
	{` is empty$`, "the library passes over an empty verifier"},
	{` is not a SHA-256 in 64 hex digits$`, "the library logs whatever the client calls the digest of its envelope"},
	{`^certificate chain does not verify$`, "the library verifies a chain in hashedrekord only"},
	{`^this version of kind \w+ is not supported$`, "the library reads versions as ranges"},
}

// widerThanUpstream are refusals of the library of what we accept.
var widerThanUpstream = []difference{
	{`^entry: (accepted signatures do not match threshold|all signatures must have a key that verifies it)`, "the library counts keys, not signatures, so that two by one key are one; it demands of a key ID, a hint of the signer's, that it knows it"},
}

func allowed(list []difference, sentence string) bool {
	for _, d := range list {
		if regexp.MustCompile(d.pattern).MatchString(sentence) {
			return true
		}
	}
	return false
}

// differ compares our decision and our bytes with the library's.
func differ(t *testing.T, proposed []byte) {
	t.Helper()
	got, err := parser().Parse(proposed)
	theirs, theirErr := upstream(proposed)
	switch {
	case err == nil && theirErr == nil:
		if !bytes.Equal(got.Body, theirs) {
			t.Fatalf("%s:\ncanonical bytes %s, upstream's\n%s", proposed, got.Body, theirs)
		}
	case err == nil && (!allowed(widerThanUpstream, theirErr.Error()) || !hasOneKeyTwice(t, got.Body) && !hasKeyID(proposed)):
		t.Fatalf("%s:\naccepted; upstream: %v", proposed, theirErr)
	case theirErr == nil && !allowed(stricterThanUpstream, fault.Public(err)):
		t.Fatalf("%s:\nupstream accepts it; refused: %v", proposed, err)
	}
}

// hasOneKeyTwice: two signatures of a canonical entry are of one key.
func hasOneKeyTwice(t *testing.T, body []byte) bool {
	t.Helper()
	type signed struct{ Verifier, PublicKey string }
	var e struct {
		Spec struct {
			Signatures []signed
			Content    struct{ Envelope struct{ Signatures []signed } }
		}
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return false // a hashedrekord has one
	}
	seen := map[string]bool{}
	for _, s := range append(e.Spec.Signatures, e.Spec.Content.Envelope.Signatures...) {
		key, err := base64.StdEncoding.DecodeString(s.Verifier + s.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := entry.CanonicalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(canonical)] {
			return true
		}
		seen[string(canonical)] = true
	}
	return false
}

// hasKeyID: a signature in the envelope of an intoto 0.0.1 has a key ID.
func hasKeyID(proposed []byte) bool {
	var e struct {
		Spec struct {
			Content struct{ Envelope json.RawMessage }
		}
	}
	var text string
	var env struct {
		Signatures []struct{ KeyID string }
	}
	if json.Unmarshal(proposed, &e) != nil || json.Unmarshal(e.Spec.Content.Envelope, &text) != nil || json.Unmarshal([]byte(text), &env) != nil {
		return false
	}
	for _, s := range env.Signatures {
		if s.KeyID != "" {
			return true
		}
	}
	return false
}

// FuzzDifferential: any bytes.
func FuzzDifferential(f *testing.F) {
	names, err := filepath.Glob("testdata/*.proposed.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, proposed []byte) {
		var e struct{ Kind string }
		if json.Unmarshal(proposed, &e) == nil && e.Kind != "hashedrekord" && e.Kind != "dsse" && e.Kind != "intoto" {
			return // kinds of the library's that are not main ones
		}
		differ(t, proposed)
	})
}

// FuzzProposals: proposals whose signatures hold, for the most part, made by a
// program that data is the tape of.
func FuzzProposals(f *testing.F) {
	signers := []tlogtest.Signer{
		ecdsaSigner(f, elliptic.P256()), ecdsaSigner(f, elliptic.P256()), ecdsaSigner(f, elliptic.P384()), ecdsaSigner(f, elliptic.P521()),
		rsaSigner(f, 2048), rsaSigner(f, 1024), ed25519Signer(f), certified(f, 1), certified(f, 3), ecdsaSigner(f, elliptic.P224()),
	}
	for kind := range byte(4) {
		for signer := range byte(len(signers)) {
			f.Add([]byte{kind, 0, signer, 0, 0}, "text/plain", []byte("payload"), "")
			f.Add([]byte{kind, 1, signer, signer + 1, 0, 1, 5}, "application/vnd.in-toto+json", []byte("{}"), "key")
		}
	}
	f.Fuzz(func(t *testing.T, tape []byte, payloadType string, payload []byte, keyID string) {
		m := maker{t: t, tape: tape, signers: signers}
		differ(t, m.spell(tlogtest.JSON(t, m.propose(payloadType, payload, keyID))))
	})
}

// maker reads its decisions from a tape; beyond its end they are 0.
type maker struct {
	t       *testing.T
	tape    []byte
	signers []tlogtest.Signer
}

func (m *maker) pick(n int) int {
	if len(m.tape) == 0 {
		return 0
	}
	b := m.tape[0]
	m.tape = m.tape[1:]
	return int(b) % n
}

func (m *maker) some() []tlogtest.Signer {
	out := make([]tlogtest.Signer, 1+m.pick(3))
	for i := range out {
		out[i] = m.signers[m.pick(len(m.signers))]
	}
	return out
}

// spelt is the same key in one of three spellings.
func (m *maker) spelt(s tlogtest.Signer) tlogtest.Signer {
	switch m.pick(4) {
	case 1:
		s.Material = append([]byte("text\r\n"), s.Material...)
	case 2:
		s.Material = bytes.ReplaceAll(s.Material, []byte("\n"), []byte("\r\n"))
	}
	return s
}

func (m *maker) propose(payloadType string, payload []byte, keyID string) tlogtest.Object {
	kind, by := m.pick(4), m.some()
	if kind == 0 {
		hash := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}[m.pick(3)]
		if _, ed := by[0].Key.Public().(interface{ Equal(crypto.PublicKey) bool }); ed && len(by[0].Material) < 130 && hash != crypto.SHA512 {
			hash = crypto.SHA512 // crypto/ed25519 signs no other digest
		}
		o := tlogtest.HashedRekord(m.t, m.spelt(by[0]), hash, payload)
		if m.pick(3) == 1 {
			setAt(o, strings.ToUpper(getAt(o, "spec", "data", "hash", "value").(string)), "spec", "data", "hash", "value")
		}
		return o
	}
	env := tlogtest.Envelope(m.t, payloadType, payload, by...)
	for _, s := range env["signatures"].([]any) {
		if m.pick(3) == 1 {
			s.(tlogtest.Object)["keyid"] = keyID
		}
	}
	switch m.pick(8) {
	case 1: // another payload than was signed
		env["payload"] = b64(append([]byte("x"), payload...))
	case 2:
		env["extra"] = nil
	}
	switch kind {
	case 1:
		verifiers := by
		if m.pick(3) == 1 {
			verifiers = m.some()
		}
		for i := range verifiers {
			verifiers[i] = m.spelt(verifiers[i])
		}
		return tlogtest.DSSE(m.t, env, verifiers...)
	case 2:
		return tlogtest.InTotoV001(m.t, env, m.spelt(by[m.pick(len(by))]))
	default:
		if m.pick(4) == 1 {
			by[0] = m.spelt(m.signers[m.pick(len(m.signers))])
		}
		return tlogtest.InTotoV002(m.t, env, by...)
	}
}

// spell writes the same JSON in another way.
func (m *maker) spell(proposed []byte) []byte {
	switch m.pick(6) {
	case 1:
		var out bytes.Buffer
		if err := json.Indent(&out, proposed, " ", "\t"); err != nil {
			m.t.Fatal(err)
		}
		return out.Bytes()
	case 2:
		return bytes.Replace(proposed, []byte(`{`), []byte(`{"unknown":[{"x":null}],`), 1)
	case 3:
		return bytes.Replace(proposed, []byte(`"kind"`), []byte(`"k\u0069nd"`), 1)
	default:
		return proposed
	}
}
