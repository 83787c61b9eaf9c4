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

// step is one answer of a scripted issuer.
type step struct {
	status     int // 0: the connection is refused
	body       string
	retryAfter string
}

var (
	good    = step{status: 200, body: `{"id_token":"a.b.c"}`}
	refused = step{}
)

// scripted returns an issuer whose token endpoint answers by the given steps, the
// last for ever, and a counter of token requests.
func scripted(steps ...step) (signing.OIDC, *int) {
	calls := new(int)
	return signing.OIDC{Issuer: issuer, HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			return respond(200, fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, issuer, issuer+"/token")), nil
		}
		s := steps[min(*calls, len(steps)-1)]
		*calls++
		if s.status == 0 {
			return nil, errors.New("connection refused")
		}
		res := respond(s.status, s.body)
		res.Header.Set("Retry-After", s.retryAfter)
		return res, nil
	})}}, calls
}

func TestCallsAreRetried(t *testing.T) {
	tests := []struct {
		name  string
		steps []step
		calls int
	}{
		{"good at once", []step{good}, 1},
		{"after 503", []step{{status: 503}, good}, 2},
		{"after 429", []step{{status: 429}, {status: 429}, good}, 3},
		{"after 500", []step{{status: 500}, good}, 2},
		{"after broken connections", []step{refused, refused, refused, refused, good}, 5},
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
	huge := step{status: 200, body: strings.Repeat("x", 5<<20)}
	tests := []struct {
		name        string
		step        step
		calls       int
		unreachable bool
	}{
		{"no connection", refused, 5, true},
		{"gateway", step{status: 502, body: "<html>bad gateway</html>"}, 5, true},
		{"unavailable", step{status: 503, body: `{"message":"down"}`}, 5, true},
		{"answer without end", huge, 5, true},
		{"internal error", step{status: 500, body: `{"message":"internal error"}`}, 5, false},
		{"limited", step{status: 429}, 5, false},
		{"wrong password", step{status: 401, body: `{"error":"access_denied","error_description":"Invalid username or password"}`}, 1, false},
		{"redirect", step{status: 307}, 1, false},
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
	tests := []struct {
		name     string
		step     step
		min, max time.Duration // of all four pauses
	}{
		{"doubling", refused, 750 * time.Millisecond, 1500 * time.Millisecond},
		{"as asked", step{status: 429, retryAfter: "3"}, 6 * time.Second, 12 * time.Second},
		{"capped", step{status: 429, retryAfter: "3600"}, 40 * time.Second, 80 * time.Second},
		{"nonsense", step{status: 429, retryAfter: "-5"}, 750 * time.Millisecond, 1500 * time.Millisecond},
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
