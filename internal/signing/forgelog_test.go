package signing_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"sigstack/internal/pki"
)

// ledger is a log with two leaves, of which the second is an entry. Any of it may
// be wrong; what the log signs, it signs.
type ledger struct {
	v2            bool
	kind, version string
	body          []byte
	logged        []byte // the leaf; nil: body
	index         int64  // of the entry
	proofIndex    int64
	treeSize      int64  // as the proof has it
	size          string // as the checkpoint has it
	origin        string
	signer        string
	tail          string // of the checkpoint's body, after the root
	more          string // signature lines after the log's
	integrated    int64
}

// host is the name of the log.
func (f *forger) host() string {
	u, err := url.Parse(f.stack.URL)
	if err != nil {
		f.tb.Fatal(err)
	}
	return u.Hostname()
}

func (f *forger) json(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		f.tb.Fatal(err)
	}
	text, err = jsoncanonicalizer.Transform(text)
	if err != nil {
		f.tb.Fatal(err)
	}
	return text
}

// verifier is the signer's key as Rekor v1 has it.
func (f *forger) verifier() []byte {
	if f.cert != nil {
		return pki.CertificatesPEM([]*x509.Certificate{f.cert})
	}
	return pki.PublicKeyPEM(f.spki())
}

func (f *forger) spki() []byte {
	spki, err := pki.MarshalPublicKey(f.key.Public())
	if err != nil {
		f.tb.Fatal(err)
	}
	return spki
}

type object = map[string]any

// hashedRekord is a ledger with a hashedrekord 0.0.1 entry.
func (f *forger) hashedRekord(sig, digest []byte) ledger {
	return f.v1("hashedrekord", "0.0.1", object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest)}},
		"signature": object{"content": sig, "publicKey": object{"content": f.verifier()}},
	})
}

// dsse is a ledger with a dsse 0.0.1 entry.
func (f *forger) dsse(sig, payload []byte) ledger {
	sum := sha256.Sum256(payload)
	return f.v1("dsse", "0.0.1", object{
		"envelopeHash": object{"algorithm": "sha256", "value": hexDigest("the envelope's JSON")},
		"payloadHash":  object{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])},
		"signatures":   []object{{"signature": sig, "verifier": f.verifier()}},
	})
}

func (f *forger) v1(kind, version string, spec object) ledger {
	return ledger{
		kind: kind, version: version, body: f.json(object{"apiVersion": version, "kind": kind, "spec": spec}),
		index: 1, proofIndex: 1, treeSize: 2, size: "2",
		origin: f.host() + " - 3904496407287907110", signer: f.host(),
		integrated: f.stack.Now().Unix(),
	}
}

// tile is a ledger with a hashedrekord 0.0.2 entry, as Rekor v2 has it.
func (f *forger) tile(sig, digest []byte) ledger {
	verifier := object{"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": object{"rawBytes": f.spki()}}
	if f.cert != nil {
		verifier = object{"keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": object{"rawBytes": f.cert.Raw}}
	}
	l := f.v1("hashedrekord", "0.0.2", object{"hashedRekordV002": object{
		"data":      object{"algorithm": "SHA2_256", "digest": digest},
		"signature": object{"content": sig, "verifier": verifier},
	}})
	l.v2, l.origin, l.integrated = true, f.host(), 0
	return l
}

// seal has the log sign the ledger and returns the entry.
func (f *forger) seal(l ledger) *tlogEntry {
	leaf := l.logged
	if leaf == nil {
		leaf = l.body
	}
	first, second := sha256.Sum256([]byte("\x00first")), sha256.Sum256(append([]byte{0}, leaf...))
	root := sha256.Sum256(append(append([]byte{1}, first[:]...), second[:]...))
	logSPKI, err := pki.MarshalPublicKey(f.stack.Keys.Log.Public())
	if err != nil {
		f.tb.Fatal(err)
	}
	logID := pki.LogID(logSPKI)
	text := fmt.Sprintf("%s\n%s\n%s\n%s", l.origin, l.size, base64.StdEncoding.EncodeToString(root[:]), l.tail)
	line := base64.StdEncoding.EncodeToString(append(logID[:4:4], f.logSign([]byte(text))...))
	e := &tlogEntry{
		LogIndex: l.index, LogId: &protocommon.LogId{KeyId: logID[:]},
		KindVersion:    &protorekor.KindVersion{Kind: l.kind, Version: l.version},
		IntegratedTime: l.integrated,
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: l.proofIndex, TreeSize: l.treeSize, RootHash: root[:], Hashes: [][]byte{first[:]},
			Checkpoint: &protorekor.Checkpoint{Envelope: text + "\n\u2014 " + l.signer + " " + line + "\n" + l.more},
		},
		CanonicalizedBody: l.body,
	}
	if !l.v2 {
		set := f.logSign(f.json(object{"body": l.body, "integratedTime": l.integrated, "logID": hex.EncodeToString(logID[:]), "logIndex": l.index}))
		e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: set}
	}
	return e
}

func (f *forger) logSign(text []byte) []byte {
	digest := sha256.Sum256(text)
	sig, err := f.stack.Keys.Log.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		f.tb.Fatal(err)
	}
	return sig
}

// cosignatures are n lines by strangers.
func cosignatures(n int) string {
	return strings.Repeat("\u2014 witness.example "+base64.StdEncoding.EncodeToString(make([]byte, 76))+"\n", n)
}

// message is a v0.3 bundle of a message signature.
func (f *forger) message(sig, digest []byte, entries []*tlogEntry, timestamps ...[]byte) *protobundle.Bundle {
	b := f.material(entries, timestamps)
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest}, Signature: sig,
	}}
	return b
}

func (f *forger) material(entries []*tlogEntry, timestamps [][]byte) *protobundle.Bundle {
	m := &protobundle.VerificationMaterial{TlogEntries: entries}
	if f.cert != nil {
		m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: f.cert.Raw}}
	} else {
		m.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "any"}}
	}
	for _, ts := range timestamps {
		if m.TimestampVerificationData == nil {
			m.TimestampVerificationData = &protobundle.TimestampVerificationData{}
		}
		data := m.TimestampVerificationData
		data.Rfc3161Timestamps = append(data.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: ts})
	}
	return &protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", VerificationMaterial: m}
}

func encode(f *forger, b *protobundle.Bundle) []byte {
	text, err := protojson.Marshal(b)
	if err != nil {
		f.tb.Fatal(err)
	}
	return text
}
