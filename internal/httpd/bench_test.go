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

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ header http.Header }

func (w nowhere) Header() http.Header         { return w.header }
func (w nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w nowhere) WriteHeader(int)             {}

// BenchmarkMux is what a request costs outside its handler.
func BenchmarkMux(b *testing.B) {
	m := httpd.NewMux(httpd.MuxConfig{
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	g := m.Group("bench", httpd.RESTErrors)
	g.Handle(http.MethodGet, "/things/{id}", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	g.Handle(http.MethodPost, "/things", 1<<20, func(w http.ResponseWriter, r *http.Request) error {
		_, err := httpd.ReadBody(r)
		w.WriteHeader(http.StatusNoContent)
		return err
	})
	body := strings.Repeat("x", 2000)
	for _, bb := range []struct{ name, method, path, body string }{
		{"read", http.MethodGet, "/things/7", ""},
		{"write", http.MethodPost, "/things", body},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r, err := http.NewRequest(bb.method, "http://localhost"+bb.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.RemoteAddr = "192.0.2.1:4711"
			r.ContentLength = int64(len(bb.body))
			b.ReportAllocs()
			for b.Loop() {
				again := *r
				again.Body = io.NopCloser(strings.NewReader(bb.body))
				m.ServeHTTP(nowhere{http.Header{}}, &again)
			}
		})
	}
}
