package signingtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/digitorus/timestamp"

	"sigstack/internal/pki"
)

// AddEntry is POST /api/v1/log/entries. Envelopes are logged in their canonical
// form; any other body is logged as it comes, so it has to be canonical.
func (s *Stack) AddEntry(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	stored, err := Canonical(body)
	if err != nil {
		return err
	}
	index := s.appendLeaf(stored)
	w.WriteHeader(http.StatusCreated)
	return s.writeEntry(w, index)
}

// Canonical returns the body that the log stores for a proposed entry: of dsse
// 0.0.1 the hashes and signatures (contract rekor-v1 §8), of others what was sent.
func Canonical(proposed []byte) ([]byte, error) {
	var entry struct {
		Kind string
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers []string
			}
		}
	}
	if err := json.Unmarshal(proposed, &entry); err != nil {
		return nil, err
	}
	if entry.Kind != "dsse" {
		return proposed, nil
	}
	content := entry.Spec.ProposedContent
	var envelope struct {
		Payload    []byte
		Signatures []struct{ Sig string }
	}
	if err := json.Unmarshal([]byte(content.Envelope), &envelope); err != nil {
		return nil, err
	}
	if len(envelope.Signatures) != 1 || len(content.Verifiers) != 1 {
		return nil, errors.New("the fake log takes one signature and one verifier")
	}
	return json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"envelopeHash": hashOf([]byte(content.Envelope)),
		"payloadHash":  hashOf(envelope.Payload),
		"signatures":   []any{map[string]string{"signature": envelope.Signatures[0].Sig, "verifier": content.Verifiers[0]}},
	}})
}

func hashOf(data []byte) map[string]string {
	sum := sha256.Sum256(data)
	return map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
}

// getEntry is GET /api/v1/log/entries/{id}, with an id of 64 or 80 digits.
func (s *Stack) getEntry(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	s.mu.Lock()
	index := slices.IndexFunc(s.leaves, func(leaf [32]byte) bool { return strings.HasSuffix(id, hex.EncodeToString(leaf[:])) })
	s.mu.Unlock()
	if index < 0 {
		return errors.New("no such entry")
	}
	return s.writeEntry(w, index)
}

// appendLeaf returns the index of body, which it appends if it is new.
func (s *Stack) appendLeaf(body []byte) int {
	leaf := sha256.Sum256(append([]byte{0}, body...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.leaves, leaf); i >= 0 {
		return i
	}
	s.leaves = append(s.leaves, leaf)
	s.bodies = append(s.bodies, body)
	return len(s.leaves) - 1
}

// EntryID returns the 80-digit ID of the entry with the given canonical body.
func EntryID(body []byte) string {
	leaf := sha256.Sum256(append([]byte{0}, body...))
	return fmt.Sprintf("%016x%x", uint64(treeID), leaf)
}

func (s *Stack) writeEntry(w io.Writer, index int) error {
	s.mu.Lock()
	leaves := s.leaves
	body := s.bodies[index]
	s.mu.Unlock()
	spki, err := pki.MarshalPublicKey(s.Keys.Log.Public())
	if err != nil {
		return err
	}
	logID := pki.LogID(spki)
	// In the order of RFC 8785, which the promise is signed over.
	promise := struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int    `json:"logIndex"`
	}{body, s.Now().Unix(), hex.EncodeToString(logID[:]), index}
	text, err := json.Marshal(promise)
	if err != nil {
		return err
	}
	set, err := s.signLog(text)
	if err != nil {
		return err
	}
	checkpoint, err := s.checkpoint(leaves, logID)
	if err != nil {
		return err
	}
	path := []string{}
	for _, h := range inclusion(index, leaves) {
		path = append(path, hex.EncodeToString(h[:]))
	}
	root := treeHash(leaves)
	return json.NewEncoder(w).Encode(map[string]any{EntryID(body): map[string]any{
		"body": promise.Body, "integratedTime": promise.IntegratedTime, "logID": promise.LogID, "logIndex": index,
		"verification": map[string]any{
			"signedEntryTimestamp": set,
			"inclusionProof": map[string]any{
				"checkpoint": checkpoint, "hashes": path, "logIndex": index,
				"rootHash": hex.EncodeToString(root[:]), "treeSize": len(leaves),
			},
		},
	}})
}

// checkpoint is the signed note of contract rekor-v1 §5.
func (s *Stack) checkpoint(leaves [][32]byte, logID [32]byte) (string, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", err
	}
	root := treeHash(leaves)
	text := fmt.Sprintf("%s - %d\n%d\n%s\n", u.Hostname(), int64(treeID), len(leaves), base64.StdEncoding.EncodeToString(root[:]))
	sig, err := s.signLog([]byte(text))
	if err != nil {
		return "", err
	}
	line := base64.StdEncoding.EncodeToString(append(logID[:4:4], sig...))
	return text + "\n— " + u.Hostname() + " " + line + "\n", nil
}

func (s *Stack) signLog(text []byte) ([]byte, error) {
	digest := sha256.Sum256(text)
	return s.Keys.Log.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// treeHash is MTH of RFC 6962 §2.1, over at least one leaf hash.
func treeHash(leaves [][32]byte) [32]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	left, right := treeHash(leaves[:k]), treeHash(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// inclusion is PATH of RFC 6962 §2.1.1.
func inclusion(index int, leaves [][32]byte) [][32]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if index < k {
		return append(inclusion(index, leaves[:k]), treeHash(leaves[k:]))
	}
	return append(inclusion(index-k, leaves[k:]), treeHash(leaves[:k]))
}

// split returns the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// timestamp is POST /api/v1/timestamp in DER.
func (s *Stack) timestamp(w http.ResponseWriter, r *http.Request) error {
	der, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	query, err := timestamp.ParseRequest(der)
	if err != nil {
		return err
	}
	reply := timestamp.Timestamp{
		HashAlgorithm: query.HashAlgorithm, HashedMessage: query.HashedMessage, Nonce: query.Nonce,
		Time: s.Now().UTC(), Policy: pki.OIDTimestampPolicy, AddTSACertificate: query.Certificates,
	}
	out, err := reply.CreateResponseWithOpts(s.Keys.TSA.Chain[0], s.Keys.TSA.Key, crypto.SHA256)
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	_, err = io.Copy(w, bytes.NewReader(out))
	return err
}

// derString encodes a DER UTF8String of at most 65,535 bytes.
func derString(text string) ([]byte, error) {
	switch n := len(text); {
	case n < 0x80:
		return append([]byte{12, byte(n)}, text...), nil
	case n <= 0xffff:
		return append(binary.BigEndian.AppendUint16([]byte{12, 0x82}, uint16(n)), text...), nil
	}
	return nil, errors.New("string too long")
}
