package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sigstack/internal/httpd"
	"sigstack/internal/signing"
)

// checkURL is the name of the check that the stack's own URL leads to it.
const checkURL = "public-url"

// errNotThere is of a URL at which a server answers, and has no service.
var errNotThere = errors.New("no service answers there (404 Not Found)")

// asker is an http.RoundTripper that reaches services as clients do. What asks
// clients for credentials that this process has not, it asks by the inside; and all
// that is the stack's own, where nothing listens yet or the URL leads nowhere from
// here.
type asker struct {
	host   string // of the stack's URL, with its port
	public http.RoundTripper
	inside http.RoundTripper // the same handlers without a listener
	write  http.RoundTripper // likewise, for entries of the log
	direct bool              // nothing of the own host is asked over the network
}

// RoundTrip implements http.RoundTripper.
func (a *asker) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Host != a.host:
		return a.public.RoundTrip(r)
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/log/entries":
		return a.write.RoundTrip(r)
	case a.direct:
		return a.fromInside(r)
	}
	resp, err := a.public.RoundTrip(r)
	if err != nil || !wantsCredentials(resp.StatusCode) {
		return resp, err
	}
	if err := resp.Body.Close(); err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.URL, err)
	}
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", r.URL, err)
		}
		r = r.Clone(r.Context())
		r.Body = body
	}
	return a.fromInside(r)
}

func (a *asker) fromInside(r *http.Request) (*http.Response, error) {
	// The process asks itself, which no guard stands before.
	return a.inside.RoundTrip(r.WithContext(httpd.WithPeer(r.Context(), httpd.PeerInfo{})))
}

func wantsCredentials(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests
}

// CloseIdleConnections is for http.Client's.
func (a *asker) CloseIdleConnections() {
	(&http.Client{Transport: a.public}).CloseIdleConnections()
	(&http.Client{Transport: a.write}).CloseIdleConnections()
}

// newAsker returns the way to the services; direct says that the network is not
// to be used for this stack's own.
func (s *Stack) newAsker(direct bool) (*asker, error) {
	u, err := url.Parse(s.conf.URL)
	if err != nil {
		return nil, fmt.Errorf("read the stack's URL: %w", err)
	}
	authorities, err := s.layout.TLSAuthorities(s.conf)
	if err != nil {
		return nil, err
	}
	public, err := signing.Authorities(authorities).HTTPClient(s.conf.URL)
	if s.test() && s.serving { // its clients are on this machine, and its listener too
		public, err = signing.Authorities(authorities).HTTPClientTo(s.Address(), s.conf.URL)
	}
	if err != nil {
		return nil, err
	}
	a := &asker{host: u.Host, public: public.Transport, inside: httpd.InProcess{Handler: s.mux}, direct: direct}
	a.write = a.inside
	if s.serving {
		log, err := s.anchorClient()
		if err != nil {
			return nil, err
		}
		a.write = log.Transport
	}
	return a, nil
}

// get returns what is answered with status 200, of at most maxAnswer bytes.
func (c *liveCheck) get(ctx context.Context, url string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, url, "", nil)
}

// getJSON decodes it.
func (c *liveCheck) getJSON(ctx context.Context, url string, into any) error {
	data, err := c.get(ctx, url)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: its answer is not what this service answers: %w", url, err)
	}
	return nil
}

func (c *liveCheck) do(ctx context.Context, method, url, contentType string, body []byte) (data []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", url, signing.Unreachable("service", url, err).Err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", url, errNotThere)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return data, nil
}
