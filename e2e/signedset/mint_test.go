package signedset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// mint signs with certificates that the stack's CA would not issue, made with the
// keys of the test stack, which lie in the clear.
type mint struct {
	stack *e2etest.Stack
	fake  *signingtest.Stack
}

func newMint(t *testing.T, s *e2etest.Stack) *mint {
	t.Helper()
	chain, err := pki.ParseCertificatesPEM([]byte(e2etest.ReadFile(t, filepath.Join(s.Dir, "keys", "ca.chain.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	fake := &signingtest.Stack{Now: time.Now}
	fake.Keys.CA = signingtest.Authority{Key: loadKey(t, s, "ca"), Chain: chain}
	fake.Keys.CT = loadKey(t, s, "ctlog")
	return &mint{s, fake}
}

func loadKey(t *testing.T, s *e2etest.Stack, name string) *ecdsa.PrivateKey {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "keys", name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LoadPrivateKey(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

// object is JSON.
type object = map[string]any

// When a certificate began and ended, from now.
type window struct{ began, ended time.Duration }

// The CA itself is a few minutes old only, and all its certificates are younger.
var (
	living  = window{-time.Minute, 9 * time.Minute}
	expired = window{-time.Minute, -30 * time.Second}
)

// sign signs a file of a tree anew, by a certificate of the demo user, and leaves
// signature, certificate and bundle beside it. The entry, if it is logged, is changed
// by change.
func (m *mint) sign(t *testing.T, tree, name string, valid window, logged bool, change func(entry object)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := m.fake.IssueAs(key.Public(), e2etest.DemoUser, m.stack.Issuer(), func(leaf *x509.Certificate) {
		now := leaf.NotBefore
		leaf.NotBefore, leaf.NotAfter = now.Add(valid.began), now.Add(valid.ended)
	}, m.fake.Keys.CT)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(read(t, tree, name)))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	material := object{"certificate": object{"rawBytes": cert.Raw}}
	if logged {
		entry := m.log(t, digest[:], signature, pki.CertificatesPEM([]*x509.Certificate{cert}))
		change(entry)
		material["tlogEntries"] = []any{entry}
	}
	bundle := object{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"messageSignature": object{"messageDigest": object{"algorithm": "SHA2_256", "digest": digest[:]}, "signature": signature},
	}
	text, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	write(t, tree, name+signing.BundleSuffix, string(text))
	if (kind{path: name}).bundleOnly() {
		return
	}
	write(t, tree, name+signing.SignatureSuffix, string(signing.EncodeSignature(signature)))
	write(t, tree, name+signing.CertificateSuffix, string(signing.EncodeCertificate(cert)))
}

// log adds a hashedrekord entry to the stack's log, and returns it as bundles have it.
func (m *mint) log(t *testing.T, digest, signature, verifier []byte) object {
	t.Helper()
	proposal, err := json.Marshal(object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest)}},
		"signature": object{"content": signature, "publicKey": object{"content": verifier}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	status, body := e2etest.Send(t, http.MethodPost, m.stack.URL+"/api/v1/log/entries", "application/json", proposal)
	var answer map[string]struct {
		Body           []byte
		IntegratedTime int64
		LogID          string
		LogIndex       int64
		Verification   struct {
			SignedEntryTimestamp []byte
			InclusionProof       struct {
				Checkpoint         string
				Hashes             []string
				LogIndex, TreeSize int64
				RootHash           string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer) != 1 {
		t.Fatalf("the log answers %d: %s (%v)", status, body, err)
	}
	for _, e := range answer {
		proof := e.Verification.InclusionProof
		hashes := make([][]byte, len(proof.Hashes))
		for i, h := range proof.Hashes {
			hashes[i] = unhex(t, h)
		}
		return object{
			"logIndex": text(e.LogIndex), "logId": object{"keyId": unhex(t, e.LogID)}, "integratedTime": text(e.IntegratedTime),
			"kindVersion":      object{"kind": "hashedrekord", "version": "0.0.1"},
			"inclusionPromise": object{"signedEntryTimestamp": e.Verification.SignedEntryTimestamp},
			"inclusionProof": object{
				"logIndex": text(proof.LogIndex), "treeSize": text(proof.TreeSize), "rootHash": unhex(t, proof.RootHash),
				"hashes": hashes, "checkpoint": object{"envelope": proof.Checkpoint},
			},
			"canonicalizedBody": e.Body,
		}
	}
	return nil
}

// text is a number as protobuf's JSON has it.
func text(n int64) string { return strconv.FormatInt(n, 10) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
