package signing

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net/http"

	"github.com/digitorus/timestamp"
)

// timestamp gets an RFC 3161 timestamp over content from the authority at url and
// returns its DER response. That the token is for this content and nonce is
// checked here; who signed it, in the finished bundle.
func (s *Session) timestamp(ctx context.Context, url string, content []byte) ([]byte, error) {
	digest := sha256.Sum256(content)
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	// No certificates are asked for: verifiers have them from the trust root.
	query := timestamp.Request{HashAlgorithm: hashFunc, HashedMessage: digest[:], Nonce: nonce}
	body, err := query.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode timestamp query: %w", err)
	}
	got, err := call(ctx, s.http, request{
		service: "timestamp authority", method: http.MethodPost, url: url,
		header: http.Header{"Content-Type": {"application/timestamp-query"}, "Accept": {"application/timestamp-reply"}},
		body:   body,
	}, http.StatusOK, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	if err := checkTimestamp(got.body, digest, nonce); err != nil {
		return nil, fmt.Errorf("read answer of timestamp authority at %s: %w", url, err)
	}
	return got.body, nil
}

func checkTimestamp(der []byte, digest [sha256.Size]byte, nonce *big.Int) error {
	token, err := timestamp.ParseResponse(der)
	if err != nil {
		return fmt.Errorf("parse timestamp: %w", err)
	}
	if token.HashAlgorithm != hashFunc || !bytes.Equal(token.HashedMessage, digest[:]) {
		return errors.New("the timestamp is for another signature")
	}
	if token.Nonce == nil || token.Nonce.Cmp(nonce) != 0 {
		return errors.New("the timestamp answers another query")
	}
	return nil
}
