package signing_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// freshKeySession signs with a key pair of its own at s.
func freshKeySession(t *testing.T, s *signingtest.Stack) (*signing.Session, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keySession(t, newKit(t, s), key), key
}

func signText(t *testing.T, session *signing.Session, text string) *signing.Bundle {
	t.Helper()
	signed, err := session.Sign(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return signed.Bundle
}

func newChecker(t *testing.T, s *signingtest.Stack) *signing.LogChecker {
	t.Helper()
	c, err := newKit(t, s).NewLogChecker(now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHolds: a log that still holds what it promised, and logs that do not: each is
// the good one but for one fact.
func TestHolds(t *testing.T) {
	var answer func(w http.ResponseWriter, r *http.Request) bool
	s := signingtest.New(t, now)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool { return answer != nil && answer(w, r) }
	session, key := freshKeySession(t, s)
	id, checker := keyIdentity(t, key), newChecker(t, s)
	kept := signText(t, session, artifact)
	if err := checker.Holds(t.Context(), kept, digest(artifact), id); err != nil {
		t.Errorf("a log that has not grown: %v", err)
	}
	later := signText(t, session, "another").LeafHash()
	_, tree, _ := strings.Cut(strings.SplitN(kept.Entries()[0].InclusionProof.Checkpoint.Envelope, "\n", 2)[0], " - ")

	// What two leaves and three have in common is shown by the third.
	proof := func(hash [32]byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/api/v1/log/proof" || r.URL.RawQuery != "firstSize=2&lastSize=3&treeID="+tree {
				return false
			}
			fmt.Fprintf(w, `{"hashes":[%q]}`, hex.EncodeToString(hash[:]))
			return true
		}
	}
	// Logs with the same key that have something else before, or less.
	other := signingtest.NewWith(t, now, s.Keys)
	instead := func(w http.ResponseWriter, r *http.Request) bool { return forward(t, w, r, other) }
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		{"grown", proof(later), ""},
		{"rewritten", proof(sha256.Sum256([]byte("x"))), "is not the one that had 2"},
		{"no proof", nil, "404"},
		{"forgotten", instead, "no such entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			wantHolds(t, checker.Holds(t.Context(), kept, digest(artifact), id), tt.want)
		})
	}
	t.Run("moved", func(t *testing.T) {
		signText(t, keySession(t, newKit(t, other), key), "first here")
		resend(t, other, kept)
		answer = instead
		wantHolds(t, checker.Holds(t.Context(), kept, digest(artifact), id), "has the entry at 2, it promised 1")
	})
	t.Run("logged again in a later tree", func(t *testing.T) {
		answer = func(w http.ResponseWriter, r *http.Request) bool {
			if name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/log/entries/"); ok && len(name) == 64 { // of any tree
				return forward(t, w, r, other)
			}
			return proof(later)(w, r)
		}
		wantHolds(t, checker.Holds(t.Context(), kept, digest(artifact), id), "")
	})
	t.Run("another key's", func(t *testing.T) {
		answer = proof(later)
		_, stranger := freshKeySession(t, s)
		wantHolds(t, checker.Holds(t.Context(), kept, digest(artifact), keyIdentity(t, stranger)), "of another key")
	})
}

func wantHolds(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// forward answers a request for an entry by another stack's log.
func forward(t *testing.T, w http.ResponseWriter, r *http.Request, to *signingtest.Stack) bool {
	t.Helper()
	if !strings.HasPrefix(r.URL.Path, "/api/v1/log/entries/") {
		return false
	}
	resp, err := http.Get(to.URL + r.URL.Path)
	if err != nil {
		t.Error(err)
		return false
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		t.Error(err)
	}
	return true
}

// resend logs a bundle's entry at another stack.
func resend(t *testing.T, to *signingtest.Stack, b *signing.Bundle) {
	t.Helper()
	resp, err := http.Post(to.URL+"/api/v1/log/entries", "application/json", strings.NewReader(string(b.Entries()[0].CanonicalizedBody)))
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSignedBy: what the log has of a key, without what is known already, and
// without taking the log's word for whose it is.
func TestSignedBy(t *testing.T) {
	var ids []string
	truncated := false
	s := signingtest.New(t, now)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/index/retrieve" {
			return false
		}
		if truncated {
			w.Header().Set("X-Results-Truncated", "2")
		}
		_ = json.NewEncoder(w).Encode(ids)
		return true
	}
	session, key := freshKeySession(t, s)
	stranger, _ := freshKeySession(t, s)
	known, unknown, foreign := signText(t, session, "known").LeafHash(), signText(t, session, artifact).LeafHash(), signText(t, stranger, "x").LeafHash()
	checker := newChecker(t, s)
	isKnown := func(leaf [32]byte) bool { return leaf == known }
	name := func(leaf [32]byte) string { return fmt.Sprintf("%016x%x", 7, leaf) }

	ids = []string{name(unknown), name(known)}
	got, all, err := checker.SignedBy(t.Context(), key.Public(), isKnown)
	if err != nil || !all || len(got) != 1 || string(got[0][:]) != string(digest(artifact)) {
		t.Errorf("got %x, all %v, %v; want the digest of the one that was not known", got, all, err)
	}
	truncated = true
	if _, all, err := checker.SignedBy(t.Context(), key.Public(), isKnown); err != nil || all {
		t.Errorf("a log that does not tell all: all %v, %v", all, err)
	}
	for what, bad := range map[string]string{
		"an entry of another key":  name(foreign),
		"an entry that is not":     name(sha256.Sum256([]byte("x"))),
		"no entry ID":              "../../x",
		"an ID that is too short":  "00",
		"nothing":                  "",
		"an entry of no signature": name(sha256.Sum256([]byte("\x00{\"first\":\"leaf\"}"))),
	} {
		ids = []string{bad}
		if got, _, err := checker.SignedBy(t.Context(), key.Public(), isKnown); err == nil {
			t.Errorf("%s: got %x and no error", what, got)
		}
	}
}
