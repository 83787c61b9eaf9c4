package httpd_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

const testID = "req-1234"

// TestDetails: what the libraries of others read out of an answer, by HTTP and by
// gRPC, is the cause and the id that the log has.
func TestDetails(t *testing.T) {
	want := map[string]string{"check": "expiry", "found": "2026-01-01T00:00:00Z", "odd": "ä\"<"}
	err := fault.Wrap(fault.Invalid, fault.Because(fault.New(fault.Invalid, "the token has expired"),
		fault.Detail{Reason: "TOKEN_EXPIRED", Metadata: want}), "bad token: the token has expired")
	var log lockedBuffer
	m := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now})
	g := m.Group("calls", httpd.GRPCErrors)
	g.Handle(http.MethodPost, "/http", 10, func(http.ResponseWriter, *http.Request) error { return err })
	g.HandleGRPC("test.Calls", "Refused", maxMessage, func(*http.Request, []byte) ([]byte, error) { return nil, err })
	conn, srv := callServer(t, m)

	check := func(t *testing.T, got *status.Status) {
		t.Helper()
		details := got.Details()
		if got.Code() != codes.InvalidArgument || got.Message() != "bad token: the token has expired" || len(details) != 2 {
			t.Fatalf("got %v %q with %d details, want the refusal and two", got.Code(), got.Message(), len(details))
		}
		info, _ := details[0].(*errdetails.ErrorInfo)
		if info.GetReason() != "TOKEN_EXPIRED" || info.GetDomain() != "sigstack" || !maps.Equal(info.GetMetadata(), want) {
			t.Errorf("first detail %v, want the cause", details[0])
		}
		if id, _ := details[1].(*errdetails.RequestInfo); id.GetRequestId() != testID {
			t.Errorf("second detail %v, want the request's id", details[1])
		}
		if logged := log.take(); !strings.Contains(logged, "request_id="+testID) {
			t.Errorf("log %q, want the same id", logged)
		}
	}
	t.Run("gRPC", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", testID)
		_, err := invoke(ctx, conn, "Refused", "")
		check(t, status.Convert(err))
	})
	t.Run("HTTP", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/http", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", testID)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if id := resp.Header.Get("X-Request-Id"); id != testID {
			t.Errorf("header X-Request-Id %q, want %q", id, testID)
		}
		var got statuspb.Status
		if err := protojson.Unmarshal(body, &got); err != nil {
			t.Fatalf("body %s is no google.rpc.Status: %v", body, err)
		}
		check(t, status.FromProto(&got))
	})
}

// TestNoDetails: an error without a cause keeps an empty list, and one of ours
// hides whose fault it was inside.
func TestNoDetails(t *testing.T) {
	inner := fault.Because(fault.New(fault.Invalid, "x"), fault.Detail{Reason: "X"})
	for name, err := range map[string]error{
		"no cause":         fault.New(fault.Invalid, "x"),
		"classified anew":  fault.Wrap(fault.Internal, inner, "our fault"),
		"not classified":   io.ErrUnexpectedEOF,
		"another category": fault.Wrap(fault.Unavailable, inner, "away"),
	} {
		m := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: time.Now})
		g := m.Group("calls", httpd.GRPCErrors)
		g.Handle(http.MethodPost, "/http", 10, func(http.ResponseWriter, *http.Request) error { return err })
		g.HandleGRPC("test.Calls", "Refused", maxMessage, func(*http.Request, []byte) ([]byte, error) { return nil, err })
		resp := post(t, m, "/http", "application/json", "")
		var body map[string]json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := string(body["details"]); got != "[]" {
			t.Errorf("%s: details %s, want []", name, got)
		}
		resp = post(t, m, "/test.Calls/Refused", "application/grpc", frame(0, 0, ""))
		resp.Body.Close()
		if got, there := resp.Header["Grpc-Status-Details-Bin"]; there {
			t.Errorf("%s: a call is told %s, want nothing", name, got)
		}
	}
}
