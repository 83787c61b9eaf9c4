package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"sigstack/internal/audit"
)

// aToken is in the form of a JWT.
const aToken = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwOi8vbG9jYWxob3N0In0.c2lnbmF0dXJl"

// TestTextsAreMadeFit: whatever a service hands over, a record is one printable line
// of bounded length, without tokens.
func TestTextsAreMadeFit(t *testing.T) {
	long := strings.Repeat("é", 5000)
	for _, tt := range []struct{ name, text, want string }{
		{"plain", "ann@example.com", "ann@example.com"},
		{"other scripts", "Ångström 東京", "Ångström 東京"},
		{"new line", "a\nb\r\nc", "a\ufffdb\ufffd\ufffdc"},
		{"escape sequence", "\x1b[2Jgone", "\ufffd[2Jgone"},
		{"other controls", "\x00\x7f\u0085\u009b", "\ufffd\ufffd\ufffd\ufffd"},
		{"direction of text", "a\u202eb\u2066c", "a\ufffdb\ufffdc"},
		{"line separators", "a\u2028b\u2029c", "a\ufffdb\ufffdc"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
		{"JSON", `{"a":"b\\"}`, `{"a":"b\\"}`},
		{"HTML", "<b>&amp;</b>", "<b>&amp;</b>"},
		{"token", "Bearer " + aToken + " was refused", "Bearer [token] was refused"},
		{"part of a token", aToken[:40], "[token]"},
		{"token at the cut", strings.Repeat("x", 1010) + aToken, strings.Repeat("x", 1010) + "[token]"},
		{"too long", strings.Repeat("x", 1025), strings.Repeat("x", 1024-len("…[cut]")) + "…[cut]"},
		{"too long, cut between runes", long, strings.Repeat("é", (1024-len("…[cut]"))/2) + "…[cut]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			l := open(t, o)
			record(t, l, audit.Event{
				Action: audit.ActionCertificate, Outcome: audit.OK, Service: "ca", RequestID: tt.text, Issuer: tt.text, Subject: tt.text,
				Detail: map[string]string{"cause": tt.text},
			})
			closeLog(t, l)
			mustVerify(t, o)
			r := records(t, o.Dir)[1]
			for _, got := range []string{r.RequestID, r.Issuer, r.Subject, r.Detail["cause"]} {
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if len(got) > audit.MaxText || !utf8.ValidString(got) {
					t.Errorf("%d bytes, valid UTF-8 %v", len(got), utf8.ValidString(got))
				}
			}
		})
	}
}

func TestDetailIsBounded(t *testing.T) {
	o := options(t)
	l := open(t, o)
	e := issued(0)
	e.Detail = map[string]string{"": "", "empty": "", strings.Repeat("n", 200): "long name", "a\x1bb": "odd name"}
	for i := range 100 {
		e.Detail[fmt.Sprintf("z%03d", i)] = "x"
	}
	record(t, l, e)
	closeLog(t, l)
	mustVerify(t, o)
	got := records(t, o.Dir)[1].Detail
	if len(got) != audit.MaxDetail {
		t.Errorf("got %d details, want %d", len(got), audit.MaxDetail)
	}
	for name, text := range got {
		if text == "" || len(name) > 64 || strings.Contains(name, "\x1b") {
			t.Errorf("detail %q: %q", name, text)
		}
	}
}
