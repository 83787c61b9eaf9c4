package httpd

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"sigstack/internal/fault"
)

// The least pace of a request body, which the whole request's time limit bounds
// besides: who is asked for more and sends less within a window is cut off.
const (
	paceWindow = 10 * time.Second
	paceBytes  = 16 << 10
)

// freeBytes of each body are had without asking the budget, so that ordinary
// requests go on when large ones have used it up. What that may come to is
// bounded by how many requests there are at once.
const freeBytes = 16 << 10

// A body of unknown length is read into a buffer of this size at first, in bytes,
// and so is one that claims to be longer: memory is for what has arrived.
const firstBuffer = 8 << 10

// ReadBody reads the whole request body. The error is fault.TooLarge past the
// route's limit, fault.Slow and fault.Limited when it arrives too slowly or there
// is no room for it, and fault.Invalid when the client breaks off.
func ReadBody(r *http.Request) ([]byte, error) {
	size := firstBuffer
	if n := r.ContentLength; n >= 0 && n < firstBuffer {
		size = int(n) + 1 // the end is seen before the buffer is full
	}
	buf := make([]byte, 0, size)
	for {
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, BodyError(err)
		}
		if len(buf) == cap(buf) {
			buf = grow(buf, r.ContentLength)
		}
	}
}

// grow doubles a full buffer, unless the announced rest is smaller than that.
func grow(buf []byte, announced int64) []byte {
	size := 2 * cap(buf)
	if announced >= int64(cap(buf)) && announced < int64(size) {
		size = int(announced) + 1
	}
	bigger := make([]byte, len(buf), size)
	copy(bigger, buf)
	return bigger
}

// BodyError classifies an error of reading a request body.
func BodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fault.Newf(fault.TooLarge, "request body is over the limit of %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.Wrap(fault.Slow, err, "the request body did not arrive in time")
	case fault.KindOf(err) != fault.Internal:
		return err
	}
	return fault.Wrap(fault.Invalid, err, "request body could not be read")
}

// body is a request body as a handler reads it: within the route's limit, at
// least at the pace above, and out of the budget of all bodies. A nil body is
// that of a request without one.
type body struct {
	io.ReadCloser // as it came; within the route's limit once there is a route
	mux           *Mux
	w             http.ResponseWriter
	conn          *conn  // nil: not tracked
	from          string // AddressKey of the client

	// A handler may leave the reading to another goroutine, which can outlive it.
	mu      sync.Mutex
	timer   *time.Timer // of the pace; guarded by mu, nil before the first Read
	reading bool        // a Read waits for the client; guarded by mu
	arrived int64       // guarded by mu
	seen    int64       // of arrived, when the window began; guarded by mu
	taken   int64       // of the budget, which is what arrived beyond freeBytes; guarded by mu
	done    bool        // all has arrived, or nobody is interested; guarded by mu
	err     error       // why the guard ended it; guarded by mu
}

// newBody takes over the body of a request on conn, if it has one.
func (m *Mux) newBody(w http.ResponseWriter, r *http.Request, own *conn, from string) *body {
	if r.Body == nil || r.Body == http.NoBody {
		own.change(1, 0)
		return nil
	}
	own.change(1, 1)
	return &body{ReadCloser: r.Body, mux: m, w: w, conn: own, from: from}
}

// within makes the body that of r, at most limit bytes long; with a limit of 0 r has
// none, whoever asks for it: what belongs to no request of this kind is no reason to
// refuse it.
func (b *body) within(w http.ResponseWriter, r *http.Request, limit int64) {
	if b == nil || limit == 0 {
		b.abandon()
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	b.ReadCloser = http.MaxBytesReader(w, b.ReadCloser, limit)
	r.Body = b
}

// abandon is for a body that nobody will read: what has not arrived by now is
// not waited for, which the server would do to use the connection again.
func (b *body) abandon() {
	if b != nil && !b.ended() {
		endReading(b.w)
	}
}

// Read reads from the client.
func (b *body) Read(p []byte) (int, error) {
	b.begin()
	n, err := b.ReadCloser.Read(p)
	return b.account(n, err)
}

func (b *body) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = true
	if b.timer == nil && !b.done {
		b.timer = time.AfterFunc(paceWindow, b.pace)
	}
}

// account takes what has arrived from the budget, and ends a body that is over.
func (b *body) account(n int, err error) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	switch {
	case b.err != nil:
		return 0, b.err
	case b.done && n > 0: // its request has ended: nobody gives the bytes back
		return 0, http.ErrBodyReadAfterClose
	case !b.take(int64(n)):
		b.mux.Refused(ByBodyMemory)
		b.err = fault.Later(time.Second, "this server holds as much of requests as it has room for, try again")
		return 0, b.err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.mux.Refused(BySlowness)
		b.err = BodyError(err)
		return n, b.err
	}
	if err != nil {
		b.finish()
	}
	return n, err
}

// take asks the budget for n more bytes; b.mu is held.
func (b *body) take(n int64) bool {
	more := max(b.arrived+n-freeBytes, 0) - b.taken
	if !b.mux.cfg.Guard.Bodies.Take(b.from, more) {
		return false
	}
	b.arrived += n
	b.taken += more
	return true
}

// pace runs at the end of each window: if the client was waited for and sent too
// little, reading ends.
func (b *body) pace() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return
	}
	if b.reading && b.arrived-b.seen < paceBytes {
		endReading(b.w)
		return
	}
	b.seen = b.arrived
	b.timer.Reset(paceWindow)
}

// finish stops waiting for the client; b.mu is held.
func (b *body) finish() {
	if b.done {
		return
	}
	b.done = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.conn.change(0, -1)
}

// ended reports whether all has arrived.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// release is for the end of the request: it gives back what was taken.
func (b *body) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finish()
	b.mux.cfg.Guard.Bodies.Give(b.from, b.taken)
	b.taken = 0
}

// refusal is why the guard ended the body, nil if it did not.
func (b *body) refusal() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// endReading makes reads from the client fail from now on, whatever has arrived
// aside. A server that is not net/http's cannot, and need not.
func endReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
}
