package audit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigstack/internal/audit"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// options of a record in a new directory.
func options(t testing.TB) audit.Options {
	t.Helper()
	return audit.Options{Dir: t.TempDir(), Signer: newKey(t), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // most tests close it themselves
	return l
}

func closeLog(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// issued is an event like those of the CA.
func issued(i int) audit.Event {
	return audit.Event{
		Action: audit.ActionCertificate, Outcome: audit.OK, Service: "ca", RequestID: fmt.Sprint("request-", i),
		Address: "192.0.2.7", Issuer: "https://issuer.example", Subject: fmt.Sprintf("user%d@example.com", i),
		Detail: map[string]string{"serial": strconv.Itoa(i), "not_after": "2026-01-01T00:00:00Z"},
	}
}

func record(t testing.TB, l *audit.Log, events ...audit.Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// proofOf is what the stand-in of a log gives: an anchor's bundle.
func proofOf(statement []byte) []byte { return fmt.Appendf(nil, "{\"logged\":%q}", statement) }

func checkProof(statement, bundle []byte) (audit.Proof, error) {
	if !bytes.Equal(bundle, proofOf(statement)) {
		return audit.Proof{}, errors.New("it is over something else")
	}
	return audit.Proof{LogIndex: 7}, nil
}

func anchorAlways(_ context.Context, statement []byte) ([]byte, error) {
	return proofOf(statement), nil
}

// verify verifies the record of o.
func verify(t testing.TB, o audit.Options) (audit.Report, error) {
	t.Helper()
	return audit.Verify(t.Context(), verifyConfig(o).WithoutPause())
}

func verifyConfig(o audit.Options) audit.VerifyConfig {
	c := audit.VerifyConfig{Dir: o.Dir, Chain: o.Chain, CheckAnchor: checkProof}
	if o.Signer != nil {
		c.Key = o.Signer.Public().(*ecdsa.PublicKey)
	}
	return c
}

func mustVerify(t testing.TB, o audit.Options) audit.Report {
	t.Helper()
	rep, err := verify(t, o)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return rep
}

// sample makes a record of n events and two anchors in files of about 2 KB, and
// closes it.
func sample(t testing.TB, n int) audit.Options {
	t.Helper()
	o := options(t)
	o.Anchor, o.FileSize = anchorAlways, 2<<10
	l := open(t, o)
	for i := range n {
		record(t, l, issued(i))
		if i == n/2 || i == n-3 {
			if _, err := l.Anchor(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Chain = l.Chain()
	closeLog(t, l)
	return o
}

// files returns the names of the files of records, the oldest first.
func files(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readLines returns a file's lines, each with its newline.
func readLines(t testing.TB, path string) []string {
	t.Helper()
	return strings.SplitAfter(strings.TrimSuffix(string(readFile(t, path)), "\n")+"\n", "\n")[:bytes.Count(readFile(t, path), []byte("\n"))]
}

// records returns all records of dir.
func records(t testing.TB, dir string) (list []audit.Record) {
	t.Helper()
	if err := audit.Each(dir, nil, func(r audit.Record) error { list = append(list, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// copyDir returns a copy of dir.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
