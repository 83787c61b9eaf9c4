package ca

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/policy"
)

// errorInfo is a google.rpc.ErrorInfo or RequestInfo in error details.
type errorInfo struct {
	Type      string            `json:"@type"`
	Reason    string            `json:"reason"`
	Domain    string            `json:"domain"`
	Metadata  map[string]string `json:"metadata"`
	RequestID string            `json:"requestId"`
}

// TestCauses: a refusal tells programs which check it was, and by the request's id
// where our log has the rest; it never repeats the token or what its claims say.
func TestCauses(t *testing.T) {
	rules, err := policy.Compile([]policy.Rule{{Name: "corp", Expression: `claims.email.endsWith("@example.com")`, Message: "use your corporate address"}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(f *fixture) {
		f.cfg.Issuers[0].Policy = rules.Check
		f.cfg.Issuers = append(f.cfg.Issuers, identity.Issuer{URL: f.issuer.URL, ClientID: "ci", Type: identity.URI, SubjectDomain: "http://127.0.0.1"})
	})
	key, other := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	with := func(changes map[string]any) string {
		all := alice()
		for name, value := range changes {
			all[name] = value
		}
		return f.issuer.Token(t, all)
	}
	good, body := with(nil), challengeBody(t, key, email)
	tests := []struct {
		name, token   string
		body          any
		reason, check string
		more          [2]string // a further metadatum
	}{
		{"expired", with(map[string]any{"exp": f.now.Unix() - 3600}), body, "TOKEN_EXPIRED", "expiry", [2]string{"found", "2026-03-01T11:00:00Z"}},
		{"audience", with(map[string]any{"aud": "hunter2"}), body, "AUDIENCE_MISMATCH", "audience", [2]string{"expected", "sigstore or ci"}},
		{"issuer", with(map[string]any{"iss": "https://hunter2.example"}), body, "ISSUER_UNKNOWN", "issuer", [2]string{}},
		{"none", "", body, "TOKEN_MISSING", "form", [2]string{}},
		{"unverified", with(map[string]any{"email_verified": false}), body, "IDENTITY_REFUSED", "identity", [2]string{"expected", "the claims of an issuer of type email"}},
		{"no email", with(map[string]any{"email": nil}), body, "CLAIM_MISSING", "identity", [2]string{"claim", "email"}},
		{"another domain", with(map[string]any{"aud": "ci", "sub": "https://hunter2.example"}), body, "IDENTITY_REFUSED", "identity", [2]string{}},
		{"policy", with(map[string]any{"email": "hunter2@evil.example"}), body, "POLICY_REFUSED", "policy", [2]string{"rule", "corp"}},
		{"policy's message", with(map[string]any{"email": "hunter2@evil.example"}), body, "POLICY_REFUSED", "policy", [2]string{"message", "use your corporate address"}},
		{"proof", good, mixed(t, key, other), "PROOF_INVALID", "proof_of_possession", [2]string{}},
		{"no key", good, object{}, "PUBLIC_KEY_MALFORMED", "key", [2]string{}},
		{"weak key", good, challengeBody(t, newRSA(t, 1024), email), "PUBLIC_KEY_INSECURE", "key", [2]string{}},
		{"no CSR", good, object{"certificateSigningRequest": []byte("hunter2")}, "CSR_MALFORMED", "key", [2]string{}},
		{
			"algorithm", good, csrBody(t, key, x509.ECDSAWithSHA384), "ALGORITHM_NOT_PERMITTED", "key",
			[2]string{"expected", strings.Join(defaultAlgorithms(), " or ")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.logged.Reset()
			w := f.post(t, v2Path, tt.token, tt.body)
			text := w.Body.String()
			var answer struct{ Details []errorInfo }
			if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Details) != 2 {
				t.Fatalf("answer %s, %v, want two details", text, err)
			}
			info, request := answer.Details[0], answer.Details[1]
			if info.Type != "type.googleapis.com/google.rpc.ErrorInfo" || info.Domain != "sigstack" || info.Reason != tt.reason || info.Metadata["check"] != tt.check {
				t.Errorf("told %+v, want %s of %s", info, tt.reason, tt.check)
			}
			if name, want := tt.more[0], tt.more[1]; info.Metadata[name] != want {
				t.Errorf("%s is %q, want %q", name, info.Metadata[name], want)
			}
			id := w.Header().Get("X-Request-Id")
			if request.Type != "type.googleapis.com/google.rpc.RequestInfo" || id == "" || request.RequestID != id {
				t.Errorf("told %+v, want the id %q of the header", request, id)
			}
			if logged := f.logged.String(); !strings.Contains(logged, "request_id="+id) {
				t.Errorf("log %s, want the id %q", logged, id)
			}
			if strings.Contains(text, "hunter2") || strings.Contains(text, "eyJ") {
				t.Errorf("the answer repeats the request: %s", text)
			}
		})
	}
}

// TestCauseOfLogAway: what is our fault for now has a cause as well, and what is
// not expected to pass tells nothing.
func TestCauseOfLogAway(t *testing.T) {
	for _, tt := range []struct {
		kind   fault.Kind
		status int
		reason string // "" for no details
	}{
		{fault.Unavailable, http.StatusServiceUnavailable, "CT_LOG_UNAVAILABLE"},
		{fault.Internal, http.StatusInternalServerError, ""},
	} {
		f := newFixture(t, func(f *fixture) {
			f.cfg.CTLogs[0].Submit = func(context.Context, [][]byte) ([]byte, error) { return nil, fault.New(tt.kind, "no") }
		})
		w := f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), email))
		var answer struct{ Details []errorInfo }
		decode(t, w.Body, &answer)
		told := ""
		if len(answer.Details) > 0 {
			told = answer.Details[0].Reason
		}
		if w.Code != tt.status || told != tt.reason {
			t.Errorf("log fails by kind %v: %d and %q, want %d and %q", tt.kind, w.Code, told, tt.status, tt.reason)
		}
	}
}
