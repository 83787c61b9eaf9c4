package check

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// maxHeads bounds what is remembered of checkpoints.
const maxHeads = 256

// strictBase64 knows one spelling of each value.
var strictBase64 = base64.StdEncoding.Strict()

// head is the tree that a checkpoint speaks of.
type head struct {
	size uint64
	root []byte
}

// note is a signed note (C2SP signed-note) that holds a checkpoint. Nothing of
// it is verified.
type note struct {
	head

	text   string // that is signed
	origin string
	lines  []signatureLine
}

type signatureLine struct {
	name string
	hint []byte
	sig  []byte
}

// parseNote reads a checkpoint: origin, size, root, maybe extensions, a blank
// line and signature lines.
func parseNote(text string) (note, error) {
	body, signatures, ok := strings.Cut(text, "\n\n")
	if !ok || signatures == "" || !strings.HasSuffix(signatures, "\n") {
		return note{}, Wrong(Checkpoint, "%.200q is not a text, a blank line and signatures", text)
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return note{}, Wrong(Checkpoint, "%.200q lacks origin, size or root", text)
	}
	n := note{text: body + "\n", origin: lines[0]}
	var err error
	if n.size, err = strconv.ParseUint(lines[1], 10, 63); err != nil || strconv.FormatUint(n.size, 10) != lines[1] {
		return note{}, Wrong(Checkpoint, "size %q is not a number", lines[1])
	}
	if n.root, err = strictBase64.DecodeString(lines[2]); err != nil || len(n.root) != sha256.Size {
		return note{}, Wrong(Checkpoint, "root %q is not a hash", lines[2])
	}
	for line := range strings.Lines(signatures) {
		parsed, err := parseSignatureLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return note{}, err
		}
		n.lines = append(n.lines, parsed)
	}
	return n, nil
}

func parseSignatureLine(line string) (signatureLine, error) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[0] != "\u2014" || parts[1] == "" {
		return signatureLine{}, Wrong(Checkpoint, "%.200q is no signature line", line)
	}
	sig, err := strictBase64.DecodeString(parts[2])
	if err != nil || len(sig) < 5 {
		return signatureLine{}, Wrong(Checkpoint, "%.200q holds no signature", line)
	}
	return signatureLine{parts[1], sig[:4], sig[4:]}, nil
}

// A noteKey verifies the checkpoints of one log. It remembers those that were
// verified, byte for byte, because the entries of a batch share theirs.
type noteKey struct {
	origin string // first line
	name   string // of the signature line
	id     [sha256.Size]byte
	key    crypto.PublicKey
	alone  bool // no other signature line is allowed

	mu    sync.Mutex
	heads map[string]head
}

func (k *noteKey) verify(text string) (head, error) {
	k.mu.Lock()
	h, ok := k.heads[text]
	k.mu.Unlock()
	if ok {
		return h, nil
	}
	n, err := parseNote(text)
	if err != nil {
		return head{}, err
	}
	if err := k.verifyNote(n); err != nil {
		return head{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.heads == nil || len(k.heads) >= maxHeads {
		k.heads = make(map[string]head)
	}
	k.heads[text] = n.head
	return n.head, nil
}

func (k *noteKey) verifyNote(n note) error {
	if n.origin != k.origin {
		return Wrong(Checkpoint, "origin %q, want %q", n.origin, k.origin)
	}
	if k.alone && len(n.lines) != 1 {
		return Wrong(Checkpoint, "%d signature lines, want 1", len(n.lines))
	}
	for _, line := range n.lines {
		if line.name != k.name || !bytes.Equal(line.hint, k.id[:4]) {
			continue
		}
		if !verifySignature(k.key, []byte(n.text), line.sig) {
			return Wrong(Checkpoint, "the signature does not verify with the log's key")
		}
		return nil
	}
	return Wrong(Checkpoint, "no signature line of %s with key hint %x", k.name, k.id[:4])
}

// verifySignature takes ECDSA over SHA-256, and Ed25519.
func verifySignature(key crypto.PublicKey, message, sig []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, digest[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	default:
		return false
	}
}

// keyID is SHA-256 of the key's DER SubjectPublicKeyInfo: the ID of Rekor v1 and
// CT logs.
func keyID(key crypto.PublicKey) ([sha256.Size]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode the log's key: %w", err)
	}
	return sha256.Sum256(spki), nil
}
