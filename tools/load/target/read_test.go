package target

import (
	"net/http"
	"testing"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/loadtest"
)

// TestMovedEntries: an entry that proves itself, but is not where and when it was
// when it was written, is wrong.
func TestMovedEntries(t *testing.T) {
	f := loadtest.Start(t)
	s := &services{Config: Config{Rekor: f.URL, HTTP: http.DefaultClient, Now: time.Now}, client: client{http.DefaultClient}}
	r, err := s.newRekor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := r.write(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.client.get(t.Context(), entryURL(f.URL, entries[0].ID, 0, "uuid"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		kind   check.Kind
		change func(w *written)
	}{
		{"as it was", "", func(*written) {}},
		{"another index", check.Index, func(w *written) { w.LogIndex++ }},
		{"another time", check.Time, func(w *written) { w.IntegratedTime++ }},
		{"another id", check.EntryID, func(w *written) { w.ID = "00" + w.ID[2:] }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := entries[0]
			tt.change(&w)
			err := w.verifyRead(r.log, answer)
			if (err == nil) != (tt.kind == "") || err != nil && check.KindOf(err) != tt.kind {
				t.Errorf("got %v, want kind %q", err, tt.kind)
			}
		})
	}
}
