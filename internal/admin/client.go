package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"sigstack/internal/durable"
)

// Why a client gets no answer from an act. Their texts say what to do.
var (
	ErrNotRunning = errors.New("nothing serves the directory")
	ErrNotYours   = errors.New("the admin channel belongs to another user: ask as that user or as root")
	ErrOlder      = errors.New("the serving process does not know this act: restart it with this version")
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 8 << 20

// RefusedError is an act's own error.
type RefusedError struct {
	Status  int // of HTTP
	Message string
}

// Error returns the act's message.
func (e *RefusedError) Error() string { return e.Message }

// Client asks the process that serves one data directory. It is safe for
// concurrent use.
type Client struct {
	dir  string
	http *http.Client
}

// Dial returns a client for the process that serves dir. It connects when asked.
func Dial(dir string) *Client {
	c := &Client{dir: dir}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	address, done, err := addressIn(c.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	return new(net.Dialer).DialContext(ctx, "unix", address)
}

// Get asks for path, such as /v1/status, and decodes the answer into into. The
// error matches ErrNotRunning, ErrNotYours or ErrOlder, or is a *RefusedError,
// or says why there was no answer.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// Post asks for an act with in, unless nil, as its JSON body. Errors are those of
// Get.
func (c *Client) Post(ctx context.Context, path string, in, into any) error {
	return c.do(ctx, http.MethodPost, path, in, into)
}

func (c *Client) do(ctx context.Context, method, path string, in, into any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("ask for %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask for %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unanswered(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of the process that serves %s: %w", c.dir, err)
	}
	return c.read(resp, data, into)
}

// read takes an answer apart.
func (c *Client) read(resp *http.Response, data []byte, into any) error {
	byAct := resp.Header.Get(headerAct) != ""
	switch {
	case byAct && resp.StatusCode == http.StatusOK:
		if into == nil {
			return nil
		}
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("read the answer of the process that serves %s, of version %s: %w", c.dir, versionOf(resp), err)
		}
		return nil
	case byAct:
		var answer struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal(data, &answer); err != nil || answer.Message == "" {
			answer.Message = "the process that serves " + c.dir + " answered " + resp.Status
		}
		return &RefusedError{resp.StatusCode, answer.Message}
	case resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("directory %s: %w", c.dir, ErrNotYours)
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed:
		return fmt.Errorf("directory %s is served by version %s: %w", c.dir, versionOf(resp), ErrOlder)
	default:
		return fmt.Errorf("the process that serves %s answered %s", c.dir, resp.Status)
	}
}

func versionOf(resp *http.Response) string {
	if v := resp.Header.Get(headerVersion); v != "" {
		return v
	}
	return "unknown"
}

// unanswered says why nothing answers. That the directory is in use, and by whom,
// the lock knows.
func (c *Client) unanswered(err error) error {
	switch {
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return fmt.Errorf("directory %s: %w (%w)", c.dir, ErrNotYours, err)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("ask the process that serves %s: %w", c.dir, err)
	}
	lockErr := durable.Unlocked(c.dir)
	if errors.Is(lockErr, durable.ErrLocked) {
		return fmt.Errorf("%w, which has no admin channel: it is just starting or stopping, or of a version without one", lockErr)
	}
	return errors.Join(fmt.Errorf("directory %s: %w", c.dir, ErrNotRunning), lockErr)
}
