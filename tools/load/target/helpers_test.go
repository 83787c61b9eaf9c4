package target_test

import (
	"context"
	"crypto"
	"net/http"
	"testing"
	"time"

	"sigstack/tools/load/drive"
	"sigstack/tools/load/loadtest"
	"sigstack/tools/load/target"
)

// operations of each run.
const operations = 4

// config is what the driver knows of a fake.
func config(tb testing.TB, f *loadtest.Fake) target.Config {
	tb.Helper()
	client, err := target.NewHTTPClient(2, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.CloseIdleConnections)
	return target.Config{
		CA: f.URL, Rekor: f.URL, Rekor2: f.URL, TSA: f.URL + "/api/v1/timestamp",
		Trust: target.Trust{
			CTKeys: []crypto.PublicKey{f.Stack.Keys.CT.Public()}, Rekor2: f.V2.Public(),
		},
		Tokens: []string{f.Token}, Lifetime: 10 * time.Minute, Entries: 3, Concurrent: 2, HTTP: client, Now: time.Now,
	}
}

// measure sets a target up while all is right, then sets the hooks and runs it.
func measure(t *testing.T, f *loadtest.Fake, name string, c target.Config, h loadtest.Hooks) drive.Result {
	t.Helper()
	return measureWithin(t, f, name, c, h, time.Minute)
}

// measureWithin is measure with a timeout of each operation.
func measureWithin(t *testing.T, f *loadtest.Fake, name string, c target.Config, h loadtest.Hooks, timeout time.Duration) drive.Result {
	t.Helper()
	f.Set(loadtest.Hooks{})
	prepare, err := target.New(t.Context(), name, c)
	if err != nil {
		t.Fatal(err)
	}
	f.Set(h)
	result, err := drive.Run(t.Context(), drive.Config{
		Prepare: prepare, KindOf: target.KindOf, Concurrency: 2, Count: operations, Timeout: timeout, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// wantOnly demands that every operation failed, with errors of one kind; for no
// kind, that every one succeeded.
func wantOnly(t *testing.T, got drive.Result, kind string) {
	t.Helper()
	switch {
	case kind == "" && (got.Operations != operations || len(got.Errors) > 0):
		t.Errorf("got %d right answers and errors %v, want %d and none", got.Operations, got.Errors, operations)
	case kind != "" && (got.Operations != 0 || len(got.Errors) != 1 || got.Errors[0].Kind != kind || got.Errors[0].Count != operations):
		t.Errorf("got %d right answers and errors %v, want only %d of kind %q", got.Operations, got.Errors, operations, kind)
	case kind != "" && got.Errors[0].First == "":
		t.Error("the first error says nothing")
	}
}

// TestRightAnswers is the control of every table here.
func TestRightAnswers(t *testing.T) {
	f := loadtest.Start(t)
	for _, name := range target.Names() {
		ways := target.Ways(name)
		if ways == nil {
			ways = []string{""}
		}
		for _, by := range ways {
			t.Run(name+" "+by, func(t *testing.T) {
				c := config(t, f)
				c.By = by
				got := measure(t, f, name, c, loadtest.Hooks{})
				wantOnly(t, got, "")
				if got.Latency.Count() != operations || got.Latency.Min() <= 0 {
					t.Errorf("got %d latencies from %v on, want %d", got.Latency.Count(), got.Latency.Min(), operations)
				}
			})
		}
	}
	t.Run("rekor2 Ed25519", func(t *testing.T) {
		f.V2.UseEd25519(t)
		wantOnly(t, measure(t, f, "rekor2", config(t, f), loadtest.Hooks{}), "")
	})
	t.Run("get indexes", func(t *testing.T) {
		c := config(t, f)
		c.Indexes = [2]int64{1, int64(len(f.IDs()))}
		wantOnly(t, measure(t, f, "get", c, loadtest.Hooks{}), "")
	})
}

// TestTransport feeds each target what HTTP and the network can do wrong.
func TestTransport(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request, int, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ int, answer []byte) {
			w.Header().Set("Location", "/")
			w.WriteHeader(code)
			_, _ = w.Write(answer) // right, but for the code
		}
	}
	closed := func(w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_ = conn.Close()
	}
	gone, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	tests := []struct {
		name, kind string
		answer     func(w http.ResponseWriter, r *http.Request, status int, answer []byte)
	}{
		{"too many requests", "status 429", status(http.StatusTooManyRequests)},
		{"overload", "status 503", status(http.StatusServiceUnavailable)},
		{"fault", "status 500", status(http.StatusInternalServerError)},
		{"redirect", "status 307", status(http.StatusTemporaryRedirect)},
		{"part of it", "status 206", status(http.StatusPartialContent)},
		{"truncated", "malformed", func(w http.ResponseWriter, _ *http.Request, status int, answer []byte) {
			w.WriteHeader(status)
			_, _ = w.Write(answer[:len(answer)-3])
		}},
		{"empty", "malformed", func(w http.ResponseWriter, _ *http.Request, status int, _ []byte) { w.WriteHeader(status) }},
		{"a page", "malformed", func(w http.ResponseWriter, _ *http.Request, status int, _ []byte) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>welcome</html>"))
		}},
		{"dropped before", "dropped", func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) { closed(w) }},
		{"dropped amid", "dropped", func(w http.ResponseWriter, _ *http.Request, status int, answer []byte) {
			w.WriteHeader(status)
			_, _ = w.Write(answer[:len(answer)/2])
			_ = http.NewResponseController(w).Flush()
			closed(w)
		}},
		{"slow", "timeout", func(_ http.ResponseWriter, r *http.Request, _ int, _ []byte) {
			select {
			case <-r.Context().Done():
			case <-gone.Done():
			}
		}},
		{"slow amid", "timeout", func(w http.ResponseWriter, r *http.Request, status int, answer []byte) {
			w.WriteHeader(status)
			_, _ = w.Write(answer[:len(answer)/2])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-gone.Done():
			}
		}},
	}
	f := loadtest.Start(t)
	for _, name := range target.Names() {
		for _, tt := range tests {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				timeout := time.Minute
				if tt.kind == "timeout" {
					timeout = 100 * time.Millisecond
				}
				wantOnly(t, measureWithin(t, f, name, config(t, f), loadtest.Hooks{Answer: tt.answer}, timeout), tt.kind)
			})
		}
	}
}
