package entry_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// stricter marks a case that the reference server's library accepts.
const stricter = true

type refusal struct {
	name     string
	change   func(tlogtest.Object) tlogtest.Object
	kind     fault.Kind
	code     int
	want     string // in the public sentence
	stricter bool
}

func set(v any, path ...string) func(tlogtest.Object) tlogtest.Object {
	return func(o tlogtest.Object) tlogtest.Object { return setAt(o, v, path...) }
}

func unset(path ...string) func(tlogtest.Object) tlogtest.Object { return set(absent, path...) }

// TestRefuseEnvelope: what surrounds a spec. Each case is valid but for one fact.
func TestRefuseEnvelope(t *testing.T) {
	checkRefusals(t, func(t *testing.T) tlogtest.Object {
		return tlogtest.HashedRekord(t, tlogtest.NewSigner(t), crypto.SHA256, []byte("a"))
	}, []refusal{
		{"no kind", unset("kind"), fault.Unprocessable, 602, "kind is missing", false},
		{"kind null", set(nil, "kind"), fault.Unprocessable, 602, "kind is missing", false},
		{"kind number", set(1, "kind"), fault.Unprocessable, 601, "kind must be a string", false},
		{"kind unknown", set("nosuch", "kind"), fault.Unprocessable, 606, "kind is not one", false},
		{"kind in capitals", set("HashedRekord", "kind"), fault.Unprocessable, 606, "kind is not one", false},
		{"kind not enabled", set("rekord", "kind"), fault.Invalid, 0, "kind rekord is not enabled", false},
		{"kind rare", set("tuf", "kind"), fault.Invalid, 0, "kind tuf is not enabled", false},
		{"no version", unset("apiVersion"), fault.Unprocessable, 602, "apiVersion is missing", false},
		{"version number", set(1, "apiVersion"), fault.Unprocessable, 601, "apiVersion must be a string", false},
		{"version unknown", set("0.0.2", "apiVersion"), fault.Invalid, 0, "version of kind hashedrekord", false},
		{"no spec", unset("spec"), fault.Unprocessable, 602, "spec is missing", false},
		{"spec null", set(nil, "spec"), fault.Unprocessable, 602, "spec is missing", false},
		{"spec array", set([]any{}, "spec"), fault.Invalid, 0, "spec must be a JSON object", false},
	})
}

func TestRefuseHashedRekord(t *testing.T) {
	signer := tlogtest.NewSigner(t)
	content, key := []string{"spec", "signature", "content"}, []string{"spec", "signature", "publicKey", "content"}
	algorithm, value := []string{"spec", "data", "hash", "algorithm"}, []string{"spec", "data", "hash", "value"}
	checkRefusals(t, func(t *testing.T) tlogtest.Object {
		return tlogtest.HashedRekord(t, signer, crypto.SHA256, []byte("artifact"))
	}, []refusal{
		{"flipped signature", flipped(content...), fault.Invalid, 0, "signature does not verify", false},
		{"other key", set(b64(tlogtest.NewSigner(t).Material), key...), fault.Invalid, 0, "signature does not verify", false},
		{"other digest", set(strings.Repeat("ab", 32), value...), fault.Invalid, 0, "signature does not verify", false},
		{"empty signature", set("", content...), fault.Invalid, 0, "spec.signature.content is empty", false},
		{"signature not base64", set("&&&&", content...), fault.Invalid, 0, "spec.signature.content is not standard", false},
		{"signature unpadded", set("YQ", content...), fault.Invalid, 0, "spec.signature.content is not standard", false},
		{"signature not a string", set(7, content...), fault.Invalid, 0, "spec.signature.content must be a string", false},
		{"no signature", unset("spec", "signature"), fault.Invalid, 0, "spec.signature is missing", false},
		{"no signature content", unset(content...), fault.Invalid, 0, "spec.signature.content is missing", false},
		{"no key object", unset("spec", "signature", "publicKey"), fault.Invalid, 0, "spec.signature.publicKey is missing", false},
		{"no key", unset(key...), fault.Invalid, 0, "publicKey.content is missing", false},
		{"key not base64", set("-----", key...), fault.Invalid, 0, "publicKey.content is not standard", false},
		{"key not PEM", set(b64([]byte("key")), key...), fault.Invalid, 0, "not PEM", false},
		{"no data", unset("spec", "data"), fault.Invalid, 0, "spec.data is missing", false},
		{"data a string", set("x", "spec", "data"), fault.Invalid, 0, "spec.data must be a JSON object", false},
		{"no hash", unset("spec", "data", "hash"), fault.Invalid, 0, "spec.data.hash is missing", false},
		{"no algorithm", unset(algorithm...), fault.Invalid, 0, "algorithm is missing", false},
		{"algorithm sha1", set("sha1", algorithm...), fault.Invalid, 0, "none of sha256", false},
		{"algorithm in capitals", set("SHA256", algorithm...), fault.Invalid, 0, "none of sha256", false},
		{"no value", unset(value...), fault.Invalid, 0, "value is missing", false},
		{"value too short", set("abcd", value...), fault.Invalid, 0, "not 64 hex digits", false},
		{"value not hex", set(strings.Repeat("g", 64), value...), fault.Invalid, 0, "not 64 hex digits", false},
		{"algorithm longer than value", set("sha512", algorithm...), fault.Invalid, 0, "not 128 hex digits", false},
	})
}

// TestRefusePairs: signatures that verify, by a key and hash that do not belong
// together, or by keys that are too weak.
func TestRefusePairs(t *testing.T) {
	hashed := func(s tlogtest.Signer, h crypto.Hash) tlogtest.Object {
		return tlogtest.HashedRekord(t, s, h, []byte("artifact"))
	}
	dsse := func(s tlogtest.Signer) tlogtest.Object {
		return tlogtest.DSSE(t, tlogtest.Envelope(t, "t", []byte("p"), s), s)
	}
	weakRSA := rsaSigner(t, 1024)
	p224 := ecdsaSigner(t, elliptic.P224())
	tests := []struct {
		name     string
		proposal tlogtest.Object
		want     string
		stricter bool
	}{
		{"P-384 with SHA-256", hashed(ecdsaSigner(t, elliptic.P384()), crypto.SHA256), "must sign a SHA-384 digest", false},
		{"P-256 with SHA-512", hashed(tlogtest.NewSigner(t), crypto.SHA512), "must sign a SHA-256 digest", false},
		{"P-521 with SHA-384", hashed(ecdsaSigner(t, elliptic.P521()), crypto.SHA384), "must sign a SHA-512 digest", false},
		{"RSA with SHA-512", hashed(rsaSigner(t, 2048), crypto.SHA512), "must sign a SHA-256 digest", false},
		{"RSA 1024", hashed(weakRSA, crypto.SHA256), "not permitted", false},
		{"RSA 1024 in dsse", dsse(weakRSA), "not permitted", stricter},
		{"RSA of odd size", hashed(rsaSigner(t, 2056), crypto.SHA256), "not permitted", false},
		{"P-224", hashed(p224, crypto.SHA256), "not permitted", false},
		{"P-224 in dsse", dsse(p224), "not permitted", stricter},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parser().Parse(tlogtest.JSON(t, tt.proposal))
			wantFault(t, err, fault.Invalid, 0, tt.want)
			if _, err := upstream(tlogtest.JSON(t, tt.proposal)); (err == nil) != tt.stricter {
				t.Errorf("upstream: %v, accepted want %v", err, tt.stricter)
			}
		})
	}
}

// TestPolicy: an algorithm that the operator took out is refused, in both kinds.
func TestPolicy(t *testing.T) {
	p := parser()
	p.Algorithms = entry.Algorithms{entry.RSA2048, entry.Ed25519}
	s, ed := tlogtest.NewSigner(t), ed25519Signer(t)
	for name, tt := range map[string]struct {
		proposal tlogtest.Object
		ok       bool
	}{
		"hashedrekord, P-256":      {tlogtest.HashedRekord(t, s, crypto.SHA256, nil), false},
		"dsse, P-256":              {tlogtest.DSSE(t, tlogtest.Envelope(t, "t", nil, s), s), false},
		"hashedrekord, Ed25519ph":  {tlogtest.HashedRekord(t, ed, crypto.SHA512, nil), false},
		"dsse, Ed25519":            {tlogtest.DSSE(t, tlogtest.Envelope(t, "t", nil, ed), ed), true},
		"hashedrekord, RSA 2048":   {tlogtest.HashedRekord(t, rsaSigner(t, 2048), crypto.SHA256, nil), true},
		"hashedrekord, RSA 3072":   {tlogtest.HashedRekord(t, rsaSigner(t, 3072), crypto.SHA256, nil), false},
		"hashedrekord, leaf P-256": {tlogtest.HashedRekord(t, certified(t, 1), crypto.SHA256, nil), false},
	} {
		if _, err := p.Parse(tlogtest.JSON(t, tt.proposal)); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want accepted %v", name, err, tt.ok)
		}
	}
}

func TestRefuseDSSE(t *testing.T) {
	a, b, c := tlogtest.NewSigner(t), ed25519Signer(t), tlogtest.NewSigner(t)
	ec := []string{"spec", "proposedContent"}
	at := func(name string) []string { return append(ec[:2:2], name) }
	env := func(change func(tlogtest.Object)) func(tlogtest.Object) tlogtest.Object {
		return func(o tlogtest.Object) tlogtest.Object {
			e := tlogtest.Envelope(t, "text/plain", []byte("payload"), a, b)
			change(e)
			return setAt(o, string(tlogtest.JSON(t, e)), at("envelope")...)
		}
	}
	sig := func(e tlogtest.Object, i int) tlogtest.Object { return e["signatures"].([]any)[i].(tlogtest.Object) }
	keys := func(s ...tlogtest.Signer) []any {
		var out []any
		for _, one := range s {
			out = append(out, b64(one.Material))
		}
		return out
	}
	checkRefusals(t, func(t *testing.T) tlogtest.Object {
		return tlogtest.DSSE(t, tlogtest.Envelope(t, "text/plain", []byte("payload"), a, b), a, b)
	}, []refusal{
		{"no proposed content", unset(ec...), fault.Invalid, 0, "proposedContent is missing", false},
		{"no envelope", unset(at("envelope")...), fault.Invalid, 0, "envelope is missing", false},
		{"envelope an object", set(tlogtest.Object{}, at("envelope")...), fault.Invalid, 0, "envelope must be a string", false},
		{"envelope not JSON", set("{", at("envelope")...), fault.Invalid, 0, "envelope is not valid JSON", false},
		{"canonical members too", set([]any{}, "spec", "signatures"), fault.Invalid, 0, "server's to fill in", false},
		{"envelope hash too", set(tlogtest.Object{"algorithm": "sha256", "value": "00"}, "spec", "envelopeHash"), fault.Invalid, 0, "server's to fill in", false},
		{"no verifiers", unset(at("verifiers")...), fault.Invalid, 0, "verifiers is missing", false},
		{"empty verifiers", set([]any{}, at("verifiers")...), fault.Invalid, 0, "must hold 1 to 10 keys", false},
		{"verifier a number", set([]any{b64(a.Material), 1}, at("verifiers")...), fault.Invalid, 0, "verifiers[1] must be a string", false},
		{"verifier not base64", set([]any{b64(a.Material), "%"}, at("verifiers")...), fault.Invalid, 0, "verifiers[1] is not standard", false},
		{"verifier empty", set([]any{b64(a.Material), ""}, at("verifiers")...), fault.Invalid, 0, "verifiers[1] is empty", false},
		{"too many verifiers", set(keys(a, b, c, c, c, c, c, c, c, c, c), at("verifiers")...), fault.Invalid, 0, "must hold 1 to 10 keys", stricter},
		{"one signature unverified", set(keys(a), at("verifiers")...), fault.Invalid, 0, "no verifier verifies", false},
		{"verifier of nothing", set(keys(c, a, b), at("verifiers")...), fault.Invalid, 0, "verifier 0 does not verify any", false},
		{"payload changed", env(func(e tlogtest.Object) { e["payload"] = b64([]byte("payloae")) }), fault.Invalid, 0, "verifier 0 does not verify any", false},
		{"payload type changed", env(func(e tlogtest.Object) { e["payloadType"] = "text/html" }), fault.Invalid, 0, "verifier 0 does not verify any", false},
		{"signature flipped", env(func(e tlogtest.Object) { flipped("sig")(sig(e, 1)) }), fault.Invalid, 0, "verifier 1 does not verify any", false},
		{"no signatures", env(func(e tlogtest.Object) { e["signatures"] = []any{} }), fault.Invalid, 0, "1 to 10 signatures", false},
		{"too many signatures", env(func(e tlogtest.Object) { e["signatures"] = slicesRepeat(e["signatures"].([]any), 6) }), fault.Invalid, 0, "1 to 10 signatures", stricter},
		{"no sig", env(func(e tlogtest.Object) { delete(sig(e, 0), "sig") }), fault.Invalid, 0, "signatures[0].sig is missing", false},
		{"sig not base64", env(func(e tlogtest.Object) { sig(e, 0)["sig"] = "!" }), fault.Invalid, 0, "signatures[0].sig is not standard", false},
		{"sig spelt with a newline", env(func(e tlogtest.Object) { sig(e, 0)["sig"] = sig(e, 0)["sig"].(string) + "\n" }), fault.Invalid, 0, "not canonical base64", stricter},
		{"payload not base64", env(func(e tlogtest.Object) { e["payload"] = "%" }), fault.Invalid, 0, "envelope.payload is not", false},
		{"no payload type", env(func(e tlogtest.Object) { delete(e, "payloadType") }), fault.Invalid, 0, "envelope.payloadType is missing", false},
	})
}

func TestRefuseKeyMaterial(t *testing.T) {
	key, chain := certificates(t, 11)
	_, foreign := certificates(t, 2)
	plain := tlogtest.SignerOf(t, key).Material
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	base := func(material []byte) tlogtest.Object {
		return tlogtest.HashedRekord(t, tlogtest.Signer{Key: key, Material: material}, crypto.SHA256, []byte("artifact"))
	}
	x25519 := []byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAuQs14jGCiC3ICTAkTvN6JLmAjvHw8XwT3gDSE5DlfEA=\n-----END PUBLIC KEY-----\n")
	tests := []struct {
		name     string
		material []byte
		want     string // "" is accepted
		stricter bool
	}{
		{"key", plain, "", false},
		{"certificate", chain[0], "", false},
		{"chain of ten", join(chain[:10]...), "", false},
		{"chain of eleven", join(chain...), "more than 10 certificates", false},
		{"chain with one too many", join(chain[0], chain[10], chain[1]), "", false},
		{"chain with a gap", join(chain[0], chain[2]), "chain does not verify", false},
		{"foreign chain", join(chain[0], foreign[1]), "chain does not verify", false},
		{"chain, leaf last", join(chain[1], chain[0]), "chain does not verify", false},
		{"private key type", bytes.ReplaceAll(plain, []byte("PUBLIC"), []byte("PRIVATE")), "neither", false},
		{"two keys", join(plain, plain), "followed by other data", false},
		{"key then text", join(plain, []byte("x\n")), "followed by other data", false},
		{"certificate then key", join(chain[0], plain), "followed by other data", false},
		{"certificate then text", join(chain[0], []byte("x\n")), "followed by other data", false},
		{"key not DER", []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "could not be parsed", false},
		{"certificate not DER", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "could not be parsed", false},
		{"key that cannot sign", x25519, "cannot sign", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proposed := tlogtest.JSON(t, base(tt.material))
			got, err := parser().Parse(proposed)
			theirs, theirErr := upstream(proposed)
			if tt.want != "" {
				wantFault(t, err, fault.Invalid, 0, tt.want)
				if (theirErr == nil) != tt.stricter {
					t.Errorf("upstream: %v", theirErr)
				}
				return
			}
			if err != nil || !bytes.Equal(got.Body, theirs) {
				t.Errorf("%s, %v; upstream %s, %v", got.Body, err, theirs, theirErr)
			}
		})
	}
}

// TestRefuseSpelling: JSON that readers take in different ways.
func TestRefuseSpelling(t *testing.T) {
	good := string(tlogtest.JSON(t, tlogtest.HashedRekord(t, tlogtest.NewSigner(t), crypto.SHA256, []byte("a"))))
	for name, tt := range map[string]struct{ proposed, want string }{
		"empty":               {"", "not valid JSON"},
		"truncated":           {good[:len(good)-1], "not valid JSON"},
		"trailing data":       {good + "{}", "not valid JSON"},
		"array":               {"[" + good + "]", "must be a JSON object"},
		"null":                {"null", "must be a JSON object"},
		"member twice":        {strings.Replace(good, `"kind":`, `"kind":"dsse","kind":`, 1), "a member twice"},
		"member twice inside": {strings.Replace(good, `"value":`, `"value":"","value":`, 1), "spec.data.hash has a member twice"},
		"twice by an escape":  {strings.Replace(good, `"kind":`, `"k\u0069nd":"dsse","kind":`, 1), "a member twice"},
		"name in capitals":    {strings.Replace(good, `"value":`, `"Value":`, 1), "value is missing"},
		"not UTF-8":           {strings.Replace(good, `"kind":`, "\"x\xff\":1,\"kind\":", 1), "not valid JSON in UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parser().Parse([]byte(tt.proposed))
			wantFault(t, err, fault.Invalid, 0, tt.want)
		})
	}
	spaced := " \n" + strings.NewReplacer(`:`, " :\t", `,`, " ,\r\n", `{`, "{ ", `}`, " }").Replace(good) + " "
	if _, err := parser().Parse([]byte(strings.Replace(spaced, "kind", `k\u0069nd`, 1))); err != nil {
		t.Errorf("the same entry with white space and an escape: %v", err)
	}
}

// TestWiderThanUpstream: what the contract admits and the library does not.
func TestWiderThanUpstream(t *testing.T) {
	s := tlogtest.NewSigner(t)
	twice := tlogtest.Envelope(t, "t", []byte("p"), s, s)
	hinted := tlogtest.Envelope(t, "t", []byte("p"), s)
	hinted["signatures"].([]any)[0].(tlogtest.Object)["keyid"] = "release key"
	for name, proposal := range map[string]tlogtest.Object{
		"dsse, two signatures by one key":         tlogtest.DSSE(t, twice, s),
		"intoto 0.0.2, two signatures by one key": tlogtest.InTotoV002(t, twice, s, s),
		"intoto 0.0.1, key ID of the signer's":    tlogtest.InTotoV001(t, hinted, s),
	} {
		proposed := tlogtest.JSON(t, proposal)
		if _, err := parser().Parse(proposed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := upstream(proposed); err == nil {
			t.Errorf("%s: upstream accepts it", name)
		}
	}
}

// TestDSSEReadings: envelopes that mean the same as far as their signature goes.
func TestDSSEReadings(t *testing.T) {
	s := tlogtest.NewSigner(t)
	payload := []byte{0xfb, 0xff, 0xfe}
	e := tlogtest.Envelope(t, "t", payload, s)
	e["payload"] = base64.URLEncoding.EncodeToString(payload)
	e["signatures"] = append(e["signatures"].([]any), e["signatures"].([]any)[0])
	proposed := tlogtest.JSON(t, tlogtest.DSSE(t, e, s, tlogtest.NewSigner(t))) // the second key is never tried
	got, err := parser().Parse(proposed)
	theirs, theirErr := upstream(proposed)
	if err != nil || theirErr != nil || !bytes.Equal(got.Body, theirs) {
		t.Errorf("%s, %v; upstream %s, %v", got.Body, err, theirs, theirErr)
	}
}

func checkRefusals(t *testing.T, valid func(*testing.T) tlogtest.Object, tests []refusal) {
	t.Helper()
	if _, err := parser().Parse(tlogtest.JSON(t, valid(t))); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proposed := tlogtest.JSON(t, tt.change(valid(t)))
			_, err := parser().Parse(proposed)
			wantFault(t, err, tt.kind, tt.code, tt.want)
			if _, err := upstream(proposed); (err == nil) != tt.stricter {
				t.Errorf("upstream: %v, accepted want %v", err, tt.stricter)
			}
		})
	}
}

func wantFault(t *testing.T, err error, kind fault.Kind, code int, sentence string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want refusal %q", sentence)
	}
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code || !strings.Contains(fault.Public(err), sentence) {
		t.Errorf("refused with %v/%d %q, want %v/%d %q", fault.KindOf(err), fault.CodeOf(err), fault.Public(err), kind, code, sentence)
	}
}

// flipped changes one bit in the middle of a base64 value.
func flipped(path ...string) func(tlogtest.Object) tlogtest.Object {
	return func(o tlogtest.Object) tlogtest.Object {
		raw, err := base64.StdEncoding.DecodeString(getAt(o, path...).(string))
		if err != nil {
			panic(err)
		}
		raw[len(raw)/2] ^= 1
		return setAt(o, b64(raw), path...)
	}
}

func slicesRepeat(s []any, n int) []any {
	var out []any
	for range n {
		out = append(out, s...)
	}
	return out
}
