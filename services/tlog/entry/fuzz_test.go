package entry_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// FuzzParse: accepted input is in RFC 8785 form, a canonical hashedrekord is its
// own proposal, and what is refused is the caller's fault.
func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("testdata/*.proposed.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(read(f, name))
	}
	f.Add([]byte(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"proposedContent":{"envelope":"{}","verifiers":[]}}}`))
	f.Fuzz(func(t *testing.T, proposed []byte) {
		got, err := parser().Parse(proposed)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Unprocessable {
				t.Fatalf("refused as %v: %v", k, err)
			}
			return
		}
		jcs, err := jsoncanonicalizer.Transform(got.Body)
		if err != nil || !bytes.Equal(jcs, got.Body) {
			t.Fatalf("canonical bytes %s, RFC 8785 makes of it %s, %v", got.Body, jcs, err)
		}
		if got.Type.Kind != "hashedrekord" {
			return
		}
		again, err := parser().Parse(got.Body)
		if err != nil || !bytes.Equal(again.Body, got.Body) {
			t.Fatalf("canonical bytes %s proposed again: %s, %v", got.Body, again.Body, err)
		}
	})
}

// FuzzKeyMaterial: the canonical form of accepted key material is canonical, and
// spelt as contract rekor-v1.md §7 has it.
func FuzzKeyMaterial(f *testing.F) {
	for _, name := range []string{"p256", "leaf", "chain", "rsa2048", "ed25519", "p521"} {
		var e struct {
			Spec struct {
				Signature struct{ PublicKey struct{ Content []byte } }
			}
		}
		if err := json.Unmarshal(read(f, "testdata/hashedrekord-"+name+".proposed.json"), &e); err != nil {
			f.Fatal(err)
		}
		material := e.Spec.Signature.PublicKey.Content
		f.Add(material)
		f.Add(append([]byte("text\r\n"), bytes.TrimSpace(material)...))
		if name == "p256" {
			f.Add(untidyPEM(material))
		}
	}
	f.Fuzz(func(t *testing.T, material []byte) {
		got, err := entry.CanonicalKey(material)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("refused as %v: %v", fault.KindOf(err), err)
			}
			return
		}
		if !bytes.HasSuffix(got, []byte("-----\n")) || bytes.ContainsAny(got, "\r:") {
			t.Fatalf("canonical key %q", got)
		}
		for line := range bytes.Lines(got) {
			if len(line) > 65 {
				t.Fatalf("line of %d bytes in %q", len(line), got)
			}
		}
		again, err := entry.CanonicalKey(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("canonical key %q read again: %q, %v", got, again, err)
		}
	})
}

// FuzzReader compares the object reader with encoding/json: a proposal's unknown
// members are split wherever their values end, so a misread one would move kind.
func FuzzReader(f *testing.F) {
	good := string(tlogtest.JSON(f, tlogtest.HashedRekord(f, tlogtest.NewSigner(f), crypto.SHA256, []byte("a"))))
	for _, v := range []string{`1`, `"\"}"`, `[{"a":["]"]},null]`, `{}`, `[]`, ` true `, `-1e5`, `"\\"`, `{"kind":"x"}`} {
		f.Add("x", v)
	}
	f.Add("\\u0078\"", `""`)
	f.Fuzz(func(t *testing.T, name, value string) {
		if !json.Valid([]byte(value)) || strings.ContainsRune(name, '\ufffd') || name == "kind" || name == "spec" || name == "apiVersion" {
			return
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		proposed := []byte("{" + string(quoted) + ":" + value + "," + good[1:])
		var std map[string]json.RawMessage
		if json.Unmarshal(proposed, &std) != nil || !bytes.Equal(std["kind"], []byte(`"hashedrekord"`)) {
			return // not UTF-8, or the member is one of ours
		}
		if _, err := parser().Parse(proposed); err != nil && !strings.Contains(err.Error(), "UTF-8") {
			t.Fatalf("%s: %v", proposed, err)
		}
	})
}
