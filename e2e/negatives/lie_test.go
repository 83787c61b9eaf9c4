package negatives

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"testing"
)

// lie is what the log would answer if it had taken another body: its own key
// promises the entry, and signs a tree that holds nothing else (contract:
// rekor-v1.md §3 to §5).
func (f *forge) lie(t *testing.T, entry loggedEntry, body []byte) loggedEntry {
	t.Helper()
	entry.Body = body
	entry.Verification.SET = f.logSigns(t, []byte(text(object{ // in the order of RFC 8785
		"body": body, "integratedTime": entry.IntegratedTime, "logID": entry.LogID, "logIndex": entry.LogIndex,
	})))
	leaf := sha256.Sum256(append([]byte{0}, body...))
	proof := &entry.Verification.Proof
	proof.Hashes, proof.LogIndex, proof.TreeSize = nil, 0, 1
	proof.RootHash = hex.EncodeToString(leaf[:])
	proof.Checkpoint = f.sealed(t, f.host(t), fmt.Sprintf("%s - 1\n1\n%s\n", f.host(t), base64.StdEncoding.EncodeToString(leaf[:])))
	return entry
}

// sealed is a note that the log's key signs, under a name.
func (f *forge) sealed(t *testing.T, name, note string) string {
	t.Helper()
	id := sha256.Sum256(f.log.SPKI())
	signature := append(id[:4:4], f.logSigns(t, []byte(note))...)
	return fmt.Sprintf("%s\n— %s %s\n", note, name, base64.StdEncoding.EncodeToString(signature))
}

// host is the log's name in checkpoints.
func (f *forge) host(t *testing.T) string {
	t.Helper()
	at, err := url.Parse(f.stack.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at.Hostname()
}

func (f *forge) logSigns(t *testing.T, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := f.log.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}
