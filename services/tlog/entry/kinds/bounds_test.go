package kinds_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
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
