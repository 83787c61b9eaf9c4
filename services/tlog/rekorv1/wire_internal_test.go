package rekorv1

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sigstack/services/tlog"
)

// wire is a LogEntry as encoding/json writes it.
type wire map[string]struct {
	Attestation *struct {
		Data []byte `json:"data"`
	} `json:"attestation,omitempty"`
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       uint64 `json:"logIndex"`
	Verification   struct {
		InclusionProof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   uint64   `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   uint64   `json:"treeSize"`
		} `json:"inclusionProof"`
		SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// FuzzAppendEntry: what is appended is what encoding/json makes of what it says.
func FuzzAppendEntry(f *testing.F) {
	f.Add([]byte("{}"), "log.example - 1\n12\nAAA=\n\n\u2014 log.example AAA=\n", 0, []byte("set"), []byte(nil))
	f.Add([]byte{255}, "quo\"ted\\ <&> \u2028 \x00 \xff é\u2014\xe2\x80", 1, []byte(nil), []byte{})
	f.Add([]byte(nil), "", 63, []byte("set"), []byte("attestation"))
	f.Fuzz(func(t *testing.T, body []byte, note string, hashes int, set, attestation []byte) {
		r := tlog.Record{
			TreeID: 7, SET: set,
			Signed: fmt.Appendf(nil, `{"body":"%s","integratedTime":1,"logID":"00ff","logIndex":3}`, base64.StdEncoding.EncodeToString(body)),
		}
		r.Proof.Index, r.Proof.Checkpoint.Size = 2, 1<<63
		r.Proof.Checkpoint.Note = strings.ToValidUTF8(note, "?") // read as U+FFFD otherwise
		for i := range max(0, min(hashes, 64)) {
			r.Proof.Hashes = append(r.Proof.Hashes, bytes.Repeat([]byte{byte(i)}, 32))
		}
		got := appendEntry([]byte("before "), r, attestation)
		got = bytes.TrimPrefix(got, []byte("before "))
		var read wire
		if err := json.Unmarshal(got, &read); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		e, ok := read[r.EntryID()]
		if !ok || len(read) != 1 || !bytes.Equal(e.Body, body) || !bytes.Equal(e.Verification.SignedEntryTimestamp, set) ||
			len(e.Verification.InclusionProof.Hashes) != len(r.Proof.Hashes) || (e.Attestation != nil) != (attestation != nil) {
			t.Errorf("%s is read as %+v", got, read)
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(read); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(append(got, '\n'), want.Bytes()) {
			t.Errorf("got  %s\nwant %s", got, want.Bytes())
		}
	})
}

// FuzzAppendText: text is what encoding/json makes of it.
func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{"", "a\nb \u2014 c\n", "\u2014", "\u2013", "\"", "\\", "\x7f", "\u2028", "\xff", "\t<&>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := appendText([]byte("x"), text), append([]byte("x"), encodeText(text)...); !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
