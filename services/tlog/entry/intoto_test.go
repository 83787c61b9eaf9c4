package entry_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

func TestRefuseInTotoV001(t *testing.T) {
	a, b := tlogtest.NewSigner(t), ed25519Signer(t)
	envelope := []string{"spec", "content", "envelope"}
	env := func(change func(tlogtest.Object)) func(tlogtest.Object) tlogtest.Object {
		return func(o tlogtest.Object) tlogtest.Object {
			e := tlogtest.Envelope(t, "text/plain", []byte("payload"), a)
			change(e)
			return setAt(o, string(tlogtest.JSON(t, e)), envelope...)
		}
	}
	sig := func(e tlogtest.Object) tlogtest.Object { return e["signatures"].([]any)[0].(tlogtest.Object) }
	checkRefusals(t, func(t *testing.T) tlogtest.Object {
		return tlogtest.InTotoV001(t, tlogtest.Envelope(t, "text/plain", []byte("payload"), a), a)
	}, []refusal{
		{"no content", unset("spec", "content"), fault.Invalid, 0, "spec.content is missing", false},
		{"no envelope", unset(envelope...), fault.Invalid, 0, "spec.content.envelope is missing", false},
		{"envelope an object", set(tlogtest.Object{}, envelope...), fault.Invalid, 0, "envelope must be a string", false},
		{"envelope not JSON", set("{", envelope...), fault.Invalid, 0, "envelope is not valid JSON", false},
		{"no key", unset("spec", "publicKey"), fault.Invalid, 0, "spec.publicKey is missing", false},
		{"key not base64", set("%", "spec", "publicKey"), fault.Invalid, 0, "spec.publicKey is not standard", false},
		{"key not PEM", set(b64([]byte("key")), "spec", "publicKey"), fault.Invalid, 0, "not PEM", false},
		{"another's key", set(b64(b.Material), "spec", "publicKey"), fault.Invalid, 0, "does not verify any signature", false},
		{"weak key", set(b64(rsaSigner(t, 1024).Material), "spec", "publicKey"), fault.Invalid, 0, "not permitted", false},
		{"payload changed", env(func(e tlogtest.Object) { e["payload"] = b64([]byte("payloae")) }), fault.Invalid, 0, "does not verify any signature", false},
		{"payload type changed", env(func(e tlogtest.Object) { e["payloadType"] = "text/html" }), fault.Invalid, 0, "does not verify any signature", false},
		{"signature flipped", env(func(e tlogtest.Object) { flipped("sig")(sig(e)) }), fault.Invalid, 0, "does not verify any signature", false},
		{"payload empty", env(func(e tlogtest.Object) { e["payload"] = "" }), fault.Invalid, 0, "empty payload", false},
		{"payload type empty", env(func(e tlogtest.Object) { e["payloadType"] = "" }), fault.Invalid, 0, "empty payload", false},
		{"no signatures", env(func(e tlogtest.Object) { e["signatures"] = []any{} }), fault.Invalid, 0, "1 to 10 signatures", false},
		{"too many signatures", env(func(e tlogtest.Object) { e["signatures"] = slicesRepeat(e["signatures"].([]any), 11) }), fault.Invalid, 0, "1 to 10 signatures", stricter},
		{"payload not base64", env(func(e tlogtest.Object) { e["payload"] = "%" }), fault.Invalid, 0, "envelope.payload is not", false},
	})
}

func TestRefuseInTotoV002(t *testing.T) {
	a, b := tlogtest.NewSigner(t), ed25519Signer(t)
	envelope := tlogtest.Envelope(t, "text/plain", []byte("payload"), a, b)
	at := func(path ...string) []string { return append([]string{"spec", "content"}, path...) }
	sig := func(change func(tlogtest.Object)) func(tlogtest.Object) tlogtest.Object {
		return func(o tlogtest.Object) tlogtest.Object {
			change(getAt(o, at("envelope", "signatures")...).([]any)[1].(tlogtest.Object))
			return o
		}
	}
	put := func(v any, name string) func(tlogtest.Object) tlogtest.Object {
		return sig(func(o tlogtest.Object) { setAt(o, v, name) })
	}
	twice := func(text string) string { return b64([]byte(b64([]byte(text)))) }
	long := strings.Repeat("x", 1025)
	pad := b64(append(bytes.Repeat([]byte("x\n"), 33<<10), b.Material...))
	checkRefusals(t, func(t *testing.T) tlogtest.Object {
		return tlogtest.InTotoV002(t, envelope, a, b)
	}, []refusal{
		{"no content", unset("spec", "content"), fault.Invalid, 0, "spec.content is missing", false},
		{"no envelope", unset(at("envelope")...), fault.Invalid, 0, "spec.content.envelope is missing", false},
		{"envelope a string", set("{}", at("envelope")...), fault.Invalid, 0, "envelope must be a JSON object", false},
		{"no hash", unset(at("hash")...), fault.Invalid, 0, "spec.content.hash is missing", false},
		{"hash of another algorithm", set("sha512", at("hash", "algorithm")...), fault.Invalid, 0, "not a SHA-256", false},
		{"hash not hex", set(strings.Repeat("x", 64), at("hash", "value")...), fault.Invalid, 0, "not a SHA-256", stricter},
		{"no payload", unset(at("envelope", "payload")...), fault.Invalid, 0, "envelope.payload is missing", false},
		{"empty payload", set("", at("envelope", "payload")...), fault.Invalid, 0, "envelope.payload is empty", false},
		{"payload in base64 once", set(b64([]byte("payload!")), at("envelope", "payload")...), fault.Invalid, 0, "envelope.payload is not standard", false},
		{"payload changed", set(twice("payloae"), at("envelope", "payload")...), fault.Invalid, 0, "signature 0 of the envelope does not verify", false},
		{"no payload type", unset(at("envelope", "payloadType")...), fault.Invalid, 0, "payloadType is missing", false},
		{"empty payload type", set("", at("envelope", "payloadType")...), fault.Invalid, 0, "payloadType is empty", false},
		{"payload type changed", set("text/html", at("envelope", "payloadType")...), fault.Invalid, 0, "signature 0 of the envelope does not verify", false},
		{"long payload type", set(long, at("envelope", "payloadType")...), fault.Invalid, 0, "payloadType is longer than 1024 bytes", false},
		{"no signatures", set([]any{}, at("envelope", "signatures")...), fault.Invalid, 0, "must hold 1 to 10 signatures", false},
		{"too many signatures", func(o tlogtest.Object) tlogtest.Object {
			return setAt(o, slicesRepeat(getAt(o, at("envelope", "signatures")...).([]any), 6), at("envelope", "signatures")...)
		}, fault.Invalid, 0, "must hold 1 to 10 signatures", stricter},
		{"no sig", put(absent, "sig"), fault.Invalid, 0, "signatures[1].sig is missing", false},
		{"sig in base64 once", put(b64([]byte("signature")), "sig"), fault.Invalid, 0, "signatures[1].sig is not standard", false},
		{"signature flipped", sig(flipOnce), fault.Invalid, 0, "signature 1 of the envelope does not verify", false},
		{"no key", put(absent, "publicKey"), fault.Invalid, 0, "signatures[1].publicKey is missing", false},
		{"key not PEM", put(b64([]byte("key")), "publicKey"), fault.Invalid, 0, "not PEM", false},
		{"weak key", put(b64(rsaSigner(t, 1024).Material), "publicKey"), fault.Invalid, 0, "not permitted", false},
		{"another's key", put(b64(tlogtest.NewSigner(t).Material), "publicKey"), fault.Invalid, 0, "signature 1 of the envelope does not verify", false},
		{"key ID a number", put(1, "keyid"), fault.Invalid, 0, "keyid must be a string", stricter},
		{"long key ID", put(long, "keyid"), fault.Invalid, 0, "keyid is longer than 1024 bytes", stricter},
		{"key behind a novel", put(pad, "publicKey"), fault.Invalid, 0, "longer than a signature and its key", stricter},
		{"keys swapped", func(o tlogtest.Object) tlogtest.Object {
			s := getAt(o, at("envelope", "signatures")...).([]any)
			x, y := s[0].(tlogtest.Object), s[1].(tlogtest.Object)
			x["publicKey"], y["publicKey"] = y["publicKey"], x["publicKey"]
			return o
		}, fault.Invalid, 0, "signature 0 of the envelope does not verify", stricter},
	})
}

// flipOnce changes one bit of a signature that is in base64 twice.
func flipOnce(signature tlogtest.Object) {
	inner := tlogtest.Object{"sig": string(unb64(signature["sig"].(string)))}
	flipped("sig")(inner)
	signature["sig"] = b64([]byte(inner["sig"].(string)))
}

// TestInTotoV001OtherSignatures: one signature is the key's; the rest is not
// logged, and need not verify.
func TestInTotoV001OtherSignatures(t *testing.T) {
	a, b := tlogtest.NewSigner(t), tlogtest.NewSigner(t)
	proposed := tlogtest.JSON(t, tlogtest.InTotoV001(t, tlogtest.Envelope(t, "t", []byte("p"), a, b), b))
	got, err := parser().Parse(proposed)
	theirs, theirErr := upstream(proposed)
	if err != nil || theirErr != nil || !bytes.Equal(got.Body, theirs) {
		t.Errorf("%s, %v; upstream %s, %v", got.Body, err, theirs, theirErr)
	}
}

// FuzzInToto: whatever text an envelope is made of, both versions of the kind
// have the canonical bytes that the reference server's library makes, or both
// refuse it.
func FuzzInToto(f *testing.F) {
	s := tlogtest.NewSigner(f)
	f.Add("application/vnd.in-toto+json", []byte(`{"subject":[]}`), "", strings.Repeat("ab", 32))
	f.Add("text/\u2028\"\\\x00<>&\x7f", []byte{0}, "\b\t\n\f\r\x1f\U0001f511", strings.Repeat("0", 64))
	f.Add("", []byte{}, "k", "")
	f.Fuzz(func(t *testing.T, payloadType string, payload []byte, keyID, hash string) {
		if !utf8.ValidString(payloadType) || !utf8.ValidString(keyID) || !utf8.ValidString(hash) {
			return // json.Marshal would change it behind the signature
		}
		env := tlogtest.Envelope(t, payloadType, payload, s)
		compare(t, tlogtest.InTotoV001(t, env, s), false)
		env["signatures"].([]any)[0].(tlogtest.Object)["keyid"] = keyID
		second := setAt(tlogtest.InTotoV002(t, env, s), hash, "spec", "content", "hash", "value")
		isHash := len(hash) == 64 && strings.Trim(strings.ToLower(hash), "0123456789abcdef") == ""
		compare(t, second, !isHash || len(payloadType) > 1024 || len(keyID) > 1024)
	})
}

// compare demands what upstream makes of a proposal, but where we may differ.
func compare(t *testing.T, proposal tlogtest.Object, mayDiffer bool) {
	t.Helper()
	proposed := tlogtest.JSON(t, proposal)
	got, err := parser().Parse(proposed)
	theirs, theirErr := upstream(proposed)
	if mayDiffer {
		return
	}
	if (err == nil) != (theirErr == nil) || !bytes.Equal(got.Body, theirs) {
		t.Fatalf("%s:\n%s, %v; upstream\n%s, %v", proposed, got.Body, err, theirs, theirErr)
	}
	if err != nil {
		return
	}
	if jcs, err := jsoncanonicalizer.Transform(got.Body); err != nil || !bytes.Equal(jcs, got.Body) {
		t.Fatalf("RFC 8785 makes %s of %s, %v", jcs, got.Body, err)
	}
}

// TestInTotoPolicy: an algorithm that the operator took out is refused.
func TestInTotoPolicy(t *testing.T) {
	p := parser()
	p.Algorithms = entry.Algorithms{entry.Ed25519}
	for i, one := range []tlogtest.Signer{tlogtest.NewSigner(t), ed25519Signer(t)} {
		env := tlogtest.Envelope(t, "t", []byte("p"), one)
		for name, proposal := range map[string]tlogtest.Object{
			"0.0.1": tlogtest.InTotoV001(t, env, one), "0.0.2": tlogtest.InTotoV002(t, env, one),
		} {
			if _, err := p.Parse(tlogtest.JSON(t, proposal)); (err == nil) != (i == 1) {
				t.Errorf("%s, %T: %v", name, one.Key, err)
			}
		}
	}
}
