package kinds_test

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/openpgp"        //nolint:staticcheck // makes what the library reads
	"golang.org/x/crypto/openpgp/packet" //nolint:staticcheck // the same
	"golang.org/x/crypto/ssh"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
	"sigstack/services/tlog/tlogtest"
)

// set returns a proposal with the value at path replaced; nil takes it away.
func set(tb testing.TB, o object, v any, path ...string) object {
	tb.Helper()
	var out object
	if err := json.Unmarshal(tlogtest.JSON(tb, o), &out); err != nil {
		tb.Fatal(err)
	}
	at := out
	for _, name := range path[:len(path)-1] {
		next, ok := at[name].(object)
		if !ok {
			tb.Fatalf("no %s of %q in %v", name, path, o)
		}
		at = next
	}
	if at[path[len(path)-1]] = v; v == nil {
		delete(at, path[len(path)-1])
	}
	return out
}

// load returns a golden proposal.
func load(tb testing.TB, name string) object {
	tb.Helper()
	var out object
	if err := json.Unmarshal(golden(tb, name, "proposed"), &out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// contentAt returns what base64 text at path of a golden holds.
func contentAt(tb testing.TB, name string, path ...string) []byte {
	tb.Helper()
	var v any = load(tb, name)
	for _, p := range path {
		v = v.(object)[p]
	}
	return must(base64.StdEncoding.DecodeString(v.(string)))(tb)
}

// TestSignatures: each entry verifies, and with another's key or artifact none
// does.
func TestSignatures(t *testing.T) {
	others := map[string]object{}
	for name, proposal := range goldens(t) {
		others[name] = proposal
	}
	key, content := []string{"spec", "signature", "publicKey", "content"}, []string{"spec", "data", "content"}
	for _, name := range goldenNames(t) {
		switch mine, other := load(t, name), others[name]; load(t, name)["kind"] {
		case "rekord":
			wantRefused(t, name+", another's key", set(t, mine, at(other, key...), key...), "")
			wantRefused(t, name+", another artifact", set(t, mine, b64([]byte("other")), content...), "")
			wantRefused(t, name+", another's signature", set(t, mine, at(other, "spec", "signature", "content"), "spec", "signature", "content"), "")
			wantRefused(t, name+", another's hash", set(t, mine, object{"algorithm": "sha256", "value": strings.Repeat("ab", 32)}, "spec", "data", "hash"), "SHA mismatch")
		case "helm", "rpm", "alpine":
			wantRefused(t, name+", another's key", set(t, mine, at(other, "spec", "publicKey"), "spec", "publicKey"), "")
		case "cose":
			wantRefused(t, name+", another's key", set(t, mine, at(other, "spec", "publicKey"), "spec", "publicKey"), "")
			wantRefused(t, name+", other data", set(t, mine, object{"aad": b64([]byte("other"))}, "spec", "data"), "")
		case "tuf":
			wantRefused(t, name+", another's root", set(t, mine, at(other, "spec", "root"), "spec", "root"), "")
			wantRefused(t, name+", another's targets", set(t, mine, at(other, "spec", "metadata"), "spec", "metadata"), "")
		}
	}
}

func at(o object, path ...string) any {
	var v any = o
	for _, p := range path {
		v = v.(object)[p]
	}
	return v
}

func wantRefused(t *testing.T, name string, proposal object, message string) {
	t.Helper()
	got, err := parser(t).Parse(tlogtest.JSON(t, proposal))
	switch {
	case err == nil:
		t.Errorf("%s: accepted as %s", name, got.Body)
	case fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), message):
		t.Errorf("%s: refused as %v %q, want %q", name, fault.KindOf(err), fault.Public(err), message)
	case strings.Contains(err.Error(), "reader of the entry failed"):
		t.Errorf("%s: refused by a panic: %v", name, err)
	}
}

// TestRefusals: what the library alone would take, or come to harm by. Each case
// is valid but for one fact.
func TestRefusals(t *testing.T) {
	artifact := []byte("artifact\n")
	ec, rsa1024, rsa2048 := ecKey(t), rsaKey(t, 1024), rsaKey(t, 2048)
	weak := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)
	entity := pgpEntity(t, "packager@example.test")
	armoredKey := armored(t, "PGP PUBLIC KEY BLOCK", pgpPublic(t, entity))
	weakSig, weakLine := sshSign(t, rsa1024, artifact)
	sha1Sig, sha1Line := sshSignWith(t, rsa2048, artifact, ssh.KeyAlgoRSA)
	pkg := contentAt(t, "rpm", "spec", "package", "content")
	cert, other := certified(t, rsa2048), certified(t, ec)
	root, targets := tufPair(t, "2200-01-01T00:00:00Z")
	tests := []struct {
		name     string
		proposal object
		message  string
	}{
		{"rekord of RSA 1024", x509Rekord(t, rsa1024, tlogtest.SignerOf(t, rsa1024).Material, artifact), "not permitted"},
		{"rekord of P-224", x509Rekord(t, weak, tlogtest.SignerOf(t, weak).Material, artifact), "not permitted"},
		{"rekord by an SSH key of 1024 bits", rekordOf("ssh", artifact, weakSig, weakLine), "RSA of 1024 bits"},
		{"rekord by SSH over SHA-1", rekordOf("ssh", artifact, sha1Sig, sha1Line), "RSA over SHA-1"},
		{"rekord of no format", set(t, load(t, "rekord-ssh-rsa"), nil, "spec", "signature", "format"), "format is none of"},
		{"rekord of unknown format", set(t, load(t, "rekord-ssh-rsa"), "pkcs7", "spec", "signature", "format"), "format is none of"},
		{"rekord without content", set(t, load(t, "rekord-x509"), nil, "spec", "data", "content"), "content"},
		{"rekord with a hash only", set(t, load(t, "rekord-x509"), object{"hash": object{"algorithm": "sha256", "value": strings.Repeat("ab", 32)}}, "spec", "data"), "data content"},
		{"rekord with a huge signature", set(t, load(t, "rekord-pgp"), b64(make([]byte, 65<<10)), "spec", "signature", "content"), "longer than"},
		{"rekord with a huge key", set(t, load(t, "rekord-pgp"), b64(make([]byte, 65<<10)), "spec", "signature", "publicKey", "content"), "longer than"},
		{"rekord with a private key", rekordOf("pgp", artifact, pgpSign(t, entity, artifact), slices.Concat(pgpPublic(t, entity), pgpPrivate(t, entity))), "private key"},
		{"rekord with an armored private key", rekordOf("pgp", artifact, pgpSign(t, entity, artifact), armored(t, "PGP PRIVATE KEY BLOCK", pgpPrivate(t, entity))), "private key"},
		{"rekord with a key of 9000 bits", rekordOf("pgp", artifact, pgpSign(t, entity, artifact), pgpWide(t, 9000)), "of 9000 bits"},
		{"rekord in a list", set(t, load(t, "rekord-x509"), []any{}, "spec"), "JSON object"},
		{"rekord, deep", set(t, load(t, "rekord-x509"), deep(40), "spec", "x"), "nested deeper"},
		{"helm of two files", helmOf(provenance(t, entity, chartFile()+strings.Replace(chartFile(), "chart", "other", 1)), armoredKey), "names 2 files"},
		{"helm of no file", helmOf(provenance(t, entity, "  {}\n"), armoredKey), "names 0 files"},
		{"helm that is huge", helmOf(make([]byte, 1<<20+1), armoredKey), "longer than"},
		{"helm without a signature", helmOf([]byte("x"), armoredKey), "decode provenance"},
		{"cose without data", set(t, load(t, "cose"), nil, "spec", "data"), "spec.data is missing"},
		{"cose without message", set(t, load(t, "cose"), nil, "spec", "message"), ""},
		{"alpine that unpacks to more", alpineOf(slices.Concat(tgz(t, tarFile{".SIGN", make([]byte, 1<<20)}), tgz(t), tgz(t)), tlogtest.SignerOf(t, rsa2048).Material), "unpacks to more"},
		{"alpine whose control part unpacks to more", alpineOf(slices.Concat(tgz(t, tarFile{".SIGN", []byte("x")}), tgz(t, tarFile{".PKGINFO", make([]byte, 1<<20)}), tgz(t)), tlogtest.SignerOf(t, rsa2048).Material), "unpacks to more"},
		{"alpine that lies about a size", alpineOf(slices.Concat(tgz(t, tarFile{".SIGN", []byte("x")}), lyingTGZ(t), tgz(t)), tlogtest.SignerOf(t, rsa2048).Material), "has a file of 1099511627776 bytes"},
		{"alpine with more data", alpineOf(append(apk(t, rsa2048, ""), 'x'), tlogtest.SignerOf(t, rsa2048).Material), "checksum for data"},
		{"jar with large metadata", jarOf(jar(t, rsa2048, certsOf(cert), tarFile{"META-INF/LICENSE.txt", make([]byte, 1<<20+1)})), "metadata of the archive"},
		{"alpine with large information", alpineOf(apk(t, rsa2048, strings.Repeat("a = b\n", 11_000)), tlogtest.SignerOf(t, rsa2048).Material), "has a file of"},
		{"jar with a key of 9000 bits", jarOf(jar(t, rsa2048, append(certsOf(wideCertificate(t, rsa2048)), cert))), "RSA of 9000 bits"},
		{"jar with a long signature block", jarOf(jar(t, rsa2048, append(slices.Repeat(certsOf(other), 200), cert))), "signature block of the archive is longer"},
		{"jar that unpacks to more", jarOf(jar(t, rsa2048, certsOf(cert), tarFile{"a", make([]byte, 40<<20)}, tarFile{"b", make([]byte, 40<<20)})), "unpacks to more"},
		{"jar with two signature blocks", jarOf(jar(t, rsa2048, certsOf(cert), tarFile{"META-INF/Z.RSA", signedData(t, []byte("x"), ec, certsOf(other))})), "2 signature blocks"},
		{"jar without a signature", jarOf(unsigned(t)), "0 signature blocks"},
		{"rpm cut in its first header", rpmOf(pkg[:110], armoredKey), "within a header"},
		{"rpm cut in its second header", rpmOf(pkg[:len(pkg)-40], armoredKey), "within a header"},
		{"rpm of many items", rpmOf(slices.Concat(rpmLead(), rpmHeader([]rpmEntry{{1002, 4, 1 << 31, []byte("1234")}})), armoredKey), "more than it has room"},
		{"rpm that tells one region often", rpmOf(slices.Concat(rpmLead(), overlapping(1000)), armoredKey), "more than it has room"},
		{"rpm that tells one text often", rpmOf(slices.Concat(rpmLead(), repeated()), armoredKey), "more than it has room"},
		{"rpm of an unknown type", rpmOf(slices.Concat(rpmLead(), rpmHeader([]rpmEntry{{1002, 10, 1, []byte("1234")}})), armoredKey), "out of itself"},
		{"rfc3161 that is none", propose("rfc3161", object{"tsr": object{"content": b64([]byte("x"))}}), ""},
		{"tuf that has expired", tufOf(tufPair(t, "2020-01-01T00:00:00Z")), "expired"},
		{"tuf of many signatures", tufOf(signedOften(root, 17), targets), "17 signatures"},
		{"tuf whose metadata has many signatures", tufOf(root, signedOften(targets, 17)), "17 signatures"},
		{"tuf with a key of 9000 bits", tufOf(withWideKey(t, root), targets), "RSA of 9000 bits"},
		{"tuf that is large", tufOf(root, b64(append(tlogtest.JSON(t, targets), make([]byte, 1<<20)...))), "longer than"},
	}
	stricter := []string{ // than the library, which takes the same bytes
		"rekord of RSA 1024", "rekord of P-224", "rekord by an SSH key of 1024 bits", "rekord by SSH over SHA-1",
		"rekord with a private key", "rekord, deep", "helm of two files", "jar with large metadata",
		"jar that unpacks to more", "jar with two signature blocks",
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, tt.name, tt.proposal, tt.message)
			if !slices.Contains(stricter, tt.name) {
				return // refused there, too, or worse: some of it ends the process
			}
			if _, _, err := upstream(tlogtest.JSON(t, tt.proposal)); err != nil {
				t.Errorf("upstream: %v, want that it accepts it", err)
			}
		})
	}
	twice := bytes.Replace(golden(t, "rekord-x509", "proposed"), []byte(`"format":`), []byte(`"format":"pgp","format":`), 1)
	if _, err := parser(t).Parse(twice); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "member twice") {
		t.Errorf("member twice: %v", err)
	}
}

// TestNothingIsFetched: an entry is what was sent; addresses in its place, which
// old versions of the library fetched, are not read.
func TestNothingIsFetched(t *testing.T) {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = forbidden{t}
	for _, name := range goldenNames(t) {
		if _, err := parser(t).Parse(golden(t, name, "proposed")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		byURL := bytes.ReplaceAll(golden(t, name, "proposed"), []byte(`"content":`), []byte(`"url":"http://127.0.0.1:1/x","was":`))
		if _, err := parser(t).Parse(byURL); err == nil && name != "cose" && name != "cose-plain" {
			t.Errorf("%s: accepted without a content", name)
		}
		both := bytes.ReplaceAll(golden(t, name, "proposed"), []byte(`"content":`), []byte(`"url":"http://127.0.0.1:1/x","content":`))
		if got, err := parser(t).Parse(both); err != nil || !bytes.Equal(got.Body, golden(t, name, "canonical")) {
			t.Errorf("%s: with an address besides: %s, %v", name, got.Body, err)
		}
	}
}

type forbidden struct{ t *testing.T }

func (f forbidden) RoundTrip(r *http.Request) (*http.Response, error) {
	f.t.Errorf("fetched %s", r.URL)
	return nil, http.ErrNotSupported
}

// TestPanic: the library runs into some bytes as into a wall; that is the
// caller's fault, and ours to survive.
func TestPanic(t *testing.T) {
	types := must(kinds.Types([]string{"rfc3161"}))(t)
	spec := json.RawMessage(`{"tsr":{}}`) // the library reads what is not there
	_, err := types[entry.Type{Kind: "rfc3161", Version: "0.0.1"}](spec, nil)
	if fault.KindOf(err) != fault.Invalid {
		t.Errorf("got %v, want that it is invalid", err)
	}
	if err := kinds.Guard(func() error { panic("x") }); fault.KindOf(err) != fault.Invalid || fault.Public(err) != "entry could not be read" || !strings.Contains(err.Error(), "refuse_test.go") {
		t.Errorf("got %v, want an invalid entry and where it failed", err)
	}
}

// TestSignerIsLogged: of a jar's certificates the signer's is logged, where the
// library logs the first, whosever that is.
func TestSignerIsLogged(t *testing.T) {
	key, ec := rsaKey(t, 2048), ecKey(t)
	stranger, signer := certified(t, ec), differing(t, certified(t, key), key)
	for name, certs := range map[string][]*x509.Certificate{"first": certsOf(signer), "last": certsOf(stranger, signer)} {
		proposed := tlogtest.JSON(t, jarOf(jar(t, key, certs)))
		got := must(parser(t).Parse(proposed))(t)
		theirs, terms, err := upstream(proposed)
		if err != nil {
			t.Fatal(err)
		}
		if logsSigner := bytes.Equal(theirs, got.Body); logsSigner != (name == "first") {
			t.Errorf("%s: upstream logs the signer: %v", name, logsSigner)
		}
		if !bytes.Contains(got.Body, []byte(b64(certPEM(signer)))) || bytes.Contains(got.Body, []byte(b64(certPEM(stranger)))) {
			t.Errorf("%s: the signer is not logged: %s", name, got.Body)
		}
		for _, term := range terms {
			if !slices.Contains(got.Terms().Payload, entry.Term(term)) {
				t.Errorf("%s: terms %q, want %q among them", name, got.Terms().Payload, term)
			}
		}
	}
}

// TestJarsigner: OpenJDK's tool puts the issuer's certificate first.
func TestJarsigner(t *testing.T) {
	got := must(parser(t).Parse(must(os.ReadFile("testdata/jarsigner-chain.json"))(t)))(t)
	var e struct {
		Spec struct {
			Signature struct{ PublicKey struct{ Content []byte } }
		}
	}
	if err := json.Unmarshal(got.Body, &e); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(e.Spec.Signature.PublicKey.Content)
	if cert := must(x509.ParseCertificate(block.Bytes))(t); cert.Subject.CommonName != "Signer" {
		t.Errorf("certificate of %s is logged, want the signer's", cert.Subject)
	}
}

func deep(n int) any {
	if n == 0 {
		return 1
	}
	return object{"x": deep(n - 1)}
}

func pgpPrivate(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := e.SerializePrivate(&out, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// pgpWide is a key packet with a modulus of that many bits.
func pgpWide(t *testing.T, bits int) []byte {
	t.Helper()
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	key := rsaKey(t, 2048).PublicKey
	key.N = n
	var out bytes.Buffer
	if err := packet.NewRSAPublicKey(now(), &key).Serialize(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// lyingTGZ is a part of an apk whose file says that it has a terabyte.
func lyingTGZ(t *testing.T) []byte {
	t.Helper()
	return gz(t, tarHeader(t, ".PKGINFO", 1<<40))
}

// differing is the certificate that signs, with a serial number of its own.
func differing(t *testing.T, cert *x509.Certificate, key any) *x509.Certificate {
	t.Helper()
	template := *cert
	template.SerialNumber = big.NewInt(9)
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &template, &template, cert.PublicKey, key))(t)))(t)
}

func unsigned(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	must(w.Create("A.class"))(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// overlapping is a header with n entries of the same bytes.
func overlapping(n int) []byte {
	data := make([]byte, 1000)
	h := rpmHeader(append([]rpmEntry{{1000, 7, 1000, data}}, slices.Repeat([]rpmEntry{{1001, 7, 1000, nil}}, n)...))
	for i := range n { // all of them at offset 0
		copy(h[16+16*(i+1)+8:], []byte{0, 0, 0, 0})
	}
	return h
}

// repeated is a header with entries of the same long text.
func repeated() []byte {
	text := append(bytes.Repeat([]byte("x"), 1000), 0)
	h := rpmHeader(append([]rpmEntry{{1000, 6, 1, text}}, slices.Repeat([]rpmEntry{{1001, 6, 1, nil}}, 50)...))
	for i := range 50 {
		copy(h[16+16*(i+1)+8:], []byte{0, 0, 0, 0})
	}
	return h
}
