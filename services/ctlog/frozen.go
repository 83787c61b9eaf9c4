package ctlog

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
)

// SignHead signs the present head of a tree that takes no more entries, and gets
// no later root: the FinalHead of a frozen log, in the form of get-sth. It is
// signed once and kept, because the signature of another try differs.
func SignHead(head merkle.Head, key keys.Key) ([]byte, error) {
	sth := ct.SignedTreeHead{Version: ct.V1, TreeSize: head.Size, Timestamp: uint64(head.Time.UnixMilli()), SHA256RootHash: head.Root}
	signed, err := ct.SerializeSTHSignatureInput(sth)
	if err != nil {
		return nil, fmt.Errorf("encode tree head: %w", err)
	}
	sum := sha256.Sum256(signed)
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign tree head: %w", err)
	}
	sig, err := tls.Marshal(tls.DigitallySigned{
		Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.SignatureAlgorithmFromPubKey(key.Public())},
		Signature: signature,
	})
	if err != nil {
		return nil, fmt.Errorf("encode signature: %w", err)
	}
	return json.Marshal(ct.GetSTHResponse{
		TreeSize: sth.TreeSize, Timestamp: sth.Timestamp, SHA256RootHash: head.Root[:], TreeHeadSignature: sig,
	})
}

// checkState demands a final head of a frozen log, and of no other, and that it is
// its tree's. That it is signed ctfe checks.
func (c Config) checkState() error {
	switch c.State {
	case Active, ReadOnly:
		if c.FinalHead != nil {
			return errors.New("a log that was frozen stays so: its final tree head is signed, and clients hold it to that")
		}
		return nil
	case Frozen:
	default:
		return fmt.Errorf("state %q is not known", c.State)
	}
	final, err := parseHead(c.FinalHead)
	if err != nil {
		return fmt.Errorf("final tree head: %w", err)
	}
	head := c.Tree.Head()
	if final.GetTreeSize() != int64(head.Size) || !bytes.Equal(final.GetSha256RootHash(), head.Root[:]) || final.GetTimestamp() != head.Time.UnixMilli() {
		return fmt.Errorf("final tree head of %d entries, root %x, is not the tree's: it has %d, root %x",
			final.GetTreeSize(), final.GetSha256RootHash(), head.Size, head.Root)
	}
	return nil
}

// parseHead decodes an answer of get-sth, nothing but one.
func parseHead(data []byte) (*configpb.SignedTreeHead, error) {
	var sth ct.GetSTHResponse
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&sth); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode: more than one document")
	}
	if _, err := sth.ToSignedTreeHead(); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if int64(sth.TreeSize) < 0 || int64(sth.Timestamp) < 0 {
		return nil, errors.New("decode: size or time is out of range")
	}
	return &configpb.SignedTreeHead{
		TreeSize: int64(sth.TreeSize), Timestamp: int64(sth.Timestamp),
		Sha256RootHash: sth.SHA256RootHash, TreeHeadSignature: sth.TreeHeadSignature,
	}, nil
}
