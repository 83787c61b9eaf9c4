package signing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// StatementDigest is what a signature of a statement is over: the SHA-256 of its DSSE
// pre-authentication encoding.
func StatementDigest(statement []byte) [sha256.Size]byte {
	return sha256.Sum256(dsse.PAE(StatementPayloadType, statement))
}

// DraftStatement signs an in-toto statement, as SignStatement does, and shows the
// signature to nobody.
func (s *Session) DraftStatement(ctx context.Context, statement []byte) (Draft, error) {
	if _, err := readSubject(statement); err != nil {
		return Draft{}, fmt.Errorf("sign statement: %w", err)
	}
	cred, err := s.credential(ctx)
	if err != nil {
		return Draft{}, err
	}
	digest := StatementDigest(statement)
	sig, err := cred.key.Sign(rand.Reader, digest[:], hashFunc)
	if err != nil {
		return Draft{}, fmt.Errorf("sign statement: %w", err)
	}
	return Draft{Digest: digest, Signature: sig, Verifier: cred.pem, Statement: statement}, nil
}

// submitStatement has the draft of a statement witnessed by the credential that it was
// made with.
func (s *Session) submitStatement(ctx context.Context, d Draft, cred *credential, byTag bool) (*Signed, error) {
	about, err := readSubject(d.Statement)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	if StatementDigest(d.Statement) != d.Digest {
		return nil, errors.New("sign statement: the draft is over another one")
	}
	envelope, err := encodeEnvelope(d.Statement, d.Signature)
	if err != nil {
		return nil, err
	}
	p, err := proposeEnvelope(envelope, d.Statement, d.Signature, cred.pem)
	if err != nil {
		return nil, err
	}
	e := evidence{statement: d.Statement, signature: d.Signature, cert: cred.cert, hint: cred.hint}
	if byTag {
		e.envelope = envelope
	}
	signed, err := s.finish(ctx, e, p, cred, func(b *Bundle) (Result, error) {
		stored, err := b.asStored()
		if err != nil {
			return Result{}, err
		}
		res, _, err := VerifyStatement(about.digest, about.algorithm, stored, s.kit.Trusted, cred.identity, about.predicateType)
		return res, err
	})
	if err != nil {
		return nil, err
	}
	signed.Envelope = envelope
	return signed, nil
}
