package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/tlog"

	"sigstack/internal/pki"
)

// checkBody compares the whole body of a Rekor v1 entry with what the bundle
// calls for, byte for byte: members more or twice, or a key with another one
// behind it, are read differently by different verifiers. A v2 entry's body was
// rebuilt for its inclusion proof.
func checkBody(b *Bundle, id *Identity, e *tlog.Entry) error {
	entry := e.TransparencyLogEntry()
	kind := entry.GetKindVersion()
	body := entry.GetCanonicalizedBody()
	verifier, err := verifierPEM(b, id)
	if err != nil {
		return err
	}
	var want any
	switch {
	case e.IsRekorV2():
		return nil
	case kind.GetKind() == "hashedrekord":
		want = b.hashedRekord(verifier)
	case kind.GetKind() == "dsse":
		want, err = b.dsseEntry(body, verifier)
	case kind.GetKind() == "intoto":
		want, err = b.intotoEntry(body)
	default:
		return fmt.Errorf("entries of kind %q are not known", kind.GetKind())
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encode log entry: %w", err)
	}
	if !bytes.Equal(text, body) {
		return fmt.Errorf("the %s entry is not of this signature alone", kind.GetKind())
	}
	return nil
}

// verifierPEM is the key of the bundle's signer as Rekor v1 holds it.
func verifierPEM(b *Bundle, id *Identity) ([]byte, error) {
	if b.cert != nil {
		return pki.CertificatesPEM([]*x509.Certificate{b.cert}), nil
	}
	spki, err := pki.MarshalPublicKey(id.key.public)
	if err != nil {
		return nil, err
	}
	return pki.PublicKeyPEM(spki), nil
}

func (b *Bundle) hashedRekord(verifier []byte) hashedRekord {
	digest, algorithm := b.Digest()
	entry := hashedRekord{APIVersion: "0.0.1", Kind: "hashedrekord"}
	entry.Spec.Data.Hash.Algorithm = algorithm
	entry.Spec.Data.Hash.Value = hex.EncodeToString(digest)
	entry.Spec.Signature.Content = b.rawSignature()
	entry.Spec.Signature.PublicKey.Content = verifier
	return entry
}

// dsseEntry rebuilds a dsse 0.0.1 entry. The envelope's hash is the log's word:
// it is over a JSON text that bundles do not keep.
func (b *Bundle) dsseEntry(body, verifier []byte) (dsseEntry, error) {
	var logged dsseEntry
	if err := json.Unmarshal(body, &logged); err != nil {
		return dsseEntry{}, fmt.Errorf("parse log entry: %w", err)
	}
	return dsseEntry{APIVersion: "0.0.1", Kind: "dsse", Spec: dsseSpec{
		EnvelopeHash: logged.Spec.EnvelopeHash,
		PayloadHash:  hashOf(b.entity.GetDsseEnvelope().GetPayload()),
		Signatures:   []dsseSignature{{Signature: b.rawSignature(), Verifier: verifier}},
	}}, nil
}

// intotoEntry is an intoto 0.0.2 entry as the log stores it (contract rekor-v1 §8).
type intotoEntry struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Content struct {
			Envelope struct {
				Payload     []byte            `json:"payload,omitempty"` // base64 text; logs drop it
				PayloadType string            `json:"payloadType"`
				Signatures  []intotoSignature `json:"signatures"`
			} `json:"envelope"`
			Hash        entryHash `json:"hash"`
			PayloadHash entryHash `json:"payloadHash"`
		} `json:"content"`
	} `json:"spec"`
}

type intotoSignature struct {
	KeyID     string `json:"keyid,omitempty"`
	PublicKey []byte `json:"publicKey"`
	Sig       []byte `json:"sig"` // base64 text
}

// intotoEntry rebuilds an intoto 0.0.2 entry but for what is the client's word:
// the envelope's hash, the key's name and the form of its PEM, whose content
// upstream has compared.
func (b *Bundle) intotoEntry(body []byte) (intotoEntry, error) {
	var want intotoEntry
	if err := json.Unmarshal(body, &want); err != nil {
		return intotoEntry{}, fmt.Errorf("parse log entry: %w", err)
	}
	content := &want.Spec.Content
	if len(content.Envelope.Signatures) != 1 {
		return intotoEntry{}, errors.New("the intoto entry has not one signature")
	}
	key := content.Envelope.Signatures[0].PublicKey
	if _, rest := pem.Decode(key); len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(key, []byte("-----BEGIN ")) {
		return intotoEntry{}, errors.New("the intoto entry holds more than one key")
	}
	envelope := b.entity.GetDsseEnvelope()
	if content.Envelope.Payload != nil {
		content.Envelope.Payload = base64Text(envelope.GetPayload())
	}
	content.Envelope.PayloadType = envelope.GetPayloadType()
	content.PayloadHash = hashOf(envelope.GetPayload())
	content.Envelope.Signatures[0].Sig = base64Text(b.rawSignature())
	return want, nil
}

func base64Text(data []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(data)) }
