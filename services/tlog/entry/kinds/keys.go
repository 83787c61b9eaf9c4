package kinds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/sigstore/rekor/pkg/pki"
	"golang.org/x/crypto/ssh"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
)

// Formats returns the formats of public keys that KeyTerm knows.
func Formats() []string { return []string{"pgp", "x509", "minisign", "ssh", "tuf"} }

// KeyTerm is the term that entries are found by whose public key that is: the
// digest of the key's canonical form. Every error is fault.Invalid.
func KeyTerm(format string, material []byte) (term string, err error) {
	if format == "x509" {
		return entry.KeyTerm(material)
	}
	err = guard(func() error {
		canonical, err := canonicalKey(format, material)
		term = entry.DigestTerm(canonical)
		return err
	})
	return term, err
}

func canonicalKey(format string, material []byte) ([]byte, error) {
	switch format {
	case "pgp":
		key, err := readPGP(material)
		return key.armored, err
	case "tuf":
		return canonicalRoot(material)
	case "ssh":
		if err := checkSSH(material); err != nil {
			return nil, err
		}
	}
	if len(material) > maxKey {
		return nil, fault.Newf(fault.Invalid, "public key is longer than %d bytes", maxKey)
	}
	factory, err := pki.NewArtifactFactory(pki.Format(format))
	if err != nil {
		return nil, err
	}
	key, err := factory.NewPublicKey(bytes.NewReader(material))
	if err != nil {
		return nil, err
	}
	return key.CanonicalValue()
}

// canonicalRoot is the canonical form of a TUF root. The library has it only of
// roots that have not expired, and old entries are to be found, too.
func canonicalRoot(material []byte) ([]byte, error) {
	var root struct {
		Signed     json.RawMessage `json:"signed"`
		Signatures []struct {
			KeyID     string `json:"keyid"`
			Signature string `json:"sig"`
		} `json:"signatures"`
	}
	if _, err := decode(material); err != nil { // within its bounds
		return nil, err
	}
	if err := json.Unmarshal(material, &root); err != nil {
		return nil, err
	}
	if len(root.Signed) == 0 || len(root.Signatures) == 0 {
		return nil, fault.New(fault.Invalid, "public key is not a TUF root: it has no member signed or no signatures")
	}
	for i := range root.Signatures {
		root.Signatures[i].Signature = strings.ToLower(root.Signatures[i].Signature)
	}
	data, err := json.Marshal(root)
	if err != nil {
		return nil, err
	}
	return jsoncanonicalizer.Transform(data)
}

// Bounds of RSA in SSH's format: below, others sign with the key; above, each
// verification costs too much.
const minSSHBits, maxSSHBits = 2048, maxKeyBits

// checkSSH refuses keys that are too weak, DSA among them, or too large.
func checkSSH(material []byte) error {
	if len(material) > maxKey {
		return fault.Newf(fault.Invalid, "public key is longer than %d bytes", maxKey)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(material)
	if err != nil {
		return err
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if strings.HasPrefix(key.Type(), "sk-") {
		return nil // in a security key: P-256 or Ed25519
	}
	bare, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return fault.New(fault.Invalid, "public key is of a type that cannot sign entries")
	}
	switch k := bare.CryptoPublicKey().(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minSSHBits || bits > maxSSHBits {
			return fault.Newf(fault.Invalid, "public key is RSA of %d bits, want %d to %d", bits, minSSHBits, maxSSHBits)
		}
		return nil
	default:
		return fault.New(fault.Invalid, "public key is of a type that cannot sign entries")
	}
}

// checkSSHSignature refuses RSA over SHA-1. What does not parse is left to the
// library to refuse.
func checkSSHSignature(armored []byte) error {
	block, _ := pem.Decode(armored)
	if block == nil || len(block.Bytes) < len("SSHSIG") {
		return nil
	}
	var message struct { // PROTOCOL.sshsig, behind its magic
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}
	var sig ssh.Signature
	if ssh.Unmarshal(block.Bytes[len("SSHSIG"):], &message) != nil || ssh.Unmarshal(message.Signature, &sig) != nil {
		return nil
	}
	if sig.Format == ssh.KeyAlgoRSA {
		return fault.New(fault.Invalid, "signature is RSA over SHA-1, which can be forged: sign with rsa-sha2-512")
	}
	return nil
}
