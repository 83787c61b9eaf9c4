package stack

import (
	"strings"
	"testing"
	"time"
)

func TestCertificateWarning(t *testing.T) {
	const (
		day  = 24 * time.Hour
		life = 1000 * day
	)
	made := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := ending{service: "ca", what: "ca certificate corp CA", at: made.Add(life), life: life}
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{
		{0, ""},
		{899 * day, ""}, // a third of its life is years, and nobody's business yet
		{900 * day, "ca certificate corp CA ends at 2028-11-25T12:00:00Z, in 100 days: rotate it"},
		{1000*day - time.Second, "in 0 days: rotate it"},
		{1000 * day, "ca certificate corp CA EXPIRED at 2028-11-25T12:00:00Z"},
	} {
		got := e.certificateWarning(made.Add(tt.age))
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("after %v: got %q, want %q", tt.age, got, tt.want)
		}
	}
}
