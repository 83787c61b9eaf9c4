package httpd_test

import (
	"net/http"
	"testing"

	"sigstack/internal/httpd"
)

func TestBearerToken(t *testing.T) {
	tests := []struct{ header, want string }{
		{"Bearer a.b.c", "a.b.c"},
		{"bearer a.b.c", "a.b.c"},
		{"Bearer  a.b.c ", "a.b.c"},
		{"Basic a.b.c", ""},
		{"Bearer", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := httpd.BearerToken(http.Header{"Authorization": {tt.header}}); got != tt.want {
			t.Errorf("BearerToken(%q) = %q, want %q", tt.header, got, tt.want)
		}
	}
}
