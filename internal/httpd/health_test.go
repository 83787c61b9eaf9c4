package httpd_test

import (
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"sigstack/internal/httpd"
)

// TestHealth: gRPC's own client sees what /readyz says.
func TestHealth(t *testing.T) {
	ready := httpd.NewReadiness("ca", "tlog")
	ready.Alias("test.CA", "ca")
	ready.Alias("test.TSA", "tsa")
	ready.Set("ca", httpd.Warn, "soon")
	m := newMux(t, io.Discard)
	ready.Mount(m)
	_, srv := callServer(t, m)
	conn, err := grpc.NewClient(srv.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was left to send
	client := health.NewHealthClient(conn)
	check := func(service string) (health.HealthCheckResponse_ServingStatus, codes.Code) {
		answer, err := client.Check(t.Context(), &health.HealthCheckRequest{Service: service})
		return answer.GetStatus(), status.Code(err)
	}
	for _, tt := range []struct {
		service string
		status  health.HealthCheckResponse_ServingStatus
		code    codes.Code
	}{
		{"", health.HealthCheckResponse_NOT_SERVING, codes.OK}, // tlog is starting
		{"tlog", health.HealthCheckResponse_NOT_SERVING, codes.OK},
		{"ca", health.HealthCheckResponse_SERVING, codes.OK},
		{"test.CA", health.HealthCheckResponse_SERVING, codes.OK},
		{"test.TSA", health.HealthCheckResponse_UNKNOWN, codes.NotFound},
		{"test.Other", health.HealthCheckResponse_UNKNOWN, codes.NotFound},
	} {
		if got, code := check(tt.service); got != tt.status || code != tt.code {
			t.Errorf("%q: %v %v, want %v %v", tt.service, got, code, tt.status, tt.code)
		}
	}
	ready.Set("tlog", httpd.OK, "")
	if got, _ := check(""); got != health.HealthCheckResponse_SERVING {
		t.Errorf("all are well: %v", got)
	}
	if _, err := client.List(t.Context(), &health.HealthListRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("list: %v, want %v", err, codes.Unimplemented)
	}
	stream, err := client.Watch(t.Context(), &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("watch: %v, want %v", err, codes.Unimplemented)
	}
}
