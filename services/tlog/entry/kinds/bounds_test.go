package kinds_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/openpgp"        //nolint:staticcheck // makes what the library reads
	"golang.org/x/crypto/openpgp/packet" //nolint:staticcheck // the same

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry/kinds"
)

// manyNames is a PGP key with n identities, each with a signature over it.
func manyNames(tb testing.TB, n int) []byte {
	tb.Helper()
	private := packet.NewECDSAPrivateKey(time.Now(), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb))
	key := &private.PublicKey
	e := &openpgp.Entity{PrimaryKey: key, Identities: map[string]*openpgp.Identity{}}
	for i := range n {
		name := packet.NewUserId(fmt.Sprint(i), "", "")
		sig := &packet.Signature{SigType: packet.SigTypePositiveCert, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256, CreationTime: time.Now(), IssuerKeyId: &key.KeyId}
		if err := sig.SignUserId(name.Id, key, private, nil); err != nil {
			tb.Fatal(err)
		}
		e.Identities[name.Id] = &openpgp.Identity{Name: name.Id, UserId: name, SelfSignature: sig}
	}
	var out bytes.Buffer
	if err := e.Serialize(&out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// TestKeysThatCostTooMuch: a key in a search, which anybody may send, is refused
// where reading it takes long, and taken just below.
func TestKeysThatCostTooMuch(t *testing.T) {
	root := func(n int) []byte {
		var members strings.Builder
		for i := range n {
			fmt.Fprintf(&members, `,"%d":1`, i)
		}
		return []byte(`{"signed":{"_type":"root"` + members.String() + `},"signatures":[{"keyid":"a","sig":"b"}]}`)
	}
	for _, tt := range []struct {
		name, format string
		material     []byte
		want         string
	}{
		{"names", "pgp", manyNames(t, 100), ""},
		{"too many names", "pgp", manyNames(t, 101), "signatures over itself"},
		{"members", "tuf", root(8000), ""},
		{"too many members", "tuf", root(9000), "members"},
	} {
		_, err := kinds.KeyTerm(tt.format, tt.material)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// wideKey is a public key that takes long to verify with.
func wideKey() *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 8999)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func wideCertificate(tb testing.TB, issuer crypto.Signer) *x509.Certificate {
	tb.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, wideKey(), issuer))(tb)))(tb)
}

// signedOften repeats the signature of metadata.
func signedOften(metadata object, n int) object {
	return object{"signed": metadata["signed"], "signatures": slices.Repeat(metadata["signatures"].([]any), n)}
}

// withWideKey gives a root one more key.
func withWideKey(tb testing.TB, root object) object {
	tb.Helper()
	signed := maps.Clone(root["signed"].(object))
	keys := maps.Clone(signed["keys"].(object))
	keys["wide"] = object{"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": object{
		"public": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(wideKey()))(tb)})),
	}}
	signed["keys"] = keys
	return object{"signed": signed, "signatures": root["signatures"]}
}
