// Command referrersregistry serves an empty registry with the referrers API of OCI 1.1,
// in memory and for measurements only, until it is interrupted.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "`HOST:PORT` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, *address)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "referrersregistry:", err)
		os.Exit(1)
	}
}

// serve serves until ctx ends.
func serve(ctx context.Context, address string) error {
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	server := &http.Server{
		Addr: address, Handler: tellingSubjects(registry.New(registry.WithReferrersSupport(true), quiet)), ReadHeaderTimeout: 10 * time.Second,
	}
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// maxManifest bounds a manifest, in bytes, as registries have it.
const maxManifest = 4 << 20

// tellingSubjects adds what the library leaves out: a registry with the referrers API has to
// answer a manifest with the digest of its subject (OCI distribution 1.1, "Pushing Manifests
// with Subject").
func tellingSubjects(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
			inner.ServeHTTP(w, r)
			return
		}
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var m struct {
			Subject struct {
				Digest string `json:"digest"`
			} `json:"subject"`
		}
		if json.Unmarshal(raw, &m) == nil && m.Subject.Digest != "" { // the library judges what it cannot read
			w.Header().Set("OCI-Subject", m.Subject.Digest)
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		inner.ServeHTTP(w, r)
	})
}
