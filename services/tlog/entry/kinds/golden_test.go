package kinds_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/go-openapi/runtime"
	"github.com/go-openapi/strfmt"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
	"sigstack/services/tlog/tlogtest"
)

// update makes the proposals that are not there, with new keys, and takes the
// canonical bytes from the reference server's library, not from this package.
var update = flag.Bool("update", false, "write the files that testdata lacks")

func parser(tb testing.TB) entry.Parser {
	tb.Helper()
	return entry.Parser{Types: must(kinds.Types(kinds.All()))(tb), Algorithms: entry.DefaultAlgorithms()}
}

// upstream runs a proposal through the reference server's library, in the order
// of its handler.
func upstream(proposed []byte) (body []byte, terms []string, err error) {
	pe, err := models.UnmarshalProposedEntry(bytes.NewReader(proposed), runtime.JSONConsumer())
	if err != nil {
		return nil, nil, err
	}
	if err := pe.Validate(strfmt.Default); err != nil {
		return nil, nil, err
	}
	e, err := types.CreateVersionedEntry(pe)
	if err != nil {
		return nil, nil, err
	}
	if body, err = types.CanonicalizeEntry(context.Background(), e); err != nil {
		return nil, nil, err
	}
	terms, err = e.IndexKeys()
	return body, terms, err
}

// goldens are proposals of every kind of the library, in every format.
func goldens(t *testing.T) map[string]object {
	ec, rsa2048 := ecKey(t), rsaKey(t, 2048)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	artifact := []byte("artifact\n")
	out := map[string]object{
		"rekord-x509":      x509Rekord(t, ec, tlogtest.SignerOf(t, ec).Material, artifact),
		"rekord-x509-rsa":  x509Rekord(t, rsa2048, tlogtest.SignerOf(t, rsa2048).Material, artifact),
		"rekord-x509-cert": x509Rekord(t, ec, certPEM(certified(t, ec)), artifact),
		"cose":             coseOf(t, ec, "application/vnd.in-toto+json", []byte(`{"subject":[{"digest":{"sha256":"ab"}}]}`), []byte("aad")),
		"cose-plain":       coseOf(t, ec, "text/plain", []byte("x"), nil),
		"alpine":           alpineOf(apk(t, rsa2048, "license = MIT\n"), tlogtest.SignerOf(t, rsa2048).Material),
		"jar":              jarOf(jar(t, rsa2048, certsOf(certified(t, rsa2048)))),
		"rfc3161":          propose("rfc3161", object{"tsr": object{"content": b64(tsr(t))}}),
	}
	entity := pgpEntity(t, "Packager@example.test")
	public := pgpPublic(t, entity)
	sig := pgpSign(t, entity, artifact)
	armoredKey := armored(t, "PGP PUBLIC KEY BLOCK", public)
	out["rekord-pgp"] = rekordOf("pgp", artifact, armored(t, "PGP SIGNATURE", sig), armoredKey)
	out["rekord-pgp-binary"] = rekordOf("pgp", artifact, sig, public)
	out["helm"] = helmOf(provenance(t, entity, chartFile()), armoredKey)
	out["rpm"] = rpmOf(rpm(t, entity), armoredKey)
	for name, hashed := range map[string]bool{"rekord-minisign": false, "rekord-minisign-hashed": true} {
		sig, key := minisign(t, artifact, hashed)
		out[name] = rekordOf("minisign", artifact, sig, key)
	}
	sshSig, line := sshSign(t, ed, artifact)
	out["rekord-ssh-ed25519"] = rekordOf("ssh", artifact, sshSig, line)
	sshSig, line = sshSign(t, rsa2048, artifact)
	out["rekord-ssh-rsa"] = rekordOf("ssh", artifact, sshSig, line)
	root, targets := tufPair(t, "2200-01-01T00:00:00Z")
	out["tuf"] = tufOf(root, targets)
	out["tuf-base64"] = tufOf(b64(tlogtest.JSON(t, root)), b64(tlogtest.JSON(t, targets)))
	return out
}

func writeGoldens(t *testing.T) {
	for name, proposal := range goldens(t) {
		base := filepath.Join("testdata", name)
		if _, err := os.Stat(base + ".proposed.json"); err == nil {
			continue
		}
		proposed := tlogtest.JSON(t, proposal)
		canonical, _, err := upstream(proposed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for ext, data := range map[string][]byte{".proposed.json": proposed, ".canonical.json": canonical} {
			if err := os.WriteFile(base+ext, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func goldenNames(tb testing.TB) []string {
	tb.Helper()
	names, err := filepath.Glob("testdata/*.proposed.json")
	if err != nil || len(names) < 18 {
		tb.Fatalf("%d goldens, %v", len(names), err)
	}
	for i := range names {
		names[i] = strings.TrimSuffix(filepath.Base(names[i]), ".proposed.json")
	}
	return names
}

func golden(tb testing.TB, name, what string) []byte {
	tb.Helper()
	return must(os.ReadFile(filepath.Join("testdata", name+"."+what+".json")))(tb)
}

// TestGolden holds the adapted kinds to the canonical bytes and the terms that
// the reference server's library made of the same proposals.
func TestGolden(t *testing.T) {
	if *update {
		writeGoldens(t)
	}
	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			proposed, want := golden(t, name, "proposed"), golden(t, name, "canonical")
			got, err := parser(t).Parse(proposed)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Body, want) {
				t.Errorf("canonical bytes\n%s, want\n%s", got.Body, want)
			}
			if again, err := jsoncanonicalizer.Transform(got.Body); err != nil || !bytes.Equal(again, got.Body) {
				t.Errorf("RFC 8785 makes of it %s, %v", again, err)
			}
			theirs, terms, err := upstream(proposed)
			if err != nil || !bytes.Equal(theirs, want) {
				t.Errorf("upstream's canonical bytes %s, %v", theirs, err)
			}
			for i := range terms {
				terms[i] = entry.Term(terms[i])
			}
			mine := got.Terms().Payload
			if slices.Sort(terms); !slices.Equal(slices.Sorted(slices.Values(mine)), slices.Compact(terms)) || len(mine) == 0 {
				t.Errorf("terms %q, upstream's %q", mine, terms)
			}
			if len(got.Terms().Body) != 0 {
				t.Errorf("terms %q are said to follow from the body", got.Terms().Body)
			}
		})
	}
}

// TestManyIdentities: the library writes a key's identities in any order; the
// canonical form is one of those, always the same one, and so are the terms.
func TestManyIdentities(t *testing.T) {
	entity := pgpEntity(t, "c@example.test", "a@example.test", "b@example.test")
	artifact := []byte("artifact")
	sig := pgpSign(t, entity, artifact)
	first := must(parser(t).Parse(tlogtest.JSON(t, rekordOf("pgp", artifact, sig, pgpPublic(t, entity)))))(t)
	for range 20 { // Serialize orders them anew
		got := must(parser(t).Parse(tlogtest.JSON(t, rekordOf("pgp", artifact, sig, pgpPublic(t, entity)))))(t)
		if !bytes.Equal(got.Body, first.Body) || !slices.Equal(got.Terms().Payload, first.Terms().Payload) {
			t.Fatalf("canonical bytes\n%s %q, want\n%s %q", got.Body, got.Terms(), first.Body, first.Terms())
		}
	}
	if terms := first.Terms().Payload; len(terms) != 5 || !slices.Equal(terms[1:4], []string{"a@example.test", "b@example.test", "c@example.test"}) {
		t.Errorf("terms %q, want the key's, three addresses and the artifact's", terms)
	}
	term := must(kinds.KeyTerm("pgp", pgpPublic(t, entity)))(t)
	if terms := first.Terms().Payload; terms[0] != term {
		t.Errorf("term %q of the key, searched as %q", terms[0], term)
	}
	proposed := tlogtest.JSON(t, rekordOf("pgp", artifact, sig, pgpPublic(t, entity)))
	for range 500 {
		if theirs, _, err := upstream(proposed); err != nil {
			t.Fatal(err)
		} else if bytes.Equal(theirs, first.Body) {
			return
		}
	}
	t.Error("the library made this canonical form in none of 500 tries")
}

// TestKeyTerms: each golden is found by the key that it was proposed with, in the
// format of its kind.
func TestKeyTerms(t *testing.T) {
	for _, name := range goldenNames(t) {
		format, material, ok := keyOf(t, golden(t, name, "proposed"))
		if !ok {
			continue
		}
		got := must(parser(t).Parse(golden(t, name, "proposed")))(t)
		term, err := kinds.KeyTerm(format, material)
		if err != nil || !slices.Contains(got.Terms().Payload, term) {
			t.Errorf("%s: key's term %q, %v, is none of %q", name, term, err, got.Terms().Payload)
		}
	}
	expired, _ := tufPair(t, "2020-01-01T00:00:00Z")
	if _, err := kinds.KeyTerm("tuf", tlogtest.JSON(t, expired)); err != nil {
		t.Errorf("root that has expired: %v", err)
	}
	for _, format := range append(kinds.Formats(), "none") {
		if _, err := kinds.KeyTerm(format, []byte("x")); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: got %v, want that it is invalid", format, err)
		}
	}
}

// TestAttestation: a cose has its message beside it, no other adapted kind has
// anything.
func TestAttestation(t *testing.T) {
	for _, name := range goldenNames(t) {
		got := must(parser(t).Parse(golden(t, name, "proposed")))(t)
		digest, ok := entry.AttestationDigest(got.Body)
		if want := got.Type.Kind == "cose"; ok != want || (got.Attestation != nil) != want {
			t.Errorf("%s: attestation of %d bytes, %v; want one: %v", name, len(got.Attestation), ok, want)
		}
		if want := sum(got.Attestation); ok && digest != want {
			t.Errorf("%s: digest %x, attestation's %x", name, digest, want)
		}
	}
}

// TestNames: what is taken is what is named.
func TestNames(t *testing.T) {
	if got := kinds.All(); len(got) != 11 || !slices.IsSorted(got) {
		t.Errorf("kinds %q, want 11, sorted", got)
	}
	got := must(kinds.Types([]string{"intoto", "cose"}))(t)
	if len(got) != 3 || got[entry.Type{Kind: "intoto", Version: "0.0.2"}] == nil || got[entry.Type{Kind: "cose", Version: "0.0.1"}] == nil {
		t.Errorf("types %v, want two of intoto, one of cose", got)
	}
	if _, err := kinds.Types([]string{"intoto", "coze"}); err == nil || !strings.Contains(err.Error(), `"coze"`) {
		t.Errorf("unknown kind: %v", err)
	}
	for _, name := range kinds.Default() {
		if slices.Contains([]string{"alpine", "cose", "jar", "rfc3161", "rpm", "tuf"}, name) {
			t.Errorf("%s is on by default", name)
		}
	}
}
