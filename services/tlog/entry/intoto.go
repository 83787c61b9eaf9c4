package entry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"sigstack/internal/fault"
)

// Bounds of what an intoto 0.0.2 logs as it was sent, in bytes. Without them an
// entry could carry megabytes that nothing verifies.
const (
	maxLoggedText = 1 << 10  // payload type, key ID
	maxLoggedSig  = 4 << 10  // a signature's base64
	maxLoggedKey  = 64 << 10 // a public key's or chain's PEM, comments and all
)

// InTotoV001 is the Canonicalizer of intoto 0.0.1: an envelope of which at least
// one signature is the key's. The envelope itself is not logged; hashes that the
// proposal brings are not read.
func InTotoV001(spec json.RawMessage, permitted Algorithms) (Content, error) {
	root, err := parseObject("spec", spec)
	if err != nil {
		return Content{}, err
	}
	content, err := root.object("content")
	if err != nil {
		return Content{}, err
	}
	text, err := content.text("envelope")
	if err != nil {
		return Content{}, err
	}
	material, err := root.base64("publicKey")
	if err != nil {
		return Content{}, err
	}
	env, err := parseEnvelope(text)
	if err != nil {
		return Content{}, err
	}
	if len(env.payload) == 0 || env.payloadType == "" {
		return Content{}, fault.New(fault.Invalid, "envelope has an empty payload or payload type")
	}
	v, err := parseVerifier(material)
	if err != nil {
		return Content{}, err
	}
	if err := env.verifyAny(v, permitted); err != nil {
		return Content{}, err
	}
	terms := func() Terms { return env.terms(map[string]verifier{"": v}) }
	return Content{canonicalV001(env, v), terms, env.payload}, nil
}

// verifyAny demands one signature that v verifies. What else signed the envelope
// is not logged, so that it need not verify.
func (e envelopeDSSE) verifyAny(v verifier, permitted Algorithms) error {
	if err := permitted.permitMessage(v.key); err != nil {
		return err
	}
	message := e.signedBytes()
	digest := sha256.Sum256(message)
	for _, sig := range e.signatures {
		if verifyMessage(v.key, message, digest[:], sig) {
			return nil
		}
	}
	return fault.New(fault.Invalid, "public key does not verify any signature of the envelope")
}

// canonicalV001 encodes the spec in RFC 8785 order; every value is hex or base64.
func canonicalV001(e envelopeDSSE, v verifier) []byte {
	var out []byte
	out = append(out, `{"content":{"hash":`...)
	out = appendHash(out, e.textHash)
	out = append(out, `,"payloadHash":`...)
	out = appendHash(out, e.payloadHash)
	out = append(out, `},"publicKey":"`...)
	out = base64.StdEncoding.AppendEncode(out, v.pem)
	return append(out, `"}`...)
}

// inTotoV002 is the content of an intoto 0.0.2.
type inTotoV002 struct {
	payloadType string
	payload     []byte
	signatures  []inTotoSignature
	hash        string // of the client's envelope, in hex; nobody can check it
}

// inTotoSignature is one signature with the key that made it. What is logged is
// what was sent, not the canonical form of the key.
type inTotoSignature struct {
	keyID    string // "": none
	text     []byte // base64 of the signature
	sig      []byte
	material []byte // PEM
}

// InTotoV002 is the Canonicalizer of intoto 0.0.2: an envelope as members, its
// payload and signatures in base64 twice. The payload is not logged. Unlike the
// reference server it takes a signature only with the key that made it: beside
// another's it would be logged as that one's.
func InTotoV002(spec json.RawMessage, permitted Algorithms) (Content, error) {
	in, err := parseInTotoV002(spec)
	if err != nil {
		return Content{}, err
	}
	env := envelopeDSSE{payloadType: in.payloadType, payload: in.payload, payloadHash: sha256.Sum256(in.payload)}
	message := env.signedBytes()
	digest := sha256.Sum256(message)
	found := make([]verifier, len(in.signatures))
	for i, s := range in.signatures {
		if found[i], err = parseVerifier(s.material); err != nil {
			return Content{}, err
		}
		if err := permitted.permitMessage(found[i].key); err != nil {
			return Content{}, err
		}
		if !verifyMessage(found[i].key, message, digest[:], s.sig) {
			return Content{}, fault.Newf(fault.Invalid, "signature %d of the envelope does not verify with its public key", i)
		}
	}
	terms := func() Terms {
		var body []string
		for _, v := range found {
			body = append(body, v.terms()...)
		}
		body = append(body, "sha256:"+hex.EncodeToString(env.payloadHash[:]))
		return Terms{Body: Unique(body), Payload: statementTerms(in.payloadType, in.payload)}
	}
	return Content{in.canonical(env.payloadHash), terms, in.payload}, nil
}

func parseInTotoV002(spec json.RawMessage) (in inTotoV002, err error) {
	root, err := parseObject("spec", spec)
	if err != nil {
		return in, err
	}
	content, err := root.object("content")
	if err != nil {
		return in, err
	}
	if in.hash, err = clientHash(content); err != nil {
		return in, err
	}
	env, err := content.object("envelope")
	if err != nil {
		return in, err
	}
	if in.payloadType, err = env.loggedText("payloadType"); err != nil {
		return in, err
	}
	if in.payloadType == "" {
		return in, fault.Newf(fault.Invalid, "%s is empty", env.at("payloadType"))
	}
	inner, err := env.base64("payload")
	if err != nil {
		return in, err
	}
	if in.payload, err = decodeBase64(env.at("payload"), string(inner)); err != nil {
		return in, err
	}
	in.signatures, err = parseInTotoSignatures(env)
	return in, err
}

// clientHash reads the digest that the client made of its envelope.
func clientHash(content object) (string, error) {
	hash, err := content.object("hash")
	if err != nil {
		return "", err
	}
	algorithm, err := hash.text("algorithm")
	if err != nil {
		return "", err
	}
	value, err := hash.text("value")
	if err != nil {
		return "", err
	}
	if algorithm != "sha256" || len(value) != hex.EncodedLen(sha256.Size) || !isHex(value) {
		return "", fault.Newf(fault.Invalid, "%s is not a SHA-256 in 64 hex digits", content.at("hash"))
	}
	return value, nil
}

func parseInTotoSignatures(env object) ([]inTotoSignature, error) {
	items, err := env.array("signatures")
	if err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > maxSignatures {
		return nil, fault.Newf(fault.Invalid, "%s must hold 1 to %d signatures", env.at("signatures"), maxSignatures)
	}
	out := make([]inTotoSignature, len(items))
	for i, item := range items {
		o, err := parseObject(fmt.Sprintf("%s[%d]", env.at("signatures"), i), item)
		if err != nil {
			return nil, err
		}
		if out[i], err = parseInTotoSignature(o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseInTotoSignature(o object) (s inTotoSignature, err error) {
	if o.has("keyid") {
		if s.keyID, err = o.loggedText("keyid"); err != nil {
			return s, err
		}
	}
	if s.text, err = o.base64("sig"); err != nil {
		return s, err
	}
	if s.sig, err = decodeBase64(o.at("sig"), string(s.text)); err != nil {
		return s, err
	}
	if s.material, err = o.base64("publicKey"); err != nil {
		return s, err
	}
	if len(s.text) > maxLoggedSig || len(s.material) > maxLoggedKey {
		return s, fault.Newf(fault.Invalid, "%s is longer than a signature and its key are", o.path)
	}
	return s, nil
}

// loggedText reads a string that is logged as it is.
func (o object) loggedText(name string) (string, error) {
	s, err := o.text(name)
	if err == nil && len(s) > maxLoggedText {
		return "", fault.Newf(fault.Invalid, "%s is longer than %d bytes", o.at(name), maxLoggedText)
	}
	return s, err
}

// canonical encodes the spec in RFC 8785 order.
func (in inTotoV002) canonical(payloadHash [sha256.Size]byte) []byte {
	var out []byte
	out = append(out, `{"content":{"envelope":{"payloadType":`...)
	out = appendText(out, in.payloadType)
	out = append(out, `,"signatures":[`...)
	for i, s := range in.signatures {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		if s.keyID != "" {
			out = append(out, `"keyid":`...)
			out = append(appendText(out, s.keyID), ',')
		}
		out = append(out, `"publicKey":"`...)
		out = base64.StdEncoding.AppendEncode(out, s.material)
		out = append(out, `","sig":"`...)
		out = base64.StdEncoding.AppendEncode(out, s.text)
		out = append(out, `"}`...)
	}
	out = append(out, `]},"hash":{"algorithm":"sha256","value":"`...)
	out = append(out, in.hash...)
	out = append(out, `"},"payloadHash":`...)
	out = appendHash(out, payloadHash)
	return append(out, `}}`...)
}

// appendText encodes a string as RFC 8785 §3.2.2.2 has it: only what JSON
// demands is escaped, in the shortest way.
func appendText(out []byte, s string) []byte {
	short := map[byte]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\'}
	out = append(out, '"')
	for i := range len(s) {
		c := s[i]
		if e, ok := short[c]; ok {
			out = append(out, '\\', e)
		} else if c < ' ' {
			out = fmt.Appendf(out, `\u%04x`, c)
		} else {
			out = append(out, c)
		}
	}
	return append(out, '"')
}
