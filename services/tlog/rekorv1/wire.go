package rekorv1

import (
	"encoding/hex"

	"sigstack/services/tlog"
)

// logEntry is a LogEntry (contract: rekor-v1.md §2): one key, the entry ID. The
// order of members below is that of the wire; sigstore-rs cuts answers at fixed
// offsets, so that it must not change.
type logEntry map[string]entryValue

type entryValue struct {
	Attestation    *attestation `json:"attestation,omitempty"` // in answers to reads only
	Body           []byte       `json:"body"`                  // a base64 string
	IntegratedTime int64        `json:"integratedTime"`
	LogID          string       `json:"logID"`
	LogIndex       uint64       `json:"logIndex"`
	Verification   verification `json:"verification"`
}

type attestation struct {
	Data []byte `json:"data"` // a base64 string
}

type verification struct {
	InclusionProof       inclusionProof `json:"inclusionProof"`
	SignedEntryTimestamp []byte         `json:"signedEntryTimestamp"` // a base64 string
}

type inclusionProof struct {
	Checkpoint string   `json:"checkpoint"`
	Hashes     []string `json:"hashes"` // never null
	LogIndex   uint64   `json:"logIndex"`
	RootHash   string   `json:"rootHash"`
	TreeSize   uint64   `json:"treeSize"`
}

func wireEntry(r tlog.Record) logEntry {
	head := r.Proof.Checkpoint
	return logEntry{r.EntryID(): {
		Body:           r.Body,
		IntegratedTime: r.IntegratedTime,
		LogID:          hex.EncodeToString(r.LogID[:]),
		LogIndex:       r.LogIndex,
		Verification: verification{
			InclusionProof: inclusionProof{
				Checkpoint: head.Note,
				Hashes:     wireHashes(r.Proof.Hashes),
				LogIndex:   r.Proof.Index,
				RootHash:   hex.EncodeToString(head.Root[:]),
				TreeSize:   head.Size,
			},
			SignedEntryTimestamp: r.SET,
		},
	}}
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
