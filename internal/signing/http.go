package signing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How often and how long a service is asked.
const (
	attempts       = 5                      // per call, the first included
	attemptTimeout = 30 * time.Second       // as other Go clients
	firstPause     = 100 * time.Millisecond // doubles with every further attempt
	longestPause   = 20 * time.Second       // also caps what Retry-After asks for
	maxAnswer      = 4 << 20                // bytes; a log entry takes about 10 KB
	maxMessage     = 300                    // bytes of an answer that an error quotes
)

// NewHTTPClient returns the client used where none is given: many connections
// per host are kept for parallel signing, and redirects are not followed, since
// requests carry tokens.
func NewHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is one call of a service. Its body may hold secrets, so neither it nor
// the headers ever go into an error.
type request struct {
	service string // for errors: "certificate authority"
	next    string // for errors: what to try when the service says no
	method  string
	url     string
	header  http.Header
	body    []byte
}

// answer is what a service said, its body read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends r until it gets an answer that is neither 429 nor 5xx, and returns
// it if its status is in accept. Everything we send may be sent again: the log
// answers a duplicate with the existing entry, and an unused certificate or
// timestamp is harmless. Errors are *UnreachableError and *ServiceError, or
// ctx's own.
func call(ctx context.Context, client *http.Client, r request, accept ...int) (answer, error) {
	var last error
	for i := range attempts {
		got, err := attempt(ctx, client, r)
		if ctx.Err() != nil {
			return answer{}, fmt.Errorf("call %s at %s: %w", r.service, r.url, ctx.Err())
		}
		pause := firstPause << i
		if _, reason := distrusted(err); reason != nil {
			return answer{}, Unreachable(r.service, r.url, err)
		}
		switch {
		case err != nil:
			last = err
		case got.status == http.StatusTooManyRequests || got.status >= 500:
			last = r.refusal(got, "try again later")
			pause = max(pause, retryAfter(got.header))
		default:
			return judge(r, got, accept)
		}
		if i == attempts-1 {
			break
		}
		if err := sleep(ctx, jitter(min(pause, longestPause))); err != nil {
			return answer{}, fmt.Errorf("call %s at %s: %w", r.service, r.url, err)
		}
	}
	return answer{}, giveUp(r, last)
}

// judge turns a final answer into an error unless its status is in accept.
func judge(r request, got answer, accept []int) (answer, error) {
	for _, status := range accept {
		if got.status == status {
			return got, nil
		}
	}
	return answer{}, r.refusal(got, r.next)
}

// refusal is the error for an answer that turned r down.
func (r request) refusal(got answer, next string) *ServiceError {
	text, code := message(got)
	return &ServiceError{Service: r.service, URL: r.url, Status: got.status, Message: text, Next: next, code: code}
}

// giveUp says why all attempts failed: a service that answered with an error of
// its own was reached, a gateway's answer or none means it was not.
func giveUp(r request, last error) error {
	var answered *ServiceError
	if errors.As(last, &answered) && (answered.Status < 502 || answered.Status > 504) {
		return answered
	}
	return &UnreachableError{Service: r.service, URL: r.url, Err: fmt.Errorf("after %d attempts: %w", attempts, last)}
}

// attempt sends r once and reads the whole answer under attemptTimeout.
func attempt(ctx context.Context, client *http.Client, r request) (_ answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswer {
		return answer{}, fmt.Errorf("read answer: more than %d bytes", maxAnswer)
	}
	return answer{status: res.StatusCode, header: res.Header, body: body}, nil
}

// message extracts a service's own words from an error body: the message of our
// JSON forms, OAuth's error code and description, or the first line of anything
// else.
func message(got answer) (text, code string) {
	var body struct {
		Message     string `json:"message"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	text = string(got.body)
	if json.Unmarshal(got.body, &body) == nil && body.Message+body.Error != "" {
		text = body.Message + " " + body.Error + " " + body.Description
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if text == "" {
		text = http.StatusText(got.status)
	}
	return shorten(text, maxMessage), body.Error
}

// shorten cuts s to most bytes.
func shorten(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// retryAfter reads a Retry-After header in seconds; dates are ignored.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// jitter spreads d over its upper half, so that parallel workers that failed
// together do not come back together.
func jitter(d time.Duration) time.Duration {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return d/2 + d/2*time.Duration(b[0])/255
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
