package kinds

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"

	pkipgp "github.com/sigstore/rekor/pkg/pki/pgp"
	"golang.org/x/crypto/openpgp"                  //nolint:staticcheck // frozen, but what the library reads keys with
	"golang.org/x/crypto/openpgp/armor"            //nolint:staticcheck // the same
	pgperrors "golang.org/x/crypto/openpgp/errors" //nolint:staticcheck // the same
	"golang.org/x/crypto/openpgp/packet"           //nolint:staticcheck // the same

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
)

// Bounds of a PGP key: each signature that it has over itself is verified
// whenever it is read.
const (
	maxKey     = 64 << 10 // bytes
	maxKeyBits = 8192
	// maxSelfSigned bounds those signatures, of subkeys two each. Keys of twenty
	// years have some dozens; those by others are not verified, and do not count.
	maxSelfSigned = 100
)

// checkPGP looks at the packets of a key before the library reads it. What does
// not parse is left to the library to refuse.
func checkPGP(material []byte) error {
	if len(material) > maxKey {
		return fault.Newf(fault.Invalid, "public key is longer than %d bytes", maxKey)
	}
	var signed selfSigned
	for _, block := range pgpBlocks(material) {
		packets := packet.NewReader(block)
		for range maxKey {
			p, err := packets.Next()
			var unsupported pgperrors.UnsupportedError
			var broken pgperrors.StructuralError
			if errors.As(err, &unsupported) || errors.As(err, &broken) {
				continue // with the next one, as the library does
			}
			if err != nil {
				break
			}
			if err := checkPacket(p); err != nil {
				return err
			}
			if signed.count(p); signed.total > maxSelfSigned {
				return fault.Newf(fault.Invalid, "public key has more than %d signatures over itself", maxSelfSigned)
			}
		}
	}
	return nil
}

// pgpBlocks returns the binary contents of armored blocks, or of binary material.
func pgpBlocks(material []byte) (out []io.Reader) {
	if !bytes.HasPrefix(material, []byte("-----BEGIN PGP")) {
		return []io.Reader{bytes.NewReader(material)}
	}
	for {
		end := bytes.Index(material, []byte("\n-----END PGP"))
		if end < 0 {
			return out
		}
		if line := bytes.IndexByte(material[end+1:], '\n'); line >= 0 {
			end += line + 2
		} else {
			end = len(material)
		}
		if block, err := armor.Decode(bytes.NewReader(material[:end])); err == nil {
			out = append(out, block.Body)
		}
		material = material[end:]
	}
}

// selfSigned counts what the library verifies of keys.
type selfSigned struct {
	keys  []uint64 // seen so far
	total int
}

func (s *selfSigned) count(p packet.Packet) {
	switch p := p.(type) {
	case *packet.PublicKey:
		if s.keys = append(s.keys, p.KeyId); p.IsSubkey {
			s.total += 2
		}
	case *packet.Signature:
		if p.IssuerKeyId == nil || slices.Contains(s.keys, *p.IssuerKeyId) {
			s.total++
		}
	}
}

func checkPacket(p packet.Packet) error {
	key, ok := p.(*packet.PublicKey)
	if _, private := p.(*packet.PrivateKey); private {
		return fault.New(fault.Invalid, "public key holds a private key: send gpg --export, not --export-secret-keys")
	}
	if !ok {
		return nil
	}
	if key.PubKeyAlgo == packet.PubKeyAlgoDSA {
		return fault.New(fault.Invalid, "public key is a DSA key, which is too old for new entries")
	}
	if bits, err := key.BitLength(); err == nil && bits > maxKeyBits {
		return fault.Newf(fault.Invalid, "public key is of %d bits, at most %d are read", bits, maxKeyBits)
	}
	return nil
}

// pgpKey is a key, or several, in canonical form: armored anew, with the
// identities of each sorted. The library puts them in the order of a map, so that
// one entry would have many canonical forms; this is one of them.
type pgpKey struct {
	armored []byte
	emails  []string // sorted
}

func readPGP(material []byte) (pgpKey, error) {
	if err := checkPGP(material); err != nil {
		return pgpKey{}, err
	}
	key, err := pkipgp.NewPublicKey(bytes.NewReader(material))
	if err != nil {
		return pgpKey{}, err
	}
	ring, err := key.KeyRing()
	if err != nil {
		return pgpKey{}, err
	}
	entities, ok := ring.(openpgp.EntityList)
	if !ok {
		return pgpKey{}, errors.New("key ring is not a list")
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		return pgpKey{}, err
	}
	for _, e := range entities {
		if err := serialize(w, e); err != nil {
			return pgpKey{}, err
		}
	}
	if err := w.Close(); err != nil {
		return pgpKey{}, err
	}
	emails := key.EmailAddresses()
	slices.Sort(emails)
	return pgpKey{out.Bytes(), emails}, nil
}

// serialize writes the public parts of a key in the order of RFC 4880 §11.1.
func serialize(w io.Writer, e *openpgp.Entity) error {
	parts := []interface{ Serialize(io.Writer) error }{e.PrimaryKey}
	for _, name := range slices.Sorted(maps.Keys(e.Identities)) {
		id := e.Identities[name]
		parts = append(parts, id.UserId, id.SelfSignature)
		for _, sig := range id.Signatures {
			parts = append(parts, sig)
		}
	}
	for _, sub := range e.Subkeys {
		parts = append(parts, sub.PublicKey, sub.Sig)
	}
	for _, p := range parts {
		if err := p.Serialize(w); err != nil {
			return err
		}
	}
	return nil
}

// pgpAt gives an entry whose key is at path, in PGP's format, its one canonical
// form and the terms of that.
func pgpAt(path ...string) func(spec, made) (made, error) {
	return func(proposed spec, m made) (made, error) {
		if format := proposed.at("signature", "format"); format != nil && format != "pgp" {
			return m, nil // a rekord of another format
		}
		key, err := readPGP(proposed.bytes(path...))
		if err != nil {
			return made{}, err
		}
		canonical, err := decode(m.spec)
		if err != nil {
			return made{}, err
		}
		if len(m.terms) == 0 {
			return made{}, errors.New("canonical form has no terms")
		}
		artifact := m.terms[len(m.terms)-1] // its digest
		out := made{terms: append([]string{entry.DigestTerm(key.armored)}, append(key.emails, artifact)...)}
		out.spec, err = canonical.with(key.armored, path...)
		return out, err
	}
}
