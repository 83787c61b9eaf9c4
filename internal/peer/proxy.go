package peer

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"sync"

	"sigstack/internal/httpd"
)

// Proxy passes requests on to a process and its answers back, trailers too.
type Proxy struct {
	client *Client
	proxy  *httputil.ReverseProxy
}

// passed is what belongs to one request on its way; the request's goroutine owns
// it.
type passed struct {
	ours map[string]bool // headers of the answer that are set here already
	err  error           // why there is no answer of the process
}

type passedKey struct{}

// Hold waits when no connection could be made to a process, and reports whether
// another try is worth it.
type Hold func(ctx context.Context) bool

// NewProxy returns a Proxy to the process of client. A request that could not even
// be sent is tried again as long as hold says so; nil: not.
func NewProxy(client *Client, hold Hold, log *slog.Logger) *Proxy {
	return &Proxy{client, &httputil.ReverseProxy{
		Transport: patient{client, hold},
		Rewrite: func(r *httputil.ProxyRequest) {
			introduce(r.In.Context(), r.Out.Header)
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it was sent, whatever the standard library thinks of it
		},
		ModifyResponse: func(resp *http.Response) error {
			p := from(resp.Request.Context())
			for name := range resp.Header {
				if p.ours[name] {
					resp.Header.Del(name)
				}
			}
			// Whether the public listener speaks TLS is not the process's to say.
			resp.Header.Del("Strict-Transport-Security")
			if len(resp.Trailer) > 0 {
				resp.Header.Del("Content-Length") // HTTP/1.1 has trailers behind chunks only
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) { from(r.Context()).err = err },
		BufferPool:   &buffers{sync.Pool{New: func() any { return make([]byte, 32<<10) }}},
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// introduce says who the client is. Whatever it has claimed itself is left out.
func introduce(ctx context.Context, h http.Header) {
	h.Del(forwardedFor)
	h.Del(clientCertificate)
	addr := httpd.ClientAddr(ctx)
	if !addr.IsValid() {
		addr = unknown
	}
	h.Set(forwardedFor, addr.String())
	if cert := httpd.ClientCertificate(ctx); cert != nil {
		h.Set(clientCertificate, base64.StdEncoding.EncodeToString(cert.Raw))
	}
}

// ofConnection are headers in which a client asks something of its connection that
// ends here: passed on, an upgrade fails, and a word to go on comes twice and takes
// the headers that are set here with it.
var ofConnection = []string{"Upgrade", "Expect"}

func from(ctx context.Context) *passed {
	p, ok := ctx.Value(passedKey{}).(*passed)
	if !ok {
		panic("peer: request was not passed on by Handle")
	}
	return p
}

// Handle passes a request on. The body is read whole first, up to the route's
// limit: slow clients wait here, and hold nothing of the process behind. Headers
// that the answer has already, such as the request's id, stay as they are.
func (p *Proxy) Handle(w http.ResponseWriter, r *http.Request) error {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	pass := &passed{ours: map[string]bool{}}
	for name := range w.Header() {
		pass.ours[name] = true
	}
	r = r.WithContext(context.WithValue(r.Context(), passedKey{}, pass))
	r.Body, r.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	r.TransferEncoding = nil
	for _, name := range ofConnection {
		r.Header.Del(name)
	}
	p.proxy.ServeHTTP(w, r)
	return pass.err
}

// buffers lends what answers are copied with.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte { return b.pool.Get().([]byte) }

func (b *buffers) Put(buf []byte) { b.pool.Put(buf) } //nolint:staticcheck // one small header for each 32 KiB
