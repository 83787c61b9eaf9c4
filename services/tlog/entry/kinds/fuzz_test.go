package kinds_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
	"sigstack/services/tlog/tlogtest"
)

// check holds a proposal to what every kind promises: what is refused is the
// caller's fault; what is accepted is in RFC 8785 form, the same form each time,
// and found by terms spelt as the index has them.
func check(t *testing.T, proposed []byte) {
	t.Helper()
	got, err := parser(t).Parse(proposed)
	if err != nil {
		if k := fault.KindOf(err); k != fault.Invalid && k != fault.Unprocessable {
			t.Fatalf("refused as %v: %v", k, err)
		}
		return
	}
	if jcs, err := jsoncanonicalizer.Transform(got.Body); err != nil || !bytes.Equal(jcs, got.Body) {
		t.Fatalf("canonical bytes %s, RFC 8785 makes of it %s, %v", got.Body, jcs, err)
	}
	again, err := parser(t).Parse(proposed)
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
		f.Add(e.Kind, []byte(e.Spec))
	}
	f.Fuzz(func(t *testing.T, kind string, spec []byte) {
		if !json.Valid(spec) || !slices.Contains(kinds.All(), kind) {
			return
		}
		check(t, tlogtest.JSON(t, object{"apiVersion": "0.0.1", "kind": kind, "spec": json.RawMessage(spec)}))
	})
}

// FuzzContent: any package, signature and key, where each kind wants them.
func FuzzContent(f *testing.F) {
	at := map[string][2][]string{ // the two contents of each kind
		"rekord-pgp": {{"spec", "signature", "content"}, {"spec", "signature", "publicKey", "content"}},
		"helm":       {{"spec", "chart", "provenance", "content"}, {"spec", "publicKey", "content"}},
		"rpm":        {{"spec", "package", "content"}, {"spec", "publicKey", "content"}},
		"alpine":     {{"spec", "package", "content"}, {"spec", "publicKey", "content"}},
		"jar":        {{"spec", "archive", "content"}, {"spec", "archive", "content"}},
		"cose":       {{"spec", "message"}, {"spec", "publicKey"}},
		"rfc3161":    {{"spec", "tsr", "content"}, {"spec", "tsr", "content"}},
	}
	for _, name := range []string{"rekord-pgp-binary", "rekord-x509", "rekord-minisign", "rekord-ssh-rsa"} {
		at[name] = at["rekord-pgp"]
	}
	for name, paths := range at {
		f.Add(name, contentAt(f, name, paths[0]...), contentAt(f, name, paths[1]...))
	}
	f.Fuzz(func(t *testing.T, name string, content, key []byte) {
		paths, ok := at[name]
		if !ok {
			return
		}
		proposal := set(t, load(t, name), b64(key), paths[1]...)
		check(t, tlogtest.JSON(t, set(t, proposal, b64(content), paths[0]...)))
	})
}

// FuzzKeyTerm: a key of any format has one term, or is refused as the caller's
// fault.
func FuzzKeyTerm(f *testing.F) {
	for _, name := range goldenNames(f) {
		if format, material, ok := keyOf(f, golden(f, name, "proposed")); ok {
			f.Add(format, material)
		}
	}
	f.Fuzz(func(t *testing.T, format string, material []byte) {
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
