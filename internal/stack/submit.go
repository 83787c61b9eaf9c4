package stack

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/trust"
	"sigstack/services/ca"
)

// ctRoots are the authorities whose certificates the CT log takes: those of all
// chains of this CA, or of the process that it runs in.
func (s *Stack) ctRoots() ([]*x509.Certificate, error) {
	if s.conf.CA != nil {
		return s.chains.roots(), nil
	}
	var roots []*x509.Certificate
	for _, part := range s.othersMaterial() {
		for _, a := range part.CAs {
			roots = append(roots, a.Chain[len(a.Chain)-1])
		}
	}
	return roots, nil
}

// ctLog is how the CA submits to the CT log, and the log's key.
func (s *Stack) ctLog() (ca.SubmitPrecert, []byte, error) {
	if log := s.services.ctlog; log != nil {
		return log.AddPreChain, log.Trust().PublicKey, nil
	}
	log, err := s.newestCTLog()
	if err != nil {
		return nil, nil, err
	}
	return submitTo(s.linkTo("ctlog"), log), log.PublicKey, nil
}

// newestCTLog is the CT log in use, of another process.
func (s *Stack) newestCTLog() (trust.Log, error) {
	var newest trust.Log
	for _, part := range s.othersMaterial() {
		for _, l := range part.CTLogs {
			if l.Window.Start.After(newest.Window.Start) {
				newest = l
			}
		}
	}
	if len(newest.PublicKey) == 0 {
		return newest, errors.New("no other process has a CT log: its file in peers/ holds none")
	}
	return newest, nil
}

// RFC 6962 §4.2, below the log's prefix.
const addPreChain = "/ct/v1/add-pre-chain"

// Waits between attempts to reach the CT log: the CA gives it four seconds.
const (
	firstSubmitRetry   = 50 * time.Millisecond
	longestSubmitRetry = 400 * time.Millisecond
)

// submitTo returns a SubmitPrecert that asks a CT log in another process, again
// and again while it cannot be reached: the log answers a chain that it has with
// the timestamp that it gave before.
func submitTo(link *link, log trust.Log) ca.SubmitPrecert {
	return func(ctx context.Context, chain [][]byte) ([]byte, error) {
		if len(chain) > 1 {
			chain = chain[:len(chain)-1] // the log has the root
		}
		body, err := json.Marshal(map[string][][]byte{"chain": chain})
		if err != nil {
			return nil, fmt.Errorf("encode chain: %w", err)
		}
		for wait := firstSubmitRetry; ; wait = min(2*wait, longestSubmitRetry) {
			answer, err := submit(ctx, link, log.BaseURL+addPreChain, body)
			if fault.KindOf(err) != fault.Unavailable {
				return answer, err
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(wait):
			}
		}
	}
}

func submit(ctx context.Context, link *link, url string, body []byte) (_ []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := link.client.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "certificate transparency log broke off")
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

// ctPrefix is the path of the CT log in use.
func (s *Stack) ctPrefix() string {
	if log, err := s.newestCTLog(); err == nil {
		return strings.TrimPrefix(log.BaseURL, s.conf.URL)
	}
	return "/ctlog"
}
