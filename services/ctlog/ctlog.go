// Package ctlog is the certificate transparency log (RFC 6962): chains of the
// stack's own CA in, signed certificate timestamps and proofs out.
// certificate-transparency-go's ctfe speaks the protocol; storing, sequencing
// and proving is the merkle engine's work.
package ctlog

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/trust"
)

// Config configures New. Every field is required but TempDir.
type Config struct {
	// Tree holds the entries. Its roots must differ by whole milliseconds
	// (merkle.Config.TimeStep), because RFC 6962 §3.5 wants each tree head later
	// than the one before and ctfe drops what is below a millisecond.
	Tree Tree
	// Signer signs timestamps and tree heads: ECDSA P-256 (RFC 6962 §2.1.4).
	Signer keys.Key
	// Roots are the CAs whose certificates are logged.
	Roots []*x509.Certificate
	// Prefix is the path before /ct/v1/, without slashes at its ends.
	Prefix string
	// URL is the base URL of the stack, absolute and without final slash.
	URL string
	// TempDir is where ctfe's roots file lives while New runs; empty: the
	// system's directory for temporary files, which a bare container lacks.
	TempDir string
	// Now is the stack's clock.
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is one log. It is safe for concurrent use. It owns no goroutine: the
// tree batches adds and refreshes an idle head by itself.
type Service struct {
	handlers ctfe.PathHandlers
	prefix   string // with leading slash
	url      string
	key      keys.Key
	roots    []*x509.Certificate
	bulk     *semaphore.Weighted // of answers of many entries
}

// New checks cfg and sets up the log. It writes nothing to the tree.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("ct log: %w", err)
	}
	handlers, err := setUp(ctx, cfg, newBackend(cfg.Tree, cfg.Log, cfg.Metrics))
	if err != nil {
		return nil, fmt.Errorf("ct log: set up: %w", err)
	}
	return &Service{handlers: handlers, prefix: "/" + cfg.Prefix, url: cfg.URL, key: cfg.Signer, roots: cfg.Roots, bulk: semaphore.NewWeighted(maxBulk)}, nil
}

func (c Config) check() error {
	if c.Tree == nil || c.Signer.Signer == nil || c.URL == "" || c.Now == nil || c.Log == nil || c.Metrics == nil {
		return errors.New("tree, signer, URL, clock, log and metrics are required")
	}
	if pub, ok := c.Signer.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return fmt.Errorf("key %s is not ECDSA P-256", c.Signer.Name)
	}
	if len(c.Roots) == 0 {
		return errors.New("no root certificate: nothing could be logged")
	}
	if c.Prefix == "" || strings.Trim(c.Prefix, "/") != c.Prefix {
		return fmt.Errorf("prefix %q: want a path without slashes at its ends", c.Prefix)
	}
	return nil
}

// Trust returns the log's public half.
func (s *Service) Trust() trust.Log {
	return trust.Log{
		BaseURL:    s.url + s.prefix,
		PublicKey:  s.key.SPKI(),
		APIVersion: 1,
		Window:     trust.Window{Start: s.key.Created},
	}
}

// AddPreChain logs a precertificate and returns ctfe's AddChainResponse as JSON
// (RFC 6962 §4.2), by the code that answers add-pre-chain, without a
// connection. The chain is DER, the precertificate first; its root may be left
// out. The entry is durable when it returns. The error is fault.Invalid for a
// chain that the log refuses and fault.Unavailable when it could not log it.
func (s *Service) AddPreChain(ctx context.Context, chain [][]byte) ([]byte, error) {
	body, err := json.Marshal(ct.AddChainRequest{Chain: s.belowRoot(chain)})
	if err != nil {
		return nil, fmt.Errorf("encode chain: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+s.prefix+ct.AddPreChainPath, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	resp, err := httpd.InProcess{Handler: s.handler(ct.AddPreChainPath)}.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	cause := fmt.Errorf("ct log answered %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		return nil, fault.Wrap(fault.Unavailable, cause, "certificate transparency log is unavailable")
	}
	return nil, fault.Wrap(fault.Invalid, cause, "certificate transparency log refused the certificate chain")
}

// belowRoot drops a final root of this log from chain. It changes nothing in
// the entry, which always has the root, but ctfe would verify the certificate
// below it twice: by the root of its own and by the one submitted.
func (s *Service) belowRoot(chain [][]byte) [][]byte {
	last := len(chain) - 1
	if last < 1 || !slices.ContainsFunc(s.roots, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, chain[last]) }) {
		return chain
	}
	return chain[:last]
}
