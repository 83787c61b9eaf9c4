package httpd

import (
	"net/http"
	"time"

	"sigstack/internal/fault"
)

// largeAnswer is from how many bytes on an answer counts: for the budget of what
// is held, and as waiting for a client that does not take it. Smaller ones fit
// into the buffers of the system.
const largeAnswer = 64 << 10

// recorder remembers what was sent, and holds large answers to the guard's
// budget.
type recorder struct {
	http.ResponseWriter
	mux  *Mux
	body *body  // the request's; nil: none
	conn *conn  // nil: not tracked
	from string // AddressKey of the client
	flow bool   // HTTP/2: the client says how much may be sent, be it nothing

	status  int
	bytes   int64
	taken   int64 // of the budget
	refused bool  // for want of room: nothing but that is answered
}

// WriteHeader sends the status, but where the guard ended the request's body:
// a foreign handler does not know what that means.
func (w *recorder) WriteHeader(status int) {
	if status < http.StatusOK { // of what is yet to come
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 || w.refused {
		return
	}
	if err := w.body.refusal(); err != nil && status >= 400 {
		status = RESTErrors.status(err)
		w.Header().Set("Retry-After", retryAfter(fault.RetryAfterOf(err)))
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the answer.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 && !w.room(len(p)) || w.refused {
		return len(p), nil // the handler's part is done
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.bytes+int64(len(p)) >= largeAnswer || w.flow { // in one piece or many
		w.conn.change(0, 1)
		defer w.conn.change(0, -1)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// room asks the budget for an answer of n bytes that has not begun. If there is
// none, the client is told to come again.
func (w *recorder) room(n int) bool {
	if w.refused {
		return false
	}
	if n < largeAnswer || w.status != 0 {
		return true
	}
	if w.mux.cfg.Guard.Bodies.Take(w.from, int64(n)) {
		w.taken += int64(n)
		return true
	}
	w.mux.Refused(ByBodyMemory)
	for _, ofAnswer := range []string{"Cache-Control", "Content-Encoding", "Etag", "Last-Modified", "Location"} {
		w.Header().Del(ofAnswer)
	}
	RESTErrors.write(w, fault.Later(time.Second, "this server holds as much of answers as it has room for, try again"))
	w.refused = true
	return false
}

// release gives back what was taken.
func (w *recorder) release() {
	w.mux.cfg.Guard.Bodies.Give(w.from, w.taken)
	w.taken = 0
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
