package httpd_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// TestCallsAreCounted: by method and status, under the names of gRPC's own servers.
func TestCallsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.DiscardHandler), Metrics: reg, Now: time.Now})
	addCalls(m)
	conn, srv := callServer(t, m)
	for method, message := range map[string]string{
		"Echo": "hello", "Invalid": "", "Limited": "", "Internal": "", "Unavailable": "", "Panic": "",
	} {
		_, err := invoke(t.Context(), conn, method, message)
		if (err == nil) != (method == "Echo") {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, err := invoke(t.Context(), conn, "Echo", strings.Repeat("x", maxMessage+1)); err == nil {
		t.Error("a message over the limit was answered")
	}
	if _, err := invoke(t.Context(), conn, "None", ""); err == nil {
		t.Error("a method that is not there was answered")
	}
	resp, err := srv.Client().Post(srv.URL+"/test.Calls/Echo", "application/json", http.NoBody) // no call
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		"grpc_server_started_total Echo":                      2,
		"grpc_server_handled_total OK Echo":                   1,
		"grpc_server_handled_total ResourceExhausted Echo":    1,
		"grpc_server_msg_received_total Echo":                 1,
		"grpc_server_msg_sent_total Echo":                     1,
		"grpc_server_started_total Invalid":                   1,
		"grpc_server_handled_total InvalidArgument Invalid":   1,
		"grpc_server_handled_total OK Invalid":                0,
		"grpc_server_msg_received_total Invalid":              1,
		"grpc_server_msg_sent_total Invalid":                  0,
		"grpc_server_handled_total ResourceExhausted Limited": 1,
		"grpc_server_handled_total Internal Internal":         1,
		"grpc_server_handled_total Internal Panic":            1,
		"grpc_server_handled_total Unavailable Unavailable":   1,
		"grpc_server_started_total Wait":                      0,
	} {
		if got, ok := calls(t, reg)[series]; !ok || got != want {
			t.Errorf("%s: %v (there: %v), want %v", series, got, ok, want)
		}
	}
	if all := calls(t, reg); len(all) != 4*7+6 {
		t.Errorf("%d series, want no more: %v", len(all), all)
	}
}

// calls reads what is counted of the service test.Calls: name, status, method.
func calls(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "grpc_server_") {
			continue
		}
		for _, series := range f.GetMetric() {
			name := f.GetName()
			for _, l := range series.GetLabel() { // sorted by name
				switch l.GetName() {
				case "grpc_code", "grpc_method":
					name += " " + l.GetValue()
				case "grpc_service":
					if l.GetValue() != "test.Calls" {
						t.Errorf("service %s", l.GetValue())
					}
				case "grpc_type":
					if l.GetValue() != "unary" {
						t.Errorf("type %s", l.GetValue())
					}
				}
			}
			out[name] = series.GetCounter().GetValue()
		}
	}
	return out
}
