package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

// Limits of a connection to another process. One that has died refuses at once;
// these are for a host that is cut off, and must not take one that is merely
// flooded for it: with the connection end all requests on it.
const (
	dialTimeout = 10 * time.Second
	pingAfter   = 5 * time.Second // of silence on a connection with requests
	pingTimeout = 15 * time.Second
	idleTimeout = 60 * time.Second
)

// maxConnections bounds the connections to one process. Each carries some hundreds
// of requests at once, but of many requests that find none free each would open one
// of its own: in a flood more than a process may have files.
const maxConnections = 128

// maxWindow is how much of an answer, in bytes, is taken before a client has taken
// what came before: what a slow one leaves must stay in the process that answers,
// whose memory for it is bounded.
const maxWindow = 64 << 10

// Of a client of NewBulkClient: connections that are kept for the next request, and
// what one reads and writes at a time, in bytes.
const (
	maxIdleBulk = 16
	bulkBuffer  = 64 << 10
)

// requestID is the header that carries a request's id from log to log.
const requestID = "X-Request-Id"

// Client calls one other process. It is safe for concurrent use.
type Client struct {
	name, address string
	transport     *http.Transport
}

// NewClient returns a client of the process that listens at address (host:port)
// and has the pinned key. Nothing is connected yet. The name is for messages.
func NewClient(name, address string, pin Pin, id Identity) *Client {
	http2 := new(http.Protocols)
	http2.SetHTTP2(true)
	return &Client{name, address, &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     id.clientConfig(pin),
		TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost:     maxConnections,
		Protocols:           http2,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxReceiveBufferPerStream: maxWindow},
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true, // what a client asked for goes through as it is
	}}
}

// NewBulkClient is NewClient for few large requests at a time: where the process offers
// it (ServerConfigFor), each has a connection of HTTP/1.1 to itself, without the frames,
// windows and goroutines by which many share one.
func NewBulkClient(name, address string, pin Pin, id Identity) *Client {
	c := NewClient(name, address, pin, id)
	t := c.transport
	t.Protocols.SetHTTP1(true)
	t.MaxIdleConnsPerHost = maxIdleBulk
	t.WriteBufferSize, t.ReadBufferSize = bulkBuffer, bulkBuffer
	return c
}

// Name is that of the other process.
func (c *Client) Name() string { return c.name }

// Address is where it listens.
func (c *Client) Address() string { return c.address }

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// RoundTrip sends a request to the process, whatever host its URL names: that
// host is sent along. An error is fault.Unavailable, or fault.Canceled when the
// request's own context has ended.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "https", c.address
	if out.Host == "" {
		out.Host = r.URL.Host
	}
	if id := httpd.RequestID(r.Context()); id != "" {
		out.Header.Set(requestID, id)
	}
	resp, err := c.transport.RoundTrip(out)
	if err != nil {
		return nil, c.fault(r.Context(), err)
	}
	return resp, nil
}

// fault classifies an error of the connection.
func (c *Client) fault(ctx context.Context, err error) error {
	err = fmt.Errorf("ask process %s at %s: %w", c.name, c.address, err)
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Wrap(fault.Canceled, err, "the client went away")
	}
	return fault.Wrap(fault.Unavailable, err, "a part of this service is unavailable")
}
