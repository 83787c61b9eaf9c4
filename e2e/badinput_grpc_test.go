package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"sigstack/internal/httpd"
)

// grpcStatus is the form of a refused gRPC call: no body, and the status where
// clients look for it when there is none.
func grpcStatus(code int) shape {
	return func(a answer, status int, want string) error {
		if a.status != status || len(a.body) > 0 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/grpc") {
			return fmt.Errorf("answer %d %q %.200q, want %d, gRPC's type and no body", a.status, a.header.Get("Content-Type"), a.body, status)
		}
		if got := a.header.Get("Grpc-Status"); got != strconv.Itoa(code) {
			return fmt.Errorf("grpc-status %q (%s), want %d", got, a.header.Get("Grpc-Message"), code)
		}
		message, err := url.PathUnescape(a.header.Get("Grpc-Message"))
		if err != nil {
			return fmt.Errorf("grpc-message %q: %w", a.header.Get("Grpc-Message"), err)
		}
		return worded(a, message, want)
	}
}

// isCall tells a method of gRPC by its path: the first part has the dots of a
// package's name. The forms of its row are those for who comes without gRPC.
func isCall(r httpd.Route) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	return strings.Contains(service, ".")
}

// frame is a message as it is sent: its length before it, uncompressed.
func frame(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// calls are header fields of a call, and more.
func calls(more http.Header) http.Header {
	h := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	maps.Copy(h, more)
	return h
}

// grpcRows are those of the methods that are called by gRPC.
func grpcRows() map[string]row {
	const fulcio = "/dev.sigstore.fulcio.v2.CA/"
	method := func(path string, own ...badCase) row {
		return row{path, restError, append(badCalls(), own...)}
	}
	malformed := badCase{
		name: "no protobuf", body: frame("\xff"), header: calls(nil), status: 200, shape: grpcStatus(3), want: "request message is malformed",
	}
	return map[string]row{
		"POST " + fulcio + "CreateSigningCertificate": method(fulcio+"CreateSigningCertificate", malformed, badCase{
			name: "nothing in it", body: frame(""), header: calls(nil), status: 200, shape: grpcStatus(3), want: "token",
		}),
		"POST " + fulcio + "GetTrustBundle":   method(fulcio+"GetTrustBundle", malformed),
		"POST " + fulcio + "GetConfiguration": method(fulcio+"GetConfiguration", malformed),
		"POST /grpc.health.v1.Health/Check": method("/grpc.health.v1.Health/Check", malformed, badCase{
			name: "unknown service", body: frame("\x0a\x06nosuch"), header: calls(nil), status: 200, shape: grpcStatus(5), want: "no such service",
		}),
	}
}

// badCalls are wrong for every method.
func badCalls() []badCase {
	invalid, unlimited := grpcStatus(3), string([]byte{0, 0xff, 0xff, 0xff, 0xff})
	return []badCase{
		{name: "JSON", body: "{}", status: 415, want: "gRPC only"},
		{name: "gRPC for browsers", body: frame(""), header: http.Header{"Content-Type": {"application/grpc-web"}}, status: 415, want: "gRPC only"},
		{name: "nothing", header: calls(nil), status: 200, shape: invalid, want: "no message"},
		{name: "half a header", body: "\x00\x00", header: calls(nil), status: 200, shape: invalid, want: "no message"},
		{name: "unknown flag", body: "\x07\x00\x00\x00\x00", header: calls(nil), status: 200, shape: invalid, want: "frame is malformed"},
		{name: "compressed by nothing", body: "\x01\x00\x00\x00\x00", header: calls(nil), status: 200, shape: invalid, want: "frame is malformed"},
		{
			name: "compressed", body: "\x01\x00\x00\x00\x00", header: calls(http.Header{"Grpc-Encoding": {"gzip"}}),
			status: 200, shape: grpcStatus(12), want: "compressed messages are not understood",
		},
		{name: "shorter than it says", body: frame("a message")[:8], header: calls(nil), status: 200, shape: invalid, want: "not one message"},
		{name: "two messages", body: frame("") + frame(""), header: calls(nil), status: 200, shape: invalid, want: "not one message"},
		{name: "4 GB to come", body: unlimited, header: calls(nil), status: 200, shape: grpcStatus(8), want: "over the limit of"},
		{
			name: "a deadline of nonsense", body: frame(""), header: calls(http.Header{"Grpc-Timeout": {"soon"}}),
			status: 200, shape: invalid, want: "grpc-timeout is malformed",
		},
	}
}

// limitsCall sends a message of a byte too much.
func (s *inProcess) limitsCall(t *testing.T, path string, maxBody int64) {
	t.Helper()
	most := int(maxBody) - len(frame(""))
	a := s.send(t, http.MethodPost, path, calls(nil), strings.NewReader(frame(strings.Repeat(" ", most+1))))
	if err := grpcStatus(8)(a, http.StatusOK, fmt.Sprintf("over the limit of %d bytes", most)); err != nil {
		t.Errorf("message of %d bytes: %v", most+1, err)
	}
}
