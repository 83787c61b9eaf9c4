package release

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
)

// logged is an entry of a log: a signature, by whom, over what.
type logged struct {
	signature string
	subjects  []string // of the certificate: e-mail addresses
	digest    string   // of the artifact, or of an envelope's payload; hex
}

// hasher is how an entry names a digest.
type hasher struct {
	Value string `json:"value"`
}

// body is what entries of kind hashedrekord and dsse hold.
type body struct {
	Spec struct {
		Data struct {
			Hash hasher `json:"hash"`
		} `json:"data"`
		Signature struct {
			Content   []byte `json:"content"`
			PublicKey struct {
				Content []byte `json:"content"`
			} `json:"publicKey"`
		} `json:"signature"`
		PayloadHash hasher `json:"payloadHash"`
		Signatures  []struct {
			Signature []byte `json:"signature"`
			Verifier  []byte `json:"verifier"`
		} `json:"signatures"`
	} `json:"spec"`
}

// read is the entry, nil if it is by a bare key.
func (b body) read(t *testing.T) *logged {
	t.Helper()
	signature, verifier, digest := b.Spec.Signature.Content, b.Spec.Signature.PublicKey.Content, b.Spec.Data.Hash.Value
	if len(b.Spec.Signatures) == 1 {
		signature, verifier, digest = b.Spec.Signatures[0].Signature, b.Spec.Signatures[0].Verifier, b.Spec.PayloadHash.Value
	}
	block, _ := pem.Decode(verifier)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &logged{string(signature), cert.EmailAddresses, digest}
}

// entriesOf are all entries of the log by the demo user.
func entriesOf(t *testing.T, s *e2etest.Stack) (entries []logged) {
	t.Helper()
	for _, text := range e2etest.LogBodies(t, s) {
		var b body
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		if entry := b.read(t); entry != nil && slices.Contains(entry.subjects, e2etest.DemoUser) {
			entries = append(entries, *entry)
		}
	}
	return entries
}

// wantExplained demands that the journal has the signature of each entry, over the same.
func wantExplained(t *testing.T, entries []logged, lines []release.JournalLine) {
	t.Helper()
	bySignature := map[string]release.JournalLine{}
	for _, l := range lines {
		bySignature[string(l.Signature)] = l
	}
	for _, e := range entries {
		l, ok := bySignature[e.signature]
		if !ok {
			t.Errorf("the log has signature %x, which the journal does not explain", e.signature)
			continue
		}
		if digest := contentDigest(l); digest != e.digest {
			t.Errorf("the log has %s for the signature of %s%s, the journal %s", e.digest, l.Path, l.Image, digest)
		}
	}
}
