package httpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/fault"
)

// gRPC as it is spoken over HTTP/2: a call is a request whose body is one framed
// message, and its status is in the trailer of the answer, whose HTTP status is
// always 200 (grpc: doc/PROTOCOL-HTTP2.md). Unary calls only, uncompressed.
const (
	grpcType    = "application/grpc"
	frameHeader = 5 // bytes: a flag and the message's length
	codeOK      = "0"
)

// GRPCFunc answers a unary call: r has its metadata as headers, and its deadline;
// message and answer are encoded. Errors become the call's status as those of a
// HandlerFunc become the answer's.
type GRPCFunc func(r *http.Request, message []byte) (answer []byte, err error)

// HandleGRPC adds a method of a gRPC service. A message of more than maxMessage
// bytes is refused as RESOURCE_EXHAUSTED.
func (g *Group) HandleGRPC(service, method string, maxMessage int64, h GRPCFunc) {
	as := *g
	as.format = RESTErrors // for who comes without gRPC
	as.rpc = g.mux.metrics.calls.of(service, method)
	as.Handle(http.MethodPost, "/"+service+"/"+method, frameHeader+maxMessage, func(w http.ResponseWriter, r *http.Request) error {
		if !isGRPC(r) {
			return fault.New(fault.Unsupported, "this path answers gRPC only")
		}
		answer, err := answerCall(w, r, maxMessage, func(r *http.Request, message []byte) ([]byte, error) {
			as.rpc.received.Inc()
			return h(r, message)
		})
		if err != nil {
			return err
		}
		as.rpc.sent.Inc()
		writeCall(w, answer)
		return nil
	})
}

// isGRPC reports whether a request is a call. Its errors are then rendered as
// statuses of gRPC, whatever it asks for: never those of a GET, whose 200 a cache
// could keep for others.
func isGRPC(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.Header.Get("Content-Type"), grpcType)
	return ok && r.Method == http.MethodPost && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

func answerCall(w http.ResponseWriter, r *http.Request, maxMessage int64, h GRPCFunc) ([]byte, error) {
	ctx, cancel, err := callContext(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	message, err := readMessage(w, r, maxMessage)
	if err != nil {
		return nil, err
	}
	answer, err := h(r.WithContext(ctx), message)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fault.Wrap(fault.Timeout, err, "the deadline of the call has passed")
	}
	return answer, err
}

// callContext returns the request's context with the deadline of its header.
func callContext(r *http.Request) (context.Context, context.CancelFunc, error) {
	text := r.Header.Get("Grpc-Timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	timeout, ok := parseTimeout(text)
	if !ok {
		return nil, nil, fault.New(fault.Invalid, "grpc-timeout is malformed")
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// parseTimeout reads at most eight digits and a unit.
func parseTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	digits, unit := s[:len(s)-1], timeoutUnits[s[len(s)-1]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || unit == 0 {
		return 0, false
	}
	const longest = 24 * time.Hour // as good as never, and far from an overflow
	if n > uint64(longest/unit) {
		return longest, true
	}
	return time.Duration(n) * unit, true
}

// readMessage reads the one message of a call.
func readMessage(w http.ResponseWriter, r *http.Request, maxMessage int64) ([]byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r.Body, header[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fault.Wrap(fault.Invalid, err, "the call has no message")
	} else if err != nil {
		return nil, BodyError(err)
	}
	length := int64(binary.BigEndian.Uint32(header[1:]))
	switch {
	case header[0] == 1 && encoded(r):
		w.Header().Set("Grpc-Accept-Encoding", "identity")
		return nil, fault.New(fault.Unimplemented, "compressed messages are not understood")
	case header[0] != 0:
		return nil, fault.New(fault.Invalid, "the message's frame is malformed")
	case length > maxMessage:
		return nil, fault.Newf(fault.TooLarge, "message of %d bytes is over the limit of %d bytes", length, maxMessage)
	}
	message, err := ReadBody(r)
	if err != nil {
		return nil, err
	}
	if int64(len(message)) != length {
		return nil, fault.New(fault.Invalid, "the call's body is not one message")
	}
	return message, nil
}

// encoded reports whether a call names a compression.
func encoded(r *http.Request) bool {
	encoding := r.Header.Get("Grpc-Encoding")
	return encoding != "" && encoding != "identity"
}

// writeCall answers a call that went well.
func writeCall(w http.ResponseWriter, message []byte) {
	frame := make([]byte, frameHeader, frameHeader+len(message))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message))) // our own, and small
	w.Header().Set("Content-Type", grpcType)
	w.Header().Set("Trailer", "Grpc-Status") // a proxy may come by HTTP/1.1, which has to know beforehand
	w.WriteHeader(http.StatusOK)
	_, _ = io.Copy(w, bytes.NewReader(append(frame, message...))) // as WriteBytes
	w.Header().Set("Grpc-Status", codeOK)
}

// writeStatus answers a call with the status that stands for err, and nothing
// else. It returns the HTTP status that other clients would get, for log and
// metrics.
func writeStatus(w http.ResponseWriter, err error) int {
	kind := fault.KindOf(err)
	code, status := callCode(err), defaultStatus[kind]
	switch kind {
	case fault.Unimplemented: // what anybody may ask for is no fault of ours, as 501 is
		status = http.StatusBadRequest
	case fault.Limited, fault.Unavailable:
		w.Header().Set("Retry-After", retryAfter(fault.RetryAfterOf(err)))
	}
	w.Header().Set("Content-Type", grpcType)
	w.Header().Set("Grpc-Status", strconv.Itoa(code))
	w.Header().Set("Grpc-Message", percentEncode(fault.Public(err)))
	if details := callDetails(code, err, w.Header().Get("X-Request-Id")); details != "" {
		w.Header().Set("Grpc-Status-Details-Bin", details)
	}
	w.WriteHeader(http.StatusOK)
	return status
}

// callCode is the status of a call that ends with err. It differs from that in the
// bodies of GRPCErrors in one case (contract: ca.md §2).
func callCode(err error) int {
	kind := fault.KindOf(err)
	if kind == fault.TooLarge {
		kind = fault.Limited
	}
	return grpcCode[kind]
}

// percentEncode keeps printable ASCII but the percent sign.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
