package entry

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"sigstack/internal/fault"
)

// Bounds of a dsse entry: each verifier is tried on each signature, so that one
// entry costs at most the product of both in verifications.
const (
	maxSignatures = 10
	maxVerifiers  = 10
)

// envelopeDSSE is what the log reads of a DSSE envelope.
type envelopeDSSE struct {
	text        string // as sent
	payloadType string
	payload     []byte
	signatures  map[string][]byte // raw signature by its base64 text

	textHash, payloadHash [sha256.Size]byte
}

// DSSE is the Canonicalizer of dsse 0.0.1: every signature of an envelope, each
// with the key that verifies it. The envelope itself is not logged. Key IDs in
// the envelope are hints of the signer and have no say.
func DSSE(spec json.RawMessage, permitted Algorithms) (Content, error) {
	root, err := parseObject("spec", spec)
	if err != nil {
		return Content{}, err
	}
	for _, name := range []string{"envelopeHash", "payloadHash", "signatures"} {
		if root.has(name) {
			return Content{}, fault.Newf(fault.Invalid, "spec.%s is the server's to fill in", name)
		}
	}
	proposed, err := root.object("proposedContent")
	if err != nil {
		return Content{}, err
	}
	text, err := proposed.text("envelope")
	if err != nil {
		return Content{}, err
	}
	env, err := parseEnvelope(text)
	if err != nil {
		return Content{}, err
	}
	materials, err := parseVerifiers(proposed)
	if err != nil {
		return Content{}, err
	}
	found, err := env.verify(materials, permitted)
	if err != nil {
		return Content{}, err
	}
	return Content{Spec: env.canonical(found), Terms: func() Terms { return env.terms(found) }}, nil
}

func parseVerifiers(proposed object) ([][]byte, error) {
	items, err := proposed.array("verifiers")
	if err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > maxVerifiers {
		return nil, fault.Newf(fault.Invalid, "%s must hold 1 to %d keys", proposed.at("verifiers"), maxVerifiers)
	}
	materials := make([][]byte, len(items))
	for i, item := range items {
		path := fmt.Sprintf("%s[%d]", proposed.at("verifiers"), i)
		s, err := decodeText(item)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "%s must be a string", path)
		}
		if materials[i], err = decodeBase64(path, s); err != nil {
			return nil, err
		}
	}
	return materials, nil
}

// parseEnvelope reads the JSON text of a DSSE envelope.
func parseEnvelope(text string) (envelopeDSSE, error) {
	none := envelopeDSSE{}
	if !json.Valid([]byte(text)) {
		return none, fault.New(fault.Invalid, "envelope is not valid JSON")
	}
	root, err := parseObject("envelope", json.RawMessage(text))
	if err != nil {
		return none, err
	}
	payloadType, err := root.text("payloadType")
	if err != nil {
		return none, err
	}
	b64, err := root.text("payload")
	if err != nil {
		return none, err
	}
	payload, err := decodePayload(b64)
	if err != nil {
		return none, err
	}
	signatures, err := parseSignatures(root)
	if err != nil {
		return none, err
	}
	return envelopeDSSE{
		text, payloadType, payload, signatures, sha256.Sum256([]byte(text)), sha256.Sum256(payload),
	}, nil
}

// decodePayload takes both base64 alphabets, as the DSSE envelope specification
// demands of readers. The payload may be empty.
func decodePayload(b64 string) ([]byte, error) {
	payload, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		payload, err = base64.URLEncoding.DecodeString(b64)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "envelope.payload is not padded base64")
	}
	return payload, nil
}

// parseSignatures reads the envelope's signatures. Their text is logged as it
// is, so that only the one standard spelling is accepted; repetitions count once.
func parseSignatures(root object) (map[string][]byte, error) {
	items, err := root.array("signatures")
	if err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > maxSignatures {
		return nil, fault.Newf(fault.Invalid, "envelope.signatures must hold 1 to %d signatures", maxSignatures)
	}
	signatures := map[string][]byte{}
	for i, item := range items {
		o, err := parseObject(fmt.Sprintf("envelope.signatures[%d]", i), item)
		if err != nil {
			return nil, err
		}
		text, err := o.text("sig")
		if err != nil {
			return nil, err
		}
		sig, err := decodeBase64(o.at("sig"), text)
		if err != nil {
			return nil, err
		}
		if base64.StdEncoding.EncodeToString(sig) != text {
			return nil, fault.Newf(fault.Invalid, "%s is not canonical base64", o.at("sig"))
		}
		signatures[text] = sig
	}
	return signatures, nil
}

// verify finds the key for every signature. Keys are tried in order until no
// signature is left without one; each key tried must verify at least one, and
// of several that verify the same signature the last one tried is logged.
func (e envelopeDSSE) verify(materials [][]byte, permitted Algorithms) (map[string]verifier, error) {
	message := e.signedBytes()
	digest := sha256.Sum256(message)
	found := map[string]verifier{}
	for i, material := range materials {
		if len(found) == len(e.signatures) {
			break
		}
		v, err := parseVerifier(material)
		if err != nil {
			return nil, err
		}
		if err := permitted.permitMessage(v.key); err != nil {
			return nil, err
		}
		any := false
		for text, sig := range e.signatures {
			if verifyMessage(v.key, message, digest[:], sig) {
				found[text], any = v, true
			}
		}
		if !any {
			return nil, fault.Newf(fault.Invalid, "verifier %d does not verify any signature of the envelope", i)
		}
	}
	if len(found) != len(e.signatures) {
		return nil, fault.New(fault.Invalid, "envelope has a signature that no verifier verifies")
	}
	return found, nil
}

// signedBytes is the DSSE pre-authentication encoding.
func (e envelopeDSSE) signedBytes() []byte {
	out := make([]byte, 0, len(e.payload)+len(e.payloadType)+64)
	out = append(out, "DSSEv1 "...)
	out = strconv.AppendInt(out, int64(len(e.payloadType)), 10)
	out = append(out, ' ')
	out = append(out, e.payloadType...)
	out = append(out, ' ')
	out = strconv.AppendInt(out, int64(len(e.payload)), 10)
	out = append(out, ' ')
	return append(out, e.payload...)
}

// verifyMessage reports whether sig is key's over message, whose SHA-256 is
// digest: envelopes are signed over SHA-256 with every key but Ed25519.
func verifyMessage(key crypto.PublicKey, message, digest, sig []byte) bool {
	if k, ok := key.(ed25519.PublicKey); ok {
		return ed25519.Verify(k, message, sig)
	}
	return verifyDigest(key, crypto.SHA256, digest, sig)
}

// canonical encodes the spec in RFC 8785 order; every value is hex or base64.
func (e envelopeDSSE) canonical(found map[string]verifier) []byte {
	var out []byte
	out = append(out, `{"envelopeHash":`...)
	out = appendHash(out, e.textHash)
	out = append(out, `,"payloadHash":`...)
	out = appendHash(out, e.payloadHash)
	out = append(out, `,"signatures":[`...)
	for i, text := range slices.Sorted(maps.Keys(found)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"signature":"`...)
		out = append(out, text...)
		out = append(out, `","verifier":"`...)
		out = base64.StdEncoding.AppendEncode(out, found[text].pem)
		out = append(out, `"}`...)
	}
	return append(out, `]}`...)
}

// terms are those of the verifiers, the envelope and its payload.
func (e envelopeDSSE) terms(found map[string]verifier) Terms {
	var body []string
	for _, text := range slices.Sorted(maps.Keys(found)) {
		body = append(body, found[text].terms()...)
	}
	body = append(body, "sha256:"+hex.EncodeToString(e.textHash[:]), "sha256:"+hex.EncodeToString(e.payloadHash[:]))
	return Terms{Body: Unique(body), Payload: statementTerms(e.payloadType, e.payload)}
}

func appendHash(out []byte, digest [sha256.Size]byte) []byte {
	out = append(out, `{"algorithm":"sha256","value":"`...)
	out = hex.AppendEncode(out, digest[:])
	return append(out, `"}`...)
}
