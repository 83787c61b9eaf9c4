package ctlog

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	ct "github.com/google/certificate-transparency-go"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

// errClosedLog is the sentence for chains that come too late.
const errClosedLog = "this certificate transparency log takes no more certificates"

// AddPreChain logs a precertificate and returns the AddChainResponse as JSON
// (RFC 6962 §4.2), without a connection: the entry and the answer are those of
// add-pre-chain. The chain is DER, the precertificate first; its root may be left
// out. The entry is durable when it returns. The error is fault.Invalid for a
// chain that the log refuses, fault.Forbidden from a log that takes none, and
// fault.Unavailable when it could not log it.
func (s *Service) AddPreChain(ctx context.Context, chain [][]byte) ([]byte, error) {
	if s.State() != Active {
		return nil, errClosed()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	in := s.current.Load()
	if sub, ok := s.recognize(in, in.belowRoot(chain)); ok {
		return s.addRecognized(ctx, sub)
	}
	return s.addByCTFE(ctx, in, chain)
}

// addByCTFE submits a chain to ctfe's own handler and notes the certificates above
// the precertificate when they were taken.
func (s *Service) addByCTFE(ctx context.Context, in *instance, chain [][]byte) ([]byte, error) {
	body, err := json.Marshal(ct.AddChainRequest{Chain: chain})
	if err != nil {
		return nil, fmt.Errorf("encode chain: %w", err)
	}
	seen := &queued{}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, queuedKey{}, seen), http.MethodPost, s.base()+ct.AddPreChainPath, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	resp, err := httpd.InProcess{Handler: in.handlers[s.prefix()+ct.AddPreChainPath]}.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		in.known.learn(in.belowRoot(chain), seen)
		return answer, nil
	}
	cause := fmt.Errorf("ct log answered %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
	if s.State() != Active { // by now
		return nil, errClosed()
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		return nil, unavailable(cause)
	}
	return nil, refused(cause)
}

func errClosed() error { return fault.New(fault.Forbidden, errClosedLog) }

func unavailable(cause error) error {
	return fault.Wrap(fault.Unavailable, cause, "certificate transparency log is unavailable")
}

func refused(cause error) error {
	return fault.Wrap(fault.Invalid, cause, "certificate transparency log refused the certificate chain")
}

// belowRoot drops a final root of this log from chain: the entry, which always has
// the root, is the same with and without. What ctfe makes of a precertificate is
// not, where that names the root's key as its issuer's: it gets all of the chain.
func (in *instance) belowRoot(chain [][]byte) [][]byte {
	last := len(chain) - 1
	if last < 1 || !slices.ContainsFunc(in.roots, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, chain[last]) }) {
		return chain
	}
	return chain[:last]
}
