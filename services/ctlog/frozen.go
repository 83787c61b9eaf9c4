package ctlog

import (
	"bytes"
	"context"
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

// State returns what the log still does.
func (s *Service) State() State {
	s.backend.mu.RLock()
	defer s.backend.mu.RUnlock()
	return s.backend.state
}

// SetState opens the log for chains, or closes it: ReadOnly. When it returns, what was
// being added is in the tree, or refused; of a caller who went away it may still
// be queued there. A frozen log stays frozen, which is an error.
func (s *Service) SetState(state State) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	switch {
	case state != Active && state != ReadOnly:
		return fmt.Errorf("ct log: state %q is not set by itself", state)
	case s.State() == Frozen:
		return errors.New("ct log: a log that was frozen stays so")
	}
	s.setState(state)
	return nil
}

func (s *Service) setState(state State) {
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	s.backend.state = state
}

// Freeze makes the log, which must be ReadOnly, answer with its last tree head for
// ever. final is what SignHead made of the head of its tree, which gets no later root
// any more. On an error nothing has changed.
func (s *Service) Freeze(ctx context.Context, final []byte) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	if state := s.State(); state != ReadOnly {
		return fmt.Errorf("ct log: state is %q, and what is frozen must be %s", state, ReadOnly)
	}
	cfg := s.cfg
	cfg.State, cfg.FinalHead = Frozen, final
	if err := cfg.checkState(); err != nil {
		return fmt.Errorf("ct log: %w", err)
	}
	next, err := s.newInstance(ctx, s.current.Load().roots, final)
	if err != nil {
		return fmt.Errorf("ct log: freeze: %w", err)
	}
	s.current.Store(next)
	s.setState(Frozen)
	return nil
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
