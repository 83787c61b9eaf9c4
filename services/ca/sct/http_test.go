package sct

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
)

func remote(t *testing.T, r Remote) Submit {
	t.Helper()
	if r.Transport == nil {
		r.Transport = http.DefaultTransport
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	s, err := r.Submit()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRemoteStatuses: what a log's status says of it (contract: ca.md §8).
func TestRemoteStatuses(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		status     int
		retryAfter string
		body       string
		kind       fault.Kind
		rest       time.Duration
	}{
		{200, "", `{"sct_version":0}`, 0, 0},
		{200, "", strings.Repeat("x", maxAnswer+1), fault.Internal, 0},
		{400, "", "unknown root", fault.Invalid, 0},
		{403, "", "read-only", fault.Invalid, 0},
		{404, "", "", fault.Invalid, 0},
		{302, "", "", fault.Invalid, 0},
		{408, "", "", fault.Unavailable, 0},
		{429, "7", "", fault.Unavailable, 7 * time.Second},
		{429, "soon", "", fault.Unavailable, 0},
		{429, "-5", "", fault.Unavailable, 0},
		{503, now.Add(9 * time.Second).Format(http.TimeFormat), "", fault.Unavailable, 9 * time.Second},
		{503, now.Add(-9 * time.Second).Format(http.TimeFormat), "", fault.Unavailable, 0},
		{500, "", strings.Repeat("secret ", 100000), fault.Unavailable, 0},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.retryAfter != "" {
				w.Header().Set("Retry-After", tt.retryAfter)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		answer, err := remote(t, Remote{URL: srv.URL + "/log/", Now: func() time.Time { return now }})(t.Context(), [][]byte{{1}})
		srv.Close()
		if tt.status == 200 && len(tt.body) <= maxAnswer {
			if err != nil || string(answer) != tt.body {
				t.Errorf("%d: %q, %v", tt.status, answer, err)
			}
			continue
		}
		if err == nil || fault.KindOf(err) != tt.kind || retryAfter(err) != tt.rest {
			t.Errorf("%d %q: %v of kind %v, rest %v, want kind %v, rest %v", tt.status, tt.retryAfter, err, fault.KindOf(err), retryAfter(err), tt.kind, tt.rest)
		}
		if len(err.Error()) > 2000 || strings.Contains(fault.Public(err), "secret") {
			t.Errorf("%d: error of %d bytes, public sentence %q", tt.status, len(err.Error()), fault.Public(err))
		}
	}
}

// TestRemoteRequest: what is sent, and where to.
func TestRemoteRequest(t *testing.T) {
	var path, host, kind string
	var chain struct{ Chain [][]byte }
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path, host, kind = r.Method+" "+r.URL.Path, r.Host, r.Header.Get("Content-Type")
		if err := json.NewDecoder(r.Body).Decode(&chain); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	for _, omit := range []bool{false, true} {
		submit := remote(t, Remote{URL: srv.URL + "/log", Host: "ct.example.com", OmitRoot: omit, Transport: srv.Client().Transport})
		if _, err := submit(t.Context(), [][]byte{{1}, {2}, {3}}); err != nil {
			t.Fatal(err)
		}
		want := 3
		if omit {
			want = 2
		}
		if path != "POST /log/ct/v1/add-pre-chain" || host != "ct.example.com" || kind != "application/json" || len(chain.Chain) != want {
			t.Errorf("%s to %s as %s with %d certificates, want %d", path, host, kind, len(chain.Chain), want)
		}
	}
	// Without its authority the log is not who it says.
	other := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if _, err := remote(t, Remote{URL: srv.URL, Transport: other})(t.Context(), [][]byte{{1}}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("unknown authority: %v, want fault.Unavailable", err)
	}
}

// TestRemoteBreaksOff: connections that end early and hang are the log's fault.
func TestRemoteBreaksOff(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang/ct/v1/add-pre-chain" {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	}))
	defer srv.Close()
	if _, err := remote(t, Remote{URL: srv.URL})(t.Context(), nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("broken off: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := remote(t, Remote{URL: srv.URL + "/hang"})(ctx, nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("hanging: %v", err)
	}
}

func TestRemoteURL(t *testing.T) {
	for _, bad := range []string{"", "ct.example.com", "ftp://ct.example.com", "https:///log", "https://u:p@ct.example.com", "https://ct.example.com?x=1"} {
		if _, err := (Remote{URL: bad}).Submit(); err == nil {
			t.Errorf("URL %q is taken", bad)
		}
	}
}
