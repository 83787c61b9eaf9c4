package audit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigstack/internal/pki"
)

// Head is the newest record of a chain, and with it all before.
type Head struct {
	Chain [32]byte // random, made with the chain
	Seq   uint64
	Hash  [32]byte // of record Seq
}

const (
	headMagic = "sigstack audit head 1"
	headName  = "head"
)

// Statement returns the bytes that signatures and anchors of h are over: four
// lines, each ended by a newline. They follow from chain and record alone.
func (h Head) Statement() []byte {
	return fmt.Appendf(nil, "%s\nchain %x\nseq %d\nhash %x\n", headMagic, h.Chain, h.Seq, h.Hash)
}

// The head file has two slots of slotSize bytes, each in a block of its own, so
// that a torn write spoils one at most. Both hold the newest head, signed; only
// while one is written, the other has the head before.
const slotSize = 4096

const unsigned = "none"

// ErrOtherKey is wrapped by the error for a head that is signed, but not with the
// key given.
var ErrOtherKey = errors.New("the head is not signed by this audit key")

// signHead returns h as a slot holds it. Without a signer it is not signed.
func signHead(h Head, signer crypto.Signer) ([]byte, error) {
	statement := h.Statement()
	signature := unsigned
	if signer != nil {
		digest := sha256.Sum256(statement)
		raw, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("sign audit head: %w", err)
		}
		signature = base64.StdEncoding.EncodeToString(raw)
	}
	slot := fmt.Appendf(statement, "signature %s\n", signature)
	if len(slot) >= slotSize {
		return nil, fmt.Errorf("sign audit head: signature of %d bytes", len(signature))
	}
	slot = append(slot, bytes.Repeat([]byte{' '}, slotSize-1-len(slot))...)
	return append(slot, '\n'), nil
}

// parseSlot is the inverse of signHead. With a key it verifies the signature;
// without one it accepts nothing that is signed, for then somebody took the key
// out of the configuration.
func parseSlot(slot []byte, key *ecdsa.PublicKey) (Head, error) {
	lines := strings.SplitAfter(strings.TrimRight(string(slot), " \n")+"\n", "\n")
	if len(lines) != 6 || lines[0] != headMagic+"\n" {
		return Head{}, errors.New("not a head")
	}
	value := func(line, name string) string {
		return strings.TrimSuffix(strings.TrimPrefix(line, name+" "), "\n")
	}
	var h Head
	var errs [3]error
	h.Chain, errs[0] = parseHash(value(lines[1], "chain"))
	h.Seq, errs[1] = strconv.ParseUint(value(lines[2], "seq"), 10, 64)
	h.Hash, errs[2] = parseHash(value(lines[3], "hash"))
	if err := errors.Join(errs[:]...); err != nil {
		return Head{}, fmt.Errorf("damaged head: %w", err)
	}
	if string(h.Statement()) != strings.Join(lines[:4], "") {
		return Head{}, errors.New("damaged head")
	}
	return h, verifyHead(h, value(lines[4], "signature"), key)
}

func verifyHead(h Head, signature string, key *ecdsa.PublicKey) error {
	switch {
	case key == nil && signature == unsigned:
		return nil
	case key == nil:
		return errors.New("the head is signed, and no key to verify it with is given")
	case signature == unsigned:
		return errors.New("the head is not signed")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil {
		return fmt.Errorf("damaged head: %w", err)
	}
	digest := sha256.Sum256(h.Statement())
	if !ecdsa.VerifyASN1(key, digest[:], raw) {
		return fmt.Errorf("%w (sha256:%s)", ErrOtherKey, fingerprint(key))
	}
	return nil
}

// fingerprint names a public key: the first 16 hex digits of its SPKI's hash.
func fingerprint(key *ecdsa.PublicKey) string {
	der, err := pki.MarshalPublicKey(key)
	if err != nil {
		return "?"
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// publicKey returns the public half of signer, nil without one. Clients of the
// anchors take P-256 only.
func publicKey(signer crypto.Signer) (*ecdsa.PublicKey, error) {
	if signer == nil {
		return nil, nil //nolint:nilnil // no key is a key's absence here, and heads are not signed
	}
	key, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("audit key is not ECDSA P-256")
	}
	return key, nil
}

// readHead returns the newest head that is whole in the head file of dir, and the
// slot that holds it. The error matches fs.ErrNotExist if there is none yet.
func readHead(dir string, key *ecdsa.PublicKey) (h Head, slot int64, err error) {
	path := filepath.Join(dir, headName)
	data, err := os.ReadFile(path)
	if err == nil && len(data) == 0 { // made, and a crash came
		err = fs.ErrNotExist
	}
	if err != nil {
		return Head{}, 0, fmt.Errorf("read audit head %s: %w", path, err)
	}
	if len(data) > 2*slotSize {
		return Head{}, 0, fmt.Errorf("%s: %d bytes, want %d", path, len(data), 2*slotSize)
	}
	cut := min(len(data), slotSize) // a crash may have kept the second from being there
	first, errFirst := parseSlot(data[:cut], key)
	second, errSecond := parseSlot(data[cut:], key)
	switch {
	case errFirst != nil && errSecond != nil:
		return Head{}, 0, fmt.Errorf("%s: %w", path, errFirst)
	case errFirst != nil, errSecond == nil && second.Seq > first.Seq:
		return second, 1, nil
	default:
		return first, 0, nil
	}
}
