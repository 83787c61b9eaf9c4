package rekorv1_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog/tlogtest"
)

// lie changes an answer of an honest log.
type lie func(method, path string, body []byte, status int, answer []byte) (int, []byte)

// lying asks an honest log, and changes what it answers.
func lying(ask tlogtest.Ask, l lie) tlogtest.Ask {
	return func(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
		status, answer, err := ask(ctx, method, path, body)
		status, answer = l(method, path, body, status, answer)
		return status, answer, err
	}
}

// replace lies about answers at paths with a prefix.
func replace(prefix, pattern, by string) lie {
	return func(_, path string, _ []byte, status int, answer []byte) (int, []byte) {
		if !strings.HasPrefix(path, prefix) {
			return status, answer
		}
		return status, regexp.MustCompile(pattern).ReplaceAll(answer, []byte(by))
	}
}

func notFound(prefix string) lie {
	return func(_, path string, _ []byte, status int, answer []byte) (int, []byte) {
		if strings.HasPrefix(path, prefix) {
			return http.StatusNotFound, nil
		}
		return status, answer
	}
}

// instead has another log answer.
func instead(r *running) lie {
	return func(method, path string, body []byte, _ int, _ []byte) (int, []byte) {
		status, answer, _ := r.ask(context.Background(), method, path, body)
		return status, answer
	}
}

// TestLedgerNoticesEveryLie: what the fault tests judge with finds each way in
// which a log could break a promise.
func TestLedgerNoticesEveryLie(t *testing.T) {
	s, cuts := lifeWithCuts(t, false)
	now := s.mustOpen(t, cuts[len(cuts)-1])
	middle := slices.IndexFunc(cuts, func(c powerOff) bool { n, _ := c.ledger.Size(); return n > 44 && c.kept == 0 })
	older := s.mustOpen(t, cuts[middle])
	forked := s.mustOpen(t, cuts[middle+2]) // one operation later: the disk is another
	other := &site{ledger: tlogtest.NewLedger("log.example")}
	for range 100 { // more than were in it before
		if err := other.post(t, forked, tlogtest.NewSigner(t), rand.Text()); err != nil {
			t.Fatal(err)
		}
	}
	const entries, index = "/api/v1/log/entries/", "/api/v1/log/entries?logIndex"
	for _, tt := range []struct {
		name string
		lie  lie
		want error // nil: any
	}{
		{"an entry is gone", notFound(entries), tlogtest.ErrLost},
		{"an index is gone", notFound(index), tlogtest.ErrLost},
		{"an entry's time is another", replace(entries, `"integratedTime":1`, `"integratedTime":2`), nil},
		{"an entry's index is another", replace(entries, `"logIndex":(\d+)`, `"logIndex":9$1`), nil},
		{"an entry's body is another", replace(entries, `"body":"ey`, `"body":"eX`), nil},
		{"another entry under an ID", replace(entries, `(?s)^.*$`, "{}"), nil},
		{"a signature is spoilt", replace(entries, `"signedEntryTimestamp":"M`, `"signedEntryTimestamp":"AAAA`), nil},
		{"a proof is spoilt", replace(entries, `"hashes":\["..`, `"hashes":["ff`), nil},
		{"search finds nothing", replace("/api/v1/index/retrieve", `^.*`, "[]"), tlogtest.ErrLost},
		{"a tree is gone", replace("/api/v1/log", `"inactiveShards":\[\{.*\}\],`, `"inactiveShards":[],`), tlogtest.ErrFork},
		{"log info without its checkpoint", replace("/api/v1/log", `"signedTreeHead":"`, `"signedTreeHead":"x`), nil},
		{"consistency is not proved", replace("/api/v1/log/proof", `"hashes":\["..`, `"hashes":["ff`), tlogtest.ErrFork},
		{"the log is as it was before", instead(older), tlogtest.ErrLost},
		{"the log went another way", instead(forked), tlogtest.ErrFork},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.ledger.Copy().Check(t.Context(), lying(now.ask, tt.lie), nil)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := s.ledger.Copy().Check(t.Context(), now.ask, nil); err != nil {
		t.Errorf("without a lie: %v", err)
	}
}

// mustOpen opens what a power cut left.
func (s *site) mustOpen(t *testing.T, c powerOff) *running {
	t.Helper()
	r, err := s.open(t, pebblelog.Options{FS: c.disk, NoSync: true}, c.trees)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}
