package loadtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"sigstack/internal/pki"
)

// Sign signs as the v1 log does.
func (f *Fake) Sign(message []byte) []byte { return sign(f.Stack.Keys.Log, message) }

func sign(key *ecdsa.PrivateKey, message []byte) []byte {
	digest := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	return sig
}

// Promise signs an entry's timestamp anew, over what it says now.
func (f *Fake) Promise(e *Entry) {
	e.Verification.SET = f.Sign(fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(e.Body), e.IntegratedTime, e.LogID, e.LogIndex))
}

// Note makes a checkpoint of the v1 log.
func (f *Fake) Note(origin string, size int64, root []byte) string {
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root))
	spki, err := pki.MarshalPublicKey(f.Stack.Keys.Log.Public())
	if err != nil {
		panic(err)
	}
	id := pki.LogID(spki)
	return text + "\n\u2014 127.0.0.1 " + base64.StdEncoding.EncodeToString(append(id[:4:4], f.Sign([]byte(text))...)) + "\n"
}

// Flip returns data with one bit of its middle flipped.
func Flip(data []byte) []byte {
	out := bytes.Clone(data)
	out[len(out)/2] ^= 4
	return out
}

// FlipHex is Flip for hex digits.
func FlipHex(digits string) string {
	data, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(Flip(data))
}

// FlipSignature flips a bit in the signature of a note.
func FlipSignature(note string) string {
	at := strings.LastIndexByte(strings.TrimSpace(note), ' ') + 1
	sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(note[at:]))
	if err != nil {
		panic(err)
	}
	return note[:at] + base64.StdEncoding.EncodeToString(Flip(sig)) + "\n"
}
