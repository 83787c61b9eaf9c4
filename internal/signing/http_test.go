package signing_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/signing"
)

const issuer = "https://issuer.example/dex"

// roundTrip is a transport that answers from a script: one line per request.
type roundTrip func(r *http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// scripted returns an issuer whose token endpoint answers by the given steps, the
// last for ever, and a counter of token requests.
func scripted(steps ...func() (*http.Response, error)) (signing.OIDC, *int) {
	calls := new(int)
	return signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			return respond(200, fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, issuer, issuer+"/token")), nil
		}
		step := steps[min(*calls, len(steps)-1)]
		*calls++
		return step()
	})}}, calls
}

func status(code int, body string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return respond(code, body), nil }
}

func refused() (*http.Response, error) { return nil, errors.New("connection refused") }

func TestCallsAreRetried(t *testing.T) {
	good := status(200, `{"id_token":"a.b.c"}`)
	tests := []struct {
		name  string
		steps []func() (*http.Response, error)
		calls int
	}{
		{"good at once", []func() (*http.Response, error){good}, 1},
		{"after 503", []func() (*http.Response, error){status(503, ""), good}, 2},
		{"after 429", []func() (*http.Response, error){status(429, ""), status(429, ""), good}, 3},
		{"after 500", []func() (*http.Response, error){status(500, ""), good}, 2},
		{"after broken connections", []func() (*http.Response, error){refused, refused, refused, refused, good}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, calls := scripted(tt.steps...)
				token, err := o.Password(t.Context(), "u", "p")
				if err != nil || token != "a.b.c" || *calls != tt.calls {
					t.Errorf("got %q, %v after %d calls, want a.b.c after %d", token, err, *calls, tt.calls)
				}
			})
		})
	}
}

func TestCallsGiveUp(t *testing.T) {
	huge := status(200, strings.Repeat("x", 5<<20))
	tests := []struct {
		name        string
		step        func() (*http.Response, error)
		calls       int
		unreachable bool
	}{
		{"no connection", refused, 5, true},
		{"gateway", status(502, "<html>bad gateway</html>"), 5, true},
		{"unavailable", status(503, `{"message":"down"}`), 5, true},
		{"answer without end", huge, 5, true},
		{"internal error", status(500, `{"message":"internal error"}`), 5, false},
		{"limited", status(429, ""), 5, false},
		{"wrong password", status(401, `{"error":"access_denied","error_description":"Invalid username or password"}`), 1, false},
		{"redirect", status(307, ""), 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, calls := scripted(tt.step)
				_, err := o.Password(t.Context(), "u", "secret word")
				var unreachable *signing.UnreachableError
				var answered *signing.ServiceError
				if errors.As(err, &unreachable) != tt.unreachable || (!tt.unreachable && !errors.As(err, &answered)) {
					t.Errorf("got %v, want unreachable %v", err, tt.unreachable)
				}
				if *calls != tt.calls {
					t.Errorf("got %d calls, want %d", *calls, tt.calls)
				}
				if text := fmt.Sprint(err); !strings.Contains(text, issuer+"/token") || strings.Contains(text, "secret") {
					t.Errorf("got %q, want the URL in it and no secret", text)
				}
			})
		})
	}
}

// TestCallsBackOff measures the pauses: they double, within their upper half,
// and Retry-After counts up to a limit.
func TestCallsBackOff(t *testing.T) {
	after := func(seconds string) func() (*http.Response, error) {
		return func() (*http.Response, error) {
			res := respond(429, "")
			res.Header.Set("Retry-After", seconds)
			return res, nil
		}
	}
	tests := []struct {
		name     string
		step     func() (*http.Response, error)
		min, max time.Duration // of all four pauses
	}{
		{"doubling", refused, 750 * time.Millisecond, 1500 * time.Millisecond},
		{"as asked", after("3"), 6 * time.Second, 12 * time.Second},
		{"capped", after("3600"), 40 * time.Second, 80 * time.Second},
		{"nonsense", after("-5"), 750 * time.Millisecond, 1500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := scripted(tt.step)
				start := time.Now()
				if _, err := o.Password(t.Context(), "u", "p"); err == nil {
					t.Fatal("got no error")
				}
				if got := time.Since(start); got < tt.min || got > tt.max {
					t.Errorf("got pauses of %s, want %s to %s", got, tt.min, tt.max)
				}
			})
		})
	}
}

// TestCallsTimeOut has a server that never answers.
func TestCallsTimeOut(t *testing.T) {
	silent := signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := silent.Password(t.Context(), "u", "p")
		var unreachable *signing.UnreachableError
		if got := time.Since(start); !errors.As(err, &unreachable) || got > 155*time.Second {
			t.Errorf("got %v after %s, want unreachable after five times 30 s", err, got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := silent.Password(ctx, "u", "p")
		var unreachable *signing.UnreachableError
		if got := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &unreachable) || got > time.Second {
			t.Errorf("got %v after %s, want the caller's deadline", err, got)
		}
	})
}
