package target

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// tsaTarget has a random digest timestamped.
type tsaTarget struct {
	*services

	tsa *check.TSA
}

func (s *services) newTSA(ctx context.Context) (*tsaTarget, error) {
	if s.TSA == "" {
		return nil, fmt.Errorf("timestamp authority: %w", errNoURL)
	}
	chain := s.Trust.TSAChain
	if len(chain) == 0 {
		data, err := s.client.get(ctx, s.TSA+"/certchain")
		if err == nil {
			chain, err = ParseChain(data)
		}
		if err != nil {
			return nil, fmt.Errorf("fetch the timestamp authority's chain: %w", err)
		}
	}
	tsa, err := check.NewTSA(chain, s.Now())
	return &tsaTarget{s, tsa}, err
}

// query is a request for a timestamp.
type query struct {
	digest [sha256.Size]byte
	nonce  *big.Int
	der    []byte
}

func newQuery(digest [sha256.Size]byte) (query, error) {
	q := query{digest: digest, nonce: new(big.Int).SetBytes(random(8))}
	var err error
	q.der, err = check.Query(q.digest, q.nonce)
	return q, err
}

func (t *tsaTarget) send(ctx context.Context, q query) ([]byte, error) {
	return t.client.do(ctx, request{
		method: http.MethodPost, url: t.TSA, contentType: "application/timestamp-query",
		body: q.der, want: []int{http.StatusOK, http.StatusCreated},
	})
}

func (t *tsaTarget) verify(q query, answer []byte) (time.Time, error) {
	return t.tsa.Timestamp(answer, q.digest, q.nonce, t.Now())
}

func (t *tsaTarget) prepare(context.Context) (drive.Call, error) {
	q, err := newQuery(digest())
	if err != nil {
		return drive.Call{}, fmt.Errorf("encode query: %w", err)
	}
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.send(ctx, q)
			return err
		},
		Verify: func() error {
			_, err := t.verify(q, answer)
			return err
		},
	}, nil
}
