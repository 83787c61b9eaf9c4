package signing_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// attestation is the bundle of a good one.
func attestation(tb testing.TB) []byte {
	tb.Helper()
	s := signingtest.New(tb, now)
	f := newForger(tb, s)
	payload := statement(tb)
	return f.attested(signing.StatementPayloadType, payload, 1, func(sig []byte) ledger { return f.dsse(sig, payload) })
}

func TestAttestationLines(t *testing.T) {
	bundle := attestation(t)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, bundle, "", "  "); err != nil {
		t.Fatal(err)
	}
	var file []byte
	var err error
	for range 3 {
		if file, err = signing.AppendAttestation(file, pretty.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if n := bytes.Count(file, []byte("\n")); n != 3 || !bytes.HasSuffix(file, []byte("\n")) {
		t.Fatalf("got %d lines, want 3, the last one ended", n)
	}
	file = slices.Concat([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`+"\n\n"), file, []byte(`{"other":1}`))
	lines, err := signing.ParseAttestations(file)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, line := range lines {
		switch {
		case line.Bundle != nil && line.Bundle.ClaimedType() == predicateType:
			numbers = append(numbers, line.Number)
		case line.Number == 1:
			wantRefused(t, line.Err, signing.CheckBundle)
			if !strings.Contains(line.Err.Error(), "bare envelope") {
				t.Errorf("line 1: %v, want that it is a bare envelope", line.Err)
			}
		case line.Err == nil:
			t.Errorf("line %d has neither bundle nor error", line.Number)
		}
	}
	if !slices.Equal(numbers, []int{3, 4, 5}) || len(lines) != 5 {
		t.Errorf("got bundles in lines %v of %d, want 3, 4 and 5 of 5", numbers, len(lines))
	}
	alone, err := signing.ParseAttestations(pretty.Bytes())
	if err != nil || len(alone) != 1 || alone[0].Bundle == nil {
		t.Errorf("got %v, %v for a bundle over several lines, want it", alone, err)
	}
}

func TestClaimedAlgorithm(t *testing.T) {
	b, err := signing.ParseBundle(attestation(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, digests := range []map[string]string{
		{"sha256": hexDigest(artifact)}, {"sha256": hexDigest(artifact), "sha512": "00"}, {"sha256": "00", "sha512": "00"}, {"sha512": "x"}, nil,
	} {
		if got := b.ClaimedAlgorithm(digests); got != "sha256" {
			t.Errorf("%v: got %s, want sha256", digests, got)
		}
	}
}

func TestAttestationLinesRefuses(t *testing.T) {
	bundle := attestation(t)
	for name, file := range map[string][]byte{
		"empty":          nil,
		"white space":    []byte("\n \n"),
		"text":           []byte("hello\n"),
		"an array":       []byte("[{}]\n"),
		"torn":           append(slices.Clone(bundle), bundle[:len(bundle)/2]...),
		"torn last line": slices.Concat(bundle, []byte("\n"), bundle[:len(bundle)/2]),
		"too many lines": bytes.Repeat([]byte("{}\n"), 1025),
		"too long":       make([]byte, signing.MaxAttestations+1),
	} {
		if lines, err := signing.ParseAttestations(file); err == nil {
			t.Errorf("%s: got %d lines, want an error", name, len(lines))
		}
		if len(bytes.TrimSpace(file)) == 0 {
			continue // nothing is there yet
		}
		if _, err := signing.AppendAttestation(file, bundle); err == nil {
			t.Errorf("%s: an attestation was added", name)
		}
	}
	if _, err := signing.AppendAttestation(nil, []byte(`{}`)); err == nil {
		t.Error("what is no bundle was added")
	}
	if _, err := signing.AppendAttestation(bytes.Repeat([]byte("{}\n"), 1024), bundle); err == nil {
		t.Error("a line too many was added")
	}
}

// FuzzParseAttestations: what is accepted can be added to, and then has the same
// lines and one more.
func FuzzParseAttestations(f *testing.F) {
	_, bundle, _ := golden(f) // the same in each process that fuzzes
	f.Add(bundle)
	f.Add(slices.Concat(bundle, []byte("\n{}\n\r\n"), bundle))
	f.Add([]byte("{\n\"a\":\n{}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, err := signing.ParseAttestations(data)
		if err != nil || len(before) > 1000 {
			return
		}
		more, err := signing.AppendAttestation(data, bundle)
		if err != nil {
			t.Fatalf("accepted, and nothing can be added: %v", err)
		}
		after, err := signing.ParseAttestations(more)
		if err != nil || len(after) != len(before)+1 || after[len(after)-1].Bundle == nil {
			t.Fatalf("got %d lines, %v, want %d and the new one", len(after), err, len(before)+1)
		}
		for i, line := range before {
			if (line.Err == nil) != (after[i].Err == nil) {
				t.Errorf("line %d: got %v, want %v", i, after[i].Err, line.Err)
			}
		}
	})
}
