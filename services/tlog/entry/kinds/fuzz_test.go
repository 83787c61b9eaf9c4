package kinds_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
)

// check holds a proposal to what every kind promises: what is refused is the
// caller's fault; what is accepted is in RFC 8785 form, the same form each time,
// and found by terms spelt as the index has them.
func check(t *testing.T, p entry.Parser, proposed []byte) {
	t.Helper()
	got, err := p.Parse(proposed)
	if err != nil {
		if k := fault.KindOf(err); k != fault.Invalid && k != fault.Unprocessable {
			t.Fatalf("refused as %v: %v", k, err)
		}
		return
	}
	if jcs, err := jsoncanonicalizer.Transform(got.Body); err != nil || !bytes.Equal(jcs, got.Body) {
		t.Fatalf("canonical bytes %s, RFC 8785 makes of it %s, %v", got.Body, jcs, err)
	}
	again, err := p.Parse(proposed)
	if err != nil || !bytes.Equal(again.Body, got.Body) {
		t.Fatalf("canonical bytes %s, the second time %s, %v", got.Body, again.Body, err)
	}
	terms := got.Terms()
	if !slices.Equal(again.Terms().Payload, terms.Payload) {
		t.Fatalf("terms %q, the second time %q", terms.Payload, again.Terms().Payload)
	}
	for _, term := range slices.Concat(terms.Body, terms.Payload) {
		if entry.Term(term) != term {
			t.Fatalf("term %q, spelt %q in the index", term, entry.Term(term))
		}
	}
	if digest, ok := entry.AttestationDigest(got.Body); ok != (got.Attestation != nil) || ok && digest != sum(got.Attestation) {
		t.Fatalf("attestation %q of %s", got.Attestation, got.Body)
	}
}

// adaptedKinds are those of the library; FuzzSpec's corpus holds their places.
var adaptedKinds = []string{"alpine", "cose", "helm", "jar", "rekord", "rfc3161", "rpm", "tuf"}

// FuzzSpec: any JSON, as any adapted kind.
func FuzzSpec(f *testing.F) {
	for _, name := range goldenNames(f) {
		var e struct {
			Kind string
			Spec json.RawMessage
		}
		if err := json.Unmarshal(golden(f, name, "proposed"), &e); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(slices.Index(adaptedKinds, e.Kind)), []byte(e.Spec))
	}
	p := parser(f)
	f.Fuzz(func(t *testing.T, kind uint8, spec []byte) {
		if !json.Valid(spec) {
			return
		}
		name := adaptedKinds[int(kind)%len(adaptedKinds)]
		check(t, p, fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":%q,"spec":%s}`, name, spec))
	})
}

// FuzzContent: any package, signature and key, where each kind wants them.
func FuzzContent(f *testing.F) {
	const frame = `{"apiVersion":"0.0.1","kind":"%s","spec":%s}`
	const rekord = `{"data":{"content":"YXJ0aWZhY3QK"},"signature":{"content":"%[1]s","format":"FORMAT","publicKey":{"content":"%[2]s"}}}`
	const pkg = `{"package":{"content":"%[1]s"},"publicKey":{"content":"%[2]s"}}`
	signature := [][]string{{"spec", "signature", "content"}, {"spec", "signature", "publicKey", "content"}}
	inPackage := [][]string{{"spec", "package", "content"}, {"spec", "publicKey", "content"}}
	kinds := []struct {
		golden, kind, spec string
		at                 [][]string
	}{
		{"rekord-pgp-binary", "rekord", strings.Replace(rekord, "FORMAT", "pgp", 1), signature},
		{"rekord-pgp", "rekord", strings.Replace(rekord, "FORMAT", "pgp", 1), signature},
		{"rekord-minisign", "rekord", strings.Replace(rekord, "FORMAT", "minisign", 1), signature},
		{"rekord-x509-cert", "rekord", strings.Replace(rekord, "FORMAT", "x509", 1), signature},
		{"rekord-ssh-rsa", "rekord", strings.Replace(rekord, "FORMAT", "ssh", 1), signature},
		{"helm", "helm", `{"chart":{"provenance":{"content":"%[1]s"}},"publicKey":{"content":"%[2]s"}}`, [][]string{{"spec", "chart", "provenance", "content"}, inPackage[1]}},
		{"rpm", "rpm", pkg, inPackage},
		{"alpine", "alpine", pkg, inPackage},
		{"jar", "jar", `{"archive":{"content":"%[1]s"},"x":"%[2]s"}`, [][]string{{"spec", "archive", "content"}, {"spec", "archive", "content"}}},
		{"cose-plain", "cose", `{"data":{},"message":"%[1]s","publicKey":"%[2]s"}`, [][]string{{"spec", "message"}, {"spec", "publicKey"}}},
		{"rfc3161", "rfc3161", `{"tsr":{"content":"%[1]s"},"x":"%[2]s"}`, [][]string{{"spec", "tsr", "content"}, {"spec", "tsr", "content"}}},
	}
	p := parser(f)
	for i, k := range kinds {
		content, key := contentAt(f, k.golden, k.at[0]...), contentAt(f, k.golden, k.at[1]...)
		f.Add(uint8(i), content, key)
		if _, err := p.Parse(fmt.Appendf(nil, frame, k.kind, fmt.Sprintf(k.spec, b64(content), b64(key)))); err != nil {
			f.Fatalf("%s: %v", k.golden, err)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, content, key []byte) {
		k := kinds[int(i)%len(kinds)]
		check(t, p, fmt.Appendf(nil, frame, k.kind, fmt.Sprintf(k.spec, b64(content), b64(key))))
	})
}

// FuzzKeyTerm: a key of any format has one term, or is refused as the caller's
// fault.
func FuzzKeyTerm(f *testing.F) {
	for _, name := range goldenNames(f) {
		if format, material, ok := keyOf(f, golden(f, name, "proposed")); ok {
			f.Add(uint8(slices.Index(kinds.Formats(), format)), material)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, material []byte) {
		format := kinds.Formats()[int(i)%len(kinds.Formats())]
		term, err := kinds.KeyTerm(format, material)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("refused as %v: %v", fault.KindOf(err), err)
			}
			return
		}
		again, err := kinds.KeyTerm(format, material)
		if err != nil || again != term || entry.Term(term) != term {
			t.Fatalf("term %q, the second time %q, %v", term, again, err)
		}
	})
}
