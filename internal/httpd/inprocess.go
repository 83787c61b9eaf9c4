package httpd

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// InProcess is an http.RoundTripper that hands requests to Handler without a
// connection. Whatever the URL's scheme, host and port, they reach the same
// handler; headers and status come back as a client would see them.
type InProcess struct{ Handler http.Handler }

// RoundTrip answers r from the handler. It buffers the whole answer, which is
// fit for small documents only.
func (t InProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close() // as http.RoundTripper demands
	}
	server := r.Clone(r.Context())
	server.RequestURI = r.URL.RequestURI()
	server.Host = r.URL.Host
	server.RemoteAddr = "127.0.0.1:0"
	if server.Body == nil {
		server.Body = http.NoBody
	}
	buf := &buffer{header: http.Header{}}
	t.Handler.ServeHTTP(buf, server)
	if buf.status == 0 {
		buf.status = http.StatusOK
	}
	return &http.Response{
		Status:        strconv.Itoa(buf.status) + " " + http.StatusText(buf.status),
		StatusCode:    buf.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        buf.header,
		Body:          io.NopCloser(&buf.body),
		ContentLength: int64(buf.body.Len()),
		Request:       r,
	}, nil
}

// buffer is a ResponseWriter in memory.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}
