package rekorv1

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"sigstack/services/tlog"
)

// appendEntry appends a LogEntry (contract: rekor-v1.md §2): one key, the entry ID.
// The order of members is that of the wire; sigstore-rs cuts answers at fixed
// offsets, so that it must not change. The first of them are what the entry
// timestamp signs, byte for byte. The attestation is in answers to reads only; nil:
// there is none.
func appendEntry(out []byte, r tlog.Record, attestation []byte) []byte {
	head := r.Proof.Checkpoint
	out = slices.Grow(out, len(r.Signed)+base64.StdEncoding.EncodedLen(len(attestation))+len(head.Note)+68*len(r.Proof.Hashes)+640)
	out = append(append(append(out, `{"`...), r.EntryID()...), `":{`...)
	if attestation != nil {
		out = append(out, `"attestation":{"data":"`...)
		out = base64.StdEncoding.AppendEncode(out, attestation)
		out = append(out, `"},`...)
	}
	out = append(out, r.Signed[1:len(r.Signed)-1]...) // without the braces
	out = append(out, `,"verification":{"inclusionProof":{"checkpoint":`...)
	out = appendText(out, head.Note)
	out = append(out, `,"hashes":[`...)
	for i, h := range r.Proof.Hashes {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(hex.AppendEncode(append(out, '"'), h), '"')
	}
	out = append(out, `],"logIndex":`...)
	out = strconv.AppendUint(out, r.Proof.Index, 10)
	out = append(out, `,"rootHash":"`...)
	out = hex.AppendEncode(out, head.Root[:])
	out = append(out, `","treeSize":`...)
	out = strconv.AppendUint(out, head.Size, 10)
	out = append(out, `},"signedEntryTimestamp":"`...)
	out = base64.StdEncoding.AppendEncode(out, r.SET)
	return append(out, `"}}}`...)
}

// appendText appends a JSON string of a checkpoint. Its lines and the dash of its
// signature are copied; a log whose name has more than letters in it is left to
// encoding/json.
func appendText(out []byte, text string) []byte {
	const dash = "\u2014"
	start := len(out)
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			out = append(out, '\\', 'n')
		case ' ' <= c && c <= '~' && c != '"' && c != '\\':
			out = append(out, c)
		case strings.HasPrefix(text[i:], dash):
			out = append(out, dash...)
			i += len(dash) - 1
		default:
			return append(out[:start], encodeText(text)...)
		}
	}
	return append(out, '"')
}

func encodeText(text string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic("rekor v1: text cannot be encoded: " + err.Error())
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func wireHashes(hashes [][]byte) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = hex.EncodeToString(h)
	}
	return out
}

// logInfo describes the log (contract: rekor-v1.md §12): the shard that takes
// entries, and the others, the oldest first.
type logInfo struct {
	InactiveShards []shardInfo `json:"inactiveShards"` // never null
	shardInfo
}

type shardInfo struct {
	RootHash       string `json:"rootHash"`
	SignedTreeHead string `json:"signedTreeHead"`
	TreeID         string `json:"treeID"` // decimal: JavaScript cannot hold it as a number
	TreeSize       uint64 `json:"treeSize"`
}

type consistencyProof struct {
	Hashes   []string `json:"hashes"` // never null
	RootHash string   `json:"rootHash"`
}
