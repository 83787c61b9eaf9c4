package signing

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/pki"
)

// oneLog is trusted material with one log.
type oneLog struct {
	root.BaseTrustedMaterial
	id  string
	log *root.TransparencyLog
}

func (o *oneLog) RekorLogs() map[string]*root.TransparencyLog {
	return map[string]*root.TransparencyLog{o.id: o.log}
}

// lyingLog is a log of two entries, which signs what it is told to.
type lyingLog struct {
	key   *ecdsa.PrivateKey
	id    string
	trust *TrustRoot
}

func newLyingLog(t *testing.T) lyingLog {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := pki.LogID(spki)
	l := lyingLog{key: key, id: hex.EncodeToString(id[:])}
	l.trust = &TrustRoot{Path: "test", material: &oneLog{id: l.id, log: &root.TransparencyLog{
		BaseURL: "https://log.test", PublicKey: key.Public(), ValidityPeriodStart: time.Unix(1000, 0), ValidityPeriodEnd: time.Unix(3000, 0),
	}}}
	return l
}

func (l lyingLog) sign(t *testing.T, message string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, l.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// entry is one that is right, but for what change does before it is signed.
func (l lyingLog) entry(t *testing.T, change func(*LogEntry, *string)) LogEntry {
	t.Helper()
	h := rfc6962.DefaultHasher
	body := []byte(`{"kind":"x"}`)
	leaf, other := h.HashLeaf(body), h.HashLeaf([]byte("other"))
	e := LogEntry{
		EntryID: fmt.Sprintf("%016x%x", 77, leaf), UUID: hex.EncodeToString(leaf), TreeID: "77", LogID: l.id, LogIndex: 12, Index: 1,
		IntegratedTime: 2000, Body: body, TreeSize: 2, RootHash: hex.EncodeToString(h.HashChildren(other, leaf)), Hashes: []string{hex.EncodeToString(other)},
	}
	origin := "log.test - 77"
	change(&e, &origin)
	e.SET = l.sign(t, fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(e.Body), e.IntegratedTime, e.LogID, e.LogIndex))
	raw, err := hex.DecodeString(e.RootHash)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, e.TreeSize, base64.StdEncoding.EncodeToString(raw))
	hint, err := hex.DecodeString(l.id[:8])
	if err != nil {
		t.Fatal(err)
	}
	e.Checkpoint = text + "\n\u2014 " + strings.Fields(origin)[0] + " " + base64.StdEncoding.EncodeToString(append(hint, l.sign(t, text)...)) + "\n"
	return e
}

func same(*LogEntry, *string) {}

// TestVerifyEntry refuses whatever of an entry is not right, signed by the log or
// changed after that.
func TestVerifyEntry(t *testing.T) {
	l := newLyingLog(t)
	if err := l.trust.verifyEntry(l.entry(t, same)); err != nil {
		t.Fatalf("an entry that is right: %v", err)
	}
	for name, change := range map[string]func(*LogEntry){
		"body":            func(e *LogEntry) { e.Body = []byte(`{"kind":"y"}`) },
		"UUID":            func(e *LogEntry) { e.UUID = strings.Repeat("0", 64) },
		"log ID":          func(e *LogEntry) { e.LogID = strings.Repeat("0", 64) },
		"log index":       func(e *LogEntry) { e.LogIndex++ },
		"integrated time": func(e *LogEntry) { e.IntegratedTime++ },
		"SET":             func(e *LogEntry) { e.SET = e.SET[:len(e.SET)-1] },
		"index":           func(e *LogEntry) { e.Index = 0 },
		"tree size":       func(e *LogEntry) { e.TreeSize = 3 },
		"root":            func(e *LogEntry) { e.RootHash = strings.Repeat("0", 64) },
		"tree ID":         func(e *LogEntry) { e.TreeID = "7" },
		"proof":           func(e *LogEntry) { e.Hashes = nil },
		"proof, hash":     func(e *LogEntry) { e.Hashes[0] = strings.Repeat("0", 64) },
		"proof, no hash":  func(e *LogEntry) { e.Hashes[0] = "zz" },
		"checkpoint":      func(e *LogEntry) { e.Checkpoint = strings.Replace(e.Checkpoint, "\n2\n", "\n3\n", 1) },
		"no checkpoint":   func(e *LogEntry) { e.Checkpoint = "" },
		"two signatures":  func(e *LogEntry) { e.Checkpoint += e.Checkpoint[strings.Index(e.Checkpoint, "\u2014"):] },
	} {
		e := l.entry(t, same)
		change(&e)
		var refused *RefusedError
		if err := l.trust.verifyEntry(e); !errors.As(err, &refused) {
			t.Errorf("changed %s: got %v, want it refused", name, err)
		}
	}
	for name, change := range map[string]func(*LogEntry, *string){
		"before the key":  func(e *LogEntry, _ *string) { e.IntegratedTime = 999 },
		"behind the key":  func(e *LogEntry, _ *string) { e.IntegratedTime = 3001 },
		"another's root":  func(e *LogEntry, _ *string) { e.RootHash = strings.Repeat("1", 64) },
		"another host":    func(_ *LogEntry, origin *string) { *origin = "other.test - 77" },
		"another tree":    func(_ *LogEntry, origin *string) { *origin = "log.test - 78" },
		"another's proof": func(e *LogEntry, _ *string) { e.Index = 0 },
	} {
		var refused *RefusedError
		if err := l.trust.verifyEntry(l.entry(t, change)); !errors.As(err, &refused) {
			t.Errorf("signed %s: got %v, want it refused", name, err)
		}
	}
}

// TestGetWantsWhatWasAskedFor: an entry that is right is refused for another one.
func TestGetWantsWhatWasAskedFor(t *testing.T) {
	l := newLyingLog(t)
	e := l.entry(t, same)
	answer, err := json.Marshal(map[string]any{e.EntryID: map[string]any{
		"body": e.Body, "integratedTime": e.IntegratedTime, "logID": e.LogID, "logIndex": e.LogIndex,
		"verification": map[string]any{"signedEntryTimestamp": e.SET, "inclusionProof": map[string]any{
			"checkpoint": e.Checkpoint, "hashes": e.Hashes, "logIndex": e.Index, "rootHash": e.RootHash, "treeSize": e.TreeSize,
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.RawQuery, "=404") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(answer) // a client that went away is the test's failure
	}))
	defer srv.Close()
	r := &LogReader{l.trust, srv.Client(), srv.URL}
	for _, name := range []string{"12", "0012", e.UUID, e.EntryID, strings.ToUpper(e.UUID)} {
		if got, err := r.Get(context.Background(), name); err != nil || got.EntryID != e.EntryID {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	var refused *RefusedError
	for _, name := range []string{"13", strings.Repeat("a", 64), "0000000000000001" + e.UUID} {
		if _, err := r.Get(context.Background(), name); !errors.As(err, &refused) {
			t.Errorf("%s: got %v, want the answer refused", name, err)
		}
	}
	if _, err := r.Get(context.Background(), "404"); !errors.Is(err, ErrNoEntry) {
		t.Errorf("404: got %v", err)
	}
	if _, err := r.Get(context.Background(), "../x"); err == nil || errors.As(err, &refused) {
		t.Errorf("no name: got %v", err)
	}
}
