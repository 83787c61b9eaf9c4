package negatives

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
)

// forge makes signatures part by part, with the keys of a test stack, which lie
// in the clear. What it makes unchanged every verifier accepts; a test changes
// one part and leaves all others right.
type forge struct {
	stack *e2etest.Stack
	ca    authority
	ctlog keys.Key
}

// authority is a CA: its key, and its chain from the issuing certificate up.
type authority struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func newForge(t *testing.T, s *e2etest.Stack) *forge {
	t.Helper()
	store := keys.Open(filepath.Join(s.Dir, "keys"), nil)
	load := func(name string) keys.Key {
		key, err := store.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	chain, err := pki.ParseCertificatesPEM([]byte(e2etest.ReadFile(t, filepath.Join(s.Dir, "keys", "ca.chain.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	return &forge{stack: s, ca: authority{load("ca"), chain}, ctlog: load("ctlog")}
}

// strangerCA returns a CA that nobody trusts, whose names are the stack's.
func (f *forge) strangerCA(t *testing.T) authority {
	t.Helper()
	rootKey, key := newP256(t), newP256(t)
	issuing, root := f.ca.chain[0], f.ca.chain[1]
	newRoot, err := pki.NewRoot(rootKey, root.Subject, root.NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(newRoot, rootKey, key.Public(), issuing.Subject, x509.ExtKeyUsageCodeSigning, issuing.NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, []*x509.Certificate{inter, newRoot}}
}

// certificate is what a leaf is made from.
type certificate struct {
	by            authority
	email, issuer string
	notBefore     time.Time
	spoilSCT      func(signature []byte)
}

// certify issues a leaf like the CA's own for a key, with an SCT by the CT log's
// key inside (contract: ca.md §6 to §8).
func (f *forge) certify(t *testing.T, c certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.SubjectKeyID(key)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    c.notBefore.UTC().Truncate(time.Second),
		NotAfter:     c.notBefore.UTC().Truncate(time.Second).Add(10 * time.Minute),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId: id,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: marshal(t, []asn1.RawValue{
				{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte(c.email)}, // rfc822Name
			})},
			{Id: pki.OIDIssuerV1, Value: []byte(c.issuer)},
			{Id: pki.OIDIssuer, Value: marshal(t, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(c.issuer)})},
		},
	}
	list, err := pki.MarshalSCTList([][]byte{f.sct(t, c, c.sign(t, tmpl, key).RawTBSCertificate)})
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: pki.OIDSCTList, Value: list})
	return c.sign(t, tmpl, key)
}

func (c certificate) sign(t *testing.T, tmpl *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.by.chain[0], key, c.by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// sct signs a precertificate's timestamp (RFC 6962 §3.2): what the CT log would
// answer, for issuers too that it would refuse.
func (f *forge) sct(t *testing.T, c certificate, tbs []byte) []byte {
	t.Helper()
	issuer := sha256.Sum256(c.by.chain[0].RawSubjectPublicKeyInfo)
	stamp := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
	signed := append([]byte{0, 0}, stamp...)            // v1, certificate_timestamp
	signed = append(append(signed, 0, 1), issuer[:]...) // precert_entry
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0) // no extensions
	digest := sha256.Sum256(signed)
	signature, err := f.ctlog.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if c.spoilSCT != nil {
		c.spoilSCT(signature)
	}
	log := sha256.Sum256(f.ctlog.SPKI())
	sct := append([]byte{0}, log[:]...)
	sct = append(append(sct, stamp...), 0, 0)
	sct = append(sct, 4, 3) // SHA-256, ECDSA
	return append(binary.BigEndian.AppendUint16(sct, uint16(len(signature))), signature...)
}

// evidence is everything that a bundle holds.
type evidence struct {
	cert      *x509.Certificate
	digest    [sha256.Size]byte
	signature []byte
	entry     loggedEntry
	timestamp []byte // TimeStampResp, DER
}

// sign signs an artifact under a certificate made from c, logs it and has it
// timestamped, by the stack's own services.
func (f *forge) sign(t *testing.T, c certificate, artifact []byte) *evidence {
	t.Helper()
	key := newP256(t)
	e := &evidence{cert: f.certify(t, c, key.Public()), digest: sha256.Sum256(artifact)}
	var err error
	if e.signature, err = key.Sign(rand.Reader, e.digest[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	e.entry = f.log(t, e)
	stamped := sha256.Sum256(e.signature)
	e.timestamp = f.post(t, "/api/v1/timestamp", object{"artifactHash": stamped[:], "hashAlgorithm": "sha256"})
	return e
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

func (f *forge) log(t *testing.T, e *evidence) loggedEntry {
	t.Helper()
	answer := f.post(t, "/api/v1/log/entries", object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data": object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(e.digest[:])}},
		"signature": object{
			"content":   e.signature,
			"publicKey": object{"content": pki.CertificatesPEM([]*x509.Certificate{e.cert})},
		},
	}})
	var entries map[string]loggedEntry
	if err := json.Unmarshal(answer, &entries); err != nil || len(entries) != 1 {
		t.Fatalf("log answered %s: %v", answer, err)
	}
	for _, entry := range entries {
		return entry
	}
	panic("unreachable")
}

func (f *forge) post(t *testing.T, path string, v any) []byte {
	t.Helper()
	status, answer, err := e2etest.Post(t.Context(), http.DefaultClient, f.stack.URL+path, []byte(text(v)))
	if err != nil || status != http.StatusCreated {
		t.Fatalf("%s answered %d %s: %v", path, status, answer, err)
	}
	return answer
}

// bundle renders a v0.3 bundle.
func (e *evidence) bundle(t *testing.T) string {
	t.Helper()
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	proof := e.entry.Verification.Proof
	hashes := make([][]byte, len(proof.Hashes))
	for i, h := range proof.Hashes {
		hashes[i] = unhex(t, h)
	}
	return text(object{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{
			"certificate": object{"rawBytes": e.cert.Raw},
			"tlogEntries": []object{{
				"logIndex":          number(e.entry.LogIndex),
				"logId":             object{"keyId": unhex(t, e.entry.LogID)},
				"kindVersion":       object{"kind": "hashedrekord", "version": "0.0.1"},
				"integratedTime":    number(e.entry.IntegratedTime),
				"inclusionPromise":  object{"signedEntryTimestamp": e.entry.Verification.SET},
				"canonicalizedBody": e.entry.Body,
				"inclusionProof": object{
					"logIndex": number(proof.LogIndex), "rootHash": unhex(t, proof.RootHash), "treeSize": number(proof.TreeSize),
					"hashes": hashes, "checkpoint": object{"envelope": proof.Checkpoint},
				},
			}},
			"timestampVerificationData": object{"rfc3161Timestamps": []object{{"signedTimestamp": e.timestamp}}},
		},
		"messageSignature": object{
			"messageDigest": object{"algorithm": "SHA2_256", "digest": e.digest[:]},
			"signature":     e.signature,
		},
	})
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
