// Package tlogtest judges a Rekor v1 log from outside: it proposes entries and
// recomputes everything in an answer from public bytes (contract: rekor-v1.md
// §2-§5). It is for tests and imports nothing of the product, so that one
// mistake cannot be in both.
package tlogtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// strictBase64 knows one spelling of each value.
var strictBase64 = base64.StdEncoding.Strict()

// Log is what a client knows of a log beforehand.
type Log struct {
	Host   string // of its URL: the name that signs checkpoints
	TreeID int64
	Key    []byte // DER SubjectPublicKeyInfo, ECDSA P-256
	First  uint64 // global index of the tree's first entry
}

// Entry is a LogEntry that was checked.
type Entry struct {
	ID             string // 80 hex digits
	Body           []byte // canonical entry
	IntegratedTime int64  // seconds
	LogIndex       uint64 // global
	Head           Head   // of the inclusion proof and its checkpoint
	SET            []byte
}

// Head is a checkpoint that was checked.
type Head struct {
	Size uint64
	Root []byte
	Note string
}

// wireEntry is a LogEntry's value, its members in the order of the wire.
type wireEntry struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       uint64 `json:"logIndex"`
	Verification   struct {
		InclusionProof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   uint64   `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   uint64   `json:"treeSize"`
		} `json:"inclusionProof"`
		SignedEntryTimestamp string `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// CheckEntry verifies the bytes of a LogEntry: their exact spelling, the entry
// ID, the signed entry timestamp, the inclusion proof and the checkpoint.
func (l Log) CheckEntry(answer []byte) (Entry, error) {
	id, w, err := decodeEntry(answer)
	if err != nil {
		return Entry{}, err
	}
	body, err := strictBase64.DecodeString(w.Body)
	if err != nil {
		return Entry{}, fmt.Errorf("body: %w", err)
	}
	leaf := LeafHash(body)
	if want := fmt.Sprintf("%016x%x", l.TreeID, leaf); id != want {
		return Entry{}, fmt.Errorf("entry ID %s, want %s", id, want)
	}
	set, err := l.checkSET(w)
	if err != nil {
		return Entry{}, err
	}
	p := w.Verification.InclusionProof
	if p.LogIndex+l.First != w.LogIndex {
		return Entry{}, fmt.Errorf("index %d in a tree that begins at %d, but %d in the log", p.LogIndex, l.First, w.LogIndex)
	}
	head, err := l.CheckCheckpoint(p.Checkpoint)
	if err != nil {
		return Entry{}, err
	}
	hashes, err := decodeHashes(p.Hashes)
	if err != nil {
		return Entry{}, err
	}
	root, err := rootFromInclusion(leaf, p.LogIndex, p.TreeSize, hashes)
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(root, head.Root) || p.RootHash != hex.EncodeToString(root) || p.TreeSize != head.Size {
		return Entry{}, fmt.Errorf("proof leads to %x of %d, says %s, checkpoint %x of %d", root, p.TreeSize, p.RootHash, head.Root, head.Size)
	}
	return Entry{id, body, w.IntegratedTime, w.LogIndex, head, set}, nil
}

// decodeEntry reads a LogEntry and demands the one spelling that every client
// can read: known members in order, no white space, one final newline.
func decodeEntry(answer []byte) (string, wireEntry, error) {
	var m map[string]wireEntry
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return "", wireEntry{}, fmt.Errorf("decode entry: %w", err)
	}
	if len(m) != 1 {
		return "", wireEntry{}, fmt.Errorf("%d keys in a log entry, want 1", len(m))
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return "", wireEntry{}, err
	}
	if !bytes.Equal(again.Bytes(), answer) {
		return "", wireEntry{}, fmt.Errorf("spelling: got\n%q, want\n%q", answer, again.Bytes())
	}
	for id, w := range m {
		if w.Verification.InclusionProof.Hashes == nil {
			return "", wireEntry{}, errors.New("hashes is null")
		}
		return id, w, nil
	}
	panic("unreachable")
}

func decodeHashes(list []string) ([][]byte, error) {
	out := [][]byte{}
	for _, s := range list {
		h, err := hex.DecodeString(s)
		if err != nil || len(h) != sha256.Size || s != strings.ToLower(s) {
			return nil, fmt.Errorf("hash %q is not 64 lower-case hex digits", s)
		}
		out = append(out, h)
	}
	return out, nil
}

func (l Log) checkSET(w wireEntry) ([]byte, error) {
	logID := sha256.Sum256(l.Key)
	if w.LogID != hex.EncodeToString(logID[:]) {
		return nil, fmt.Errorf("logID %s, want %x", w.LogID, logID)
	}
	set, err := strictBase64.DecodeString(w.Verification.SignedEntryTimestamp)
	if err != nil {
		return nil, fmt.Errorf("signed entry timestamp: %w", err)
	}
	message := fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		w.Body, w.IntegratedTime, w.LogID, w.LogIndex)
	if err := l.verify([]byte(message), set); err != nil {
		return nil, fmt.Errorf("signed entry timestamp: %w", err)
	}
	return set, nil
}

// CheckCheckpoint verifies a checkpoint: five lines, of which the last is the
// one signature.
func (l Log) CheckCheckpoint(note string) (Head, error) {
	lines := strings.Split(note, "\n")
	if len(lines) != 6 || lines[3] != "" || lines[5] != "" {
		return Head{}, fmt.Errorf("checkpoint has other lines than it should: %q", note)
	}
	if want := fmt.Sprintf("%s - %d", l.Host, l.TreeID); lines[0] != want {
		return Head{}, fmt.Errorf("checkpoint origin %q, want %q", lines[0], want)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Head{}, fmt.Errorf("checkpoint size %q", lines[1])
	}
	root, err := strictBase64.DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return Head{}, fmt.Errorf("checkpoint root %q", lines[2])
	}
	b64, ok := strings.CutPrefix(lines[4], "\u2014 "+l.Host+" ")
	if !ok {
		return Head{}, fmt.Errorf("checkpoint signature line %q is not %s's", lines[4], l.Host)
	}
	sig, err := strictBase64.DecodeString(b64)
	logID := sha256.Sum256(l.Key)
	if err != nil || len(sig) < 5 || !bytes.Equal(sig[:4], logID[:4]) {
		return Head{}, fmt.Errorf("checkpoint signature %q has another key hint than %x", b64, logID[:4])
	}
	if err := l.verify([]byte(strings.Join(lines[:3], "\n")+"\n"), sig[4:]); err != nil {
		return Head{}, fmt.Errorf("checkpoint: %w", err)
	}
	return Head{size, root, note}, nil
}

func (l Log) verify(message, sig []byte) error {
	pub, err := x509.ParsePKIXPublicKey(l.Key)
	if err != nil {
		return fmt.Errorf("log key: %w", err)
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("log key is a %T", pub)
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(key, digest[:], sig) {
		return errors.New("signature does not verify with the log's key")
	}
	return nil
}
