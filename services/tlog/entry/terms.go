package entry

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"sigstack/internal/pki"
)

// payloadInToto is the payload type of an in-toto statement.
const payloadInToto = "application/vnd.in-toto+json"

// oidSubjectAltName is the extension of RFC 5280 §4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// maxPayloadTerms bounds the terms of one statement. The digests beyond it, in
// the order of the statement, do not find the entry.
const maxPayloadTerms = 5000

// Terms are the words that a search finds an entry by (contract: rekor-v1.md
// §10), each as Term spells it and none twice in a list.
type Terms struct {
	// Body follow from the logged bytes.
	Body []string
	// Payload are those that the logged bytes do not tell, or only to who has the
	// library of a rare kind: the digests of an in-toto statement's subjects and
	// materials, which are the signer's claims, and every term of a rare kind.
	Payload []string
}

// Term spells a word as the index has it: in lower case, and the digest that 64
// hex digits are with its algorithm in front. Upstream writes the digests of
// keys with it or without, depending on the kind of entry.
func Term(word string) string {
	word = strings.ToLower(word)
	if len(word) == hex.EncodedLen(sha256.Size) && isHex(word) {
		return "sha256:" + word
	}
	return word
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

// KeyTerm is the term of a public key or certificates in PEM. The error is
// fault.Invalid.
func KeyTerm(material []byte) (string, error) {
	v, err := parseVerifier(material)
	if err != nil {
		return "", err
	}
	return DigestTerm(v.pem), nil
}

// DigestTerm is the term of what is searched by its SHA-256, such as a key in
// its canonical form.
func DigestTerm(data []byte) string {
	digest := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(digest[:])
}

// terms are the verifier's: its canonical material, and whom the certificate
// names.
func (v verifier) terms() []string {
	out := []string{DigestTerm(v.pem)}
	if v.leaf != nil {
		for _, name := range subjectNames(v.leaf) {
			out = append(out, Term(name))
		}
	}
	return out
}

// subjectNames are the certificate's subject alternative names, of the kinds
// that Sigstore uses.
func subjectNames(cert *x509.Certificate) []string {
	names := slices.Concat(cert.EmailAddresses, cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return append(names, otherNames(cert)...)
}

// otherNames are those that the CA uses for user names. crypto/x509 passes over
// them.
func otherNames(cert *x509.Certificate) (names []string) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var general []asn1.RawValue
		if _, err := asn1.Unmarshal(ext.Value, &general); err != nil {
			continue // x509 has parsed it: it has no such name
		}
		for _, g := range general {
			var other struct {
				ID    asn1.ObjectIdentifier
				Value string `asn1:"utf8,explicit,tag:0"`
			}
			if g.Class != asn1.ClassContextSpecific || g.Tag != 0 {
				continue
			}
			if _, err := asn1.UnmarshalWithParams(g.FullBytes, &other, "tag:0"); err == nil && other.ID.Equal(pki.OIDOtherName) {
				names = append(names, other.Value)
			}
		}
	}
	return names
}

// statement is what is read of an in-toto statement: the digests of its
// subjects, and those of a SLSA provenance's materials.
type statement struct {
	Subject   []digests `json:"subject"`
	Predicate struct {
		Materials []digests `json:"materials"`
	} `json:"predicate"`
}

type digests struct {
	Digest map[string]string `json:"digest"`
}

// statementTerms reads the terms of a payload. What is not as in-toto has it is
// passed over: it was signed, so that it is logged, whatever it says.
func statementTerms(payloadType string, payload []byte) []string {
	if payloadType != payloadInToto {
		return nil
	}
	var s statement
	_ = json.Unmarshal(payload, &s) // goes on behind a member of another type
	var out []string
	for _, d := range slices.Concat(s.Subject, s.Predicate.Materials) {
		of := make([]string, 0, len(d.Digest))
		for algorithm, value := range d.Digest {
			of = append(of, Term(algorithm+":"+value))
		}
		slices.Sort(of) // maps have no order
		out = append(out, of...)
	}
	out = Unique(out)
	return out[:min(len(out), maxPayloadTerms)]
}

// Unique drops repetitions, keeping the order.
func Unique(words []string) []string {
	seen := make(map[string]bool, len(words))
	return slices.DeleteFunc(words, func(w string) bool {
		twice := seen[w]
		seen[w] = true
		return twice
	})
}

// BodyTerms reads Terms.Body back from a canonical entry. Of a kind whose terms
// are all in Terms.Payload, and of what another server logged, there are none.
func BodyTerms(body []byte) []string {
	var e struct {
		Kind string `json:"kind"`
		Spec struct {
			Data      struct{ Hash loggedHash }
			Signature struct{ PublicKey struct{ Content []byte } }
			// dsse
			EnvelopeHash, PayloadHash loggedHash
			Signatures                []struct{ Verifier []byte }
			// intoto
			Content struct {
				Hash, PayloadHash loggedHash
				Envelope          *struct{ Signatures []struct{ PublicKey []byte } }
			}
			PublicKey json.RawMessage
		}
	}
	if json.Unmarshal(body, &e) != nil {
		return nil
	}
	var out []string
	switch s := e.Spec; e.Kind {
	case "hashedrekord":
		out = append(materialTerms(s.Signature.PublicKey.Content), s.Data.Hash.term())
	case "dsse":
		for _, sig := range s.Signatures {
			out = append(out, materialTerms(sig.Verifier)...)
		}
		out = append(out, s.EnvelopeHash.term(), s.PayloadHash.term())
	case "intoto":
		if env := s.Content.Envelope; env != nil { // 0.0.2, whose hash nobody can check
			for _, sig := range env.Signatures {
				out = append(out, materialTerms(sig.PublicKey)...)
			}
			return Unique(append(out, s.Content.PayloadHash.term()))
		}
		var material []byte
		if json.Unmarshal(s.PublicKey, &material) != nil {
			return nil
		}
		out = append(materialTerms(material), s.Content.Hash.term(), s.Content.PayloadHash.term())
	}
	return Unique(out)
}

// loggedHash is a digest as entries have it.
type loggedHash struct{ Algorithm, Value string }

func (h loggedHash) term() string { return Term(h.Algorithm + ":" + h.Value) }

// materialTerms are the terms of a logged verifier, whose chain was checked then.
func materialTerms(material []byte) []string {
	v, err := parseVerifier(material)
	if err != nil {
		return nil
	}
	return v.terms()
}
