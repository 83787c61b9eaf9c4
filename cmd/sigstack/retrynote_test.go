package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRetriesAreToldOnce, and answers that are final are not told at all.
func TestRetriesAreToldOnce(t *testing.T) {
	status := http.StatusBadRequest
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	distrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	distrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	distrusted.StartTLS()
	defer distrusted.Close()
	var out bytes.Buffer
	a := &app{format: "text", err: &out}
	client := a.noteRetries(&http.Client{})
	get := func(url string) {
		t.Helper()
		if resp, err := client.Get(url); err == nil {
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	get(server.URL)
	get(distrusted.URL)
	if got := out.String(); got != "" {
		t.Errorf("told of final answers: %q", got)
	}
	status = http.StatusServiceUnavailable
	get(server.URL)
	server.Close()
	get(server.URL)
	if got, want := out.String(), "no answer yet from "+server.URL+" (it says 503 Service Unavailable); trying again\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	out.Reset()
	client = a.noteRetries(&http.Client{})
	get(server.URL)
	if got := out.String(); !strings.HasPrefix(got, "no answer yet from "+server.URL+" (") || !strings.Contains(got, "refused") {
		t.Errorf("got %q, want that nobody listens there", got)
	}
}
