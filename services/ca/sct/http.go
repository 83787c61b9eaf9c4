package sct

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/fault"
)

// maxAnswer bounds a log's answer in bytes; an SCT has some hundred.
const maxAnswer = 64 << 10

// addPreChain is the path of RFC 6962 §4.2, below the log's URL.
const addPreChain = "/ct/v1/add-pre-chain"

// Remote is a CT log that is asked over HTTP.
type Remote struct {
	// URL of the log, to which /ct/v1/add-pre-chain is added.
	URL string
	// Host, if set, is sent in place of the URL's.
	Host string
	// Transport reaches the log. Redirects are not followed.
	Transport http.RoundTripper
	// OmitRoot leaves the root out of what is sent, which the log has.
	OmitRoot bool
	// Now is the clock that dates in Retry-After are held against.
	Now func() time.Time
}

// Submit returns the way to the log.
func (r Remote) Submit() (Submit, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("URL %q of a CT log: want http:// or https://, a host and a path", r.URL)
	}
	target := strings.TrimRight(r.URL, "/") + addPreChain
	return func(ctx context.Context, chain [][]byte) ([]byte, error) {
		if r.OmitRoot && len(chain) > 1 {
			chain = chain[:len(chain)-1]
		}
		body, err := json.Marshal(struct {
			Chain [][]byte `json:"chain"`
		}{chain})
		if err != nil {
			return nil, fmt.Errorf("encode chain: %w", err)
		}
		return r.post(ctx, target, body)
	}, nil
}

func (r Remote) post(ctx context.Context, target string, body []byte) (_ []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask CT log: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Host = r.Host // empty: the URL's
	resp, err := r.Transport.RoundTrip(req)
	if err != nil {
		return nil, unavailable(fmt.Errorf("ask CT log: %w", err))
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, unavailable(fmt.Errorf("read the CT log's answer: %w", err))
	case resp.StatusCode == http.StatusOK && len(answer) > maxAnswer:
		return nil, fmt.Errorf("CT log answered more than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK:
		return answer, nil
	}
	cause := fmt.Errorf("CT log answered %d: %q", resp.StatusCode, answer[:min(len(answer), 200)])
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= http.StatusInternalServerError:
		return nil, restError{unavailable(cause), r.rest(resp.Header.Get("Retry-After"))}
	}
	return nil, fault.Wrap(fault.Invalid, cause, "certificate transparency log refused the certificate chain")
}

func unavailable(cause error) error {
	return fault.Wrap(fault.Unavailable, cause, "certificate transparency log is unavailable")
}

// rest reads Retry-After (RFC 9110 §10.2.3): seconds, or a date. What is neither
// asks for nothing.
func (r Remote) rest(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(r.Now()), 0)
	}
	return 0
}
