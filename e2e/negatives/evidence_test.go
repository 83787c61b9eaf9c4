package negatives

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
)

// signer is who signs: a certified key, or a bare one.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate // nil for a bare key
}

func newSigner(t *testing.T, c certificate) signer {
	t.Helper()
	key := newP256(t)
	return signer{key, c.issue(t, key.Public())}
}

// pem is what the log is told of a signer.
func (s signer) pem(t *testing.T) []byte {
	t.Helper()
	if s.cert != nil {
		return pki.CertificatesPEM([]*x509.Certificate{s.cert})
	}
	return []byte(e2etest.PublicPEM(t, s.key.Public()))
}

func (s signer) sign(t *testing.T, digest []byte) []byte {
	t.Helper()
	signature, err := s.key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// evidence is everything that a bundle holds.
type evidence struct {
	signer    signer
	digest    [sha256.Size]byte // of the artifact, for a message signature
	envelope  *envelope         // for an attestation
	signature []byte
	proposed  object // what the log was asked to take
	entry     loggedEntry
	timestamp []byte // TimeStampResp, DER
}

// envelope is a DSSE envelope with one signature.
type envelope struct {
	payloadType string
	payload     []byte
}

// sign signs an artifact, logs it and has it timestamped, by the stack's own
// services.
func (f *forge) sign(t *testing.T, by signer, artifact []byte) *evidence {
	t.Helper()
	e := &evidence{signer: by, digest: sha256.Sum256(artifact)}
	e.signature = by.sign(t, e.digest[:])
	e.proposed = object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(e.digest[:])}},
		"signature": object{"content": e.signature, "publicKey": object{"content": by.pem(t)}},
	}
	e.entry = f.logEntry(t, e)
	e.timestamp = f.stamp(t, e.signature)
	return e
}

// attest does so for an envelope.
func (f *forge) attest(t *testing.T, by signer, v envelope) *evidence {
	t.Helper()
	e := &evidence{signer: by, envelope: &v}
	// DSSE protocol v1, "pre-authentication encoding".
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(v.payloadType), v.payloadType, len(v.payload), v.payload)
	digest := sha256.Sum256(pae)
	e.signature = by.sign(t, digest[:])
	e.proposed = object{"proposedContent": object{"envelope": text(e.dsse()), "verifiers": [][]byte{by.pem(t)}}}
	e.entry = f.logEntry(t, e)
	e.timestamp = f.stamp(t, e.signature)
	return e
}

func (e *evidence) dsse() object {
	return object{
		"payloadType": e.envelope.payloadType, "payload": e.envelope.payload,
		"signatures": []object{{"sig": e.signature}},
	}
}

// loggedEntry is a Rekor v1 entry as the log answers it.
type loggedEntry struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		SET   []byte `json:"signedEntryTimestamp"`
		Proof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
	} `json:"verification"`
}

// logEntry logs what was proposed.
func (f *forge) logEntry(t *testing.T, e *evidence) loggedEntry {
	t.Helper()
	answer := f.post(t, "/api/v1/log/entries", object{"apiVersion": "0.0.1", "kind": e.kind(), "spec": e.proposed})
	var entries map[string]loggedEntry
	if err := json.Unmarshal(answer, &entries); err != nil || len(entries) != 1 {
		t.Fatalf("log answered %s: %v", answer, err)
	}
	for _, entry := range entries {
		return entry
	}
	panic("unreachable")
}

// stamp has a signature timestamped.
func (f *forge) stamp(t *testing.T, signature []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(signature)
	return f.post(t, "/api/v1/timestamp", object{"artifactHash": digest[:], "hashAlgorithm": "sha256"})
}

func (f *forge) post(t *testing.T, path string, v any) []byte {
	t.Helper()
	status, answer, err := e2etest.Post(t.Context(), e2etest.HTTP, f.stack.URL+path, []byte(text(v)))
	if err != nil || status != http.StatusCreated {
		t.Fatalf("%s answered %d %s: %v", path, status, answer, err)
	}
	return answer
}

// bundle makes a v0.3 bundle, for a test to change.
func (e *evidence) bundle(t *testing.T) object {
	t.Helper()
	material := object{"tlogEntries": []object{e.entry.bundled(t, e.kind())}}
	if e.timestamp != nil {
		material["timestampVerificationData"] = object{"rfc3161Timestamps": []object{{"signedTimestamp": e.timestamp}}}
	}
	if e.signer.cert != nil {
		material["certificate"] = object{"rawBytes": e.signer.cert.Raw}
	} else {
		hint := sha256.Sum256(spki(t, e.signer.key.Public()))
		material["publicKey"] = object{"hint": base64.StdEncoding.EncodeToString(hint[:])} // as cosign has it
	}
	b := object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material}
	if e.envelope != nil {
		b["dsseEnvelope"] = e.dsse()
	} else {
		b["messageSignature"] = object{
			"messageDigest": object{"algorithm": "SHA2_256", "digest": e.digest[:]}, "signature": e.signature,
		}
	}
	return b
}

func (e *evidence) kind() string {
	if e.envelope != nil {
		return "dsse"
	}
	return "hashedrekord"
}

// bundled is an entry as bundles have it.
func (l loggedEntry) bundled(t *testing.T, kind string) object {
	t.Helper()
	proof := l.Verification.Proof
	hashes := make([][]byte, len(proof.Hashes))
	for i, h := range proof.Hashes {
		hashes[i] = unhex(t, h)
	}
	return object{
		"logIndex":          number(l.LogIndex),
		"logId":             object{"keyId": unhex(t, l.LogID)},
		"kindVersion":       object{"kind": kind, "version": "0.0.1"},
		"integratedTime":    number(l.IntegratedTime),
		"inclusionPromise":  object{"signedEntryTimestamp": l.Verification.SET},
		"canonicalizedBody": l.Body,
		"inclusionProof": object{
			"logIndex": number(proof.LogIndex), "rootHash": unhex(t, proof.RootHash), "treeSize": number(proof.TreeSize),
			"hashes": hashes, "checkpoint": object{"envelope": proof.Checkpoint},
		},
	}
}

// number renders an int64 as protobuf's JSON does.
func number(n int64) string { return strconv.FormatInt(n, 10) }

// The parts of a bundle that tests change.
func materialOf(b object) object { return b["verificationMaterial"].(object) }
func entryOf(b object) object    { return materialOf(b)["tlogEntries"].([]object)[0] }
func proofOf(b object) object    { return entryOf(b)["inclusionProof"].(object) }
func setOf(b object) []byte {
	return entryOf(b)["inclusionPromise"].(object)["signedEntryTimestamp"].([]byte)
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
