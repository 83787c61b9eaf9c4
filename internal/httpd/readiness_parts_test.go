package httpd_test

import (
	"testing"

	"sigstack/internal/httpd"
)

// TestPartsOfAService: a service is as well as the worst of what it needs.
func TestPartsOfAService(t *testing.T) {
	r := httpd.NewReadiness("ca")
	want := func(status httpd.Status, detail string) {
		t.Helper()
		rep := r.Report()
		if got := rep.Services["ca"]; got.Status != status || got.Detail != detail || rep.Status != status {
			t.Errorf("got %+v and %s for all, want %s: %s", got, rep.Status, status, detail)
		}
	}
	r.SetPart("ca", "key ca", httpd.OK, "signs")
	want(httpd.Down, "starting")
	r.Set("ca", httpd.OK, "checked")
	want(httpd.OK, "checked")
	r.SetPart("ca", "key ca", httpd.Down, "away")
	want(httpd.Down, "away")
	r.SetPart("ca", "disk", httpd.Warn, "nearly full")
	want(httpd.Down, "away")
	r.SetPart("ca", "key ca", httpd.OK, "signs")
	want(httpd.Warn, "nearly full")
	r.Set("ca", httpd.Down, "stopped")
	want(httpd.Down, "stopped")
}

// TestLeave: what a process that is about to stop is told changes nothing.
func TestLeave(t *testing.T) {
	r := httpd.NewReadiness("ca", "tlog")
	r.Set("ca", httpd.OK, "checked")
	if r.Left() {
		t.Error("left before it was said")
	}
	r.Leave()
	r.Set("tlog", httpd.OK, "checked")
	rep := r.Report()
	for name, got := range rep.Services {
		if got != (httpd.ServiceStatus{Status: httpd.Down, Detail: httpd.Stopping}) {
			t.Errorf("%s is %+v, want it stopping", name, got)
		}
	}
	if !r.Left() || rep.Status != httpd.Down || len(rep.Services) != 2 {
		t.Errorf("left %v, report %+v, want both services down", r.Left(), rep)
	}
}
