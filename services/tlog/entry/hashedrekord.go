package entry

import (
	"crypto"
	_ "crypto/sha256" // crypto.SHA256.Size needs no code, verification does
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"sigstack/internal/fault"
)

// hashedRekord is the content of a hashedrekord 0.0.1.
type hashedRekord struct {
	algorithm string // of the digest: sha256, sha384 or sha512
	value     string // hex, as sent
	signature []byte
	material  []byte // PEM, as sent
}

// HashedRekord is the Canonicalizer of hashedrekord 0.0.1: a signature over the
// digest of an artifact that the log does not see.
func HashedRekord(spec json.RawMessage, permitted Algorithms) (Content, error) {
	h, err := parseHashedRekord(spec)
	if err != nil {
		return Content{}, err
	}
	v, err := parseVerifier(h.material)
	if err != nil {
		return Content{}, err
	}
	if err := h.verify(v, permitted); err != nil {
		return Content{}, err
	}
	return Content{Spec: h.canonical(v), Terms: func() Terms {
		return Terms{Body: append(v.terms(), Term(h.algorithm+":"+h.value))}
	}}, nil
}

func parseHashedRekord(spec json.RawMessage) (h hashedRekord, err error) {
	root, err := parseObject("spec", spec)
	if err != nil {
		return h, err
	}
	data, err := root.object("data")
	if err != nil {
		return h, err
	}
	hash, err := data.object("hash")
	if err != nil {
		return h, err
	}
	if h.algorithm, err = hash.text("algorithm"); err != nil {
		return h, err
	}
	if h.value, err = hash.text("value"); err != nil {
		return h, err
	}
	sig, err := root.object("signature")
	if err != nil {
		return h, err
	}
	if h.signature, err = sig.base64("content"); err != nil {
		return h, err
	}
	key, err := sig.object("publicKey")
	if err != nil {
		return h, err
	}
	h.material, err = key.base64("content")
	return h, err
}

func (h hashedRekord) verify(v verifier, permitted Algorithms) error {
	hash, digest, err := h.digest()
	if err != nil {
		return err
	}
	if err := permitted.permitDigest(v.key, hash); err != nil {
		return err
	}
	if !verifyDigest(v.key, hash, digest, h.signature) {
		return fault.New(fault.Invalid, "signature does not verify with the public key and the hash")
	}
	return nil
}

func (h hashedRekord) digest() (crypto.Hash, []byte, error) {
	hash, ok := map[string]crypto.Hash{
		"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
	}[h.algorithm]
	if !ok {
		return 0, nil, fault.New(fault.Invalid, "spec.data.hash.algorithm is none of sha256, sha384 and sha512")
	}
	digest, err := hex.DecodeString(h.value)
	if err != nil || len(digest) != hash.Size() {
		return 0, nil, fault.Newf(fault.Invalid, "spec.data.hash.value is not %d hex digits", 2*hash.Size())
	}
	return hash, digest, nil
}

// canonical encodes the spec in RFC 8785 order. Every value is hex, base64 or
// from a closed set, so that nothing needs escaping.
func (h hashedRekord) canonical(v verifier) []byte {
	size := base64.StdEncoding.EncodedLen(len(h.signature)) + base64.StdEncoding.EncodedLen(len(v.pem))
	out := make([]byte, 0, size+256)
	out = append(out, `{"data":{"hash":{"algorithm":"`...)
	out = append(out, h.algorithm...)
	out = append(out, `","value":"`...)
	out = append(out, h.value...)
	out = append(out, `"}},"signature":{"content":"`...)
	out = base64.StdEncoding.AppendEncode(out, h.signature)
	out = append(out, `","publicKey":{"content":"`...)
	out = base64.StdEncoding.AppendEncode(out, v.pem)
	return append(out, `"}}}`...)
}
