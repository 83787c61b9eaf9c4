package signing

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// LogReader reads a Rekor v1 log by its public API, and verifies all that it
// returns by a trust root.
type LogReader struct {
	trusted *TrustRoot
	http    *http.Client
	base    string
}

// NewLogReader returns a reader of the log at base or, if that is "", of the one
// that the kit names. It does not call it yet.
func (k *Kit) NewLogReader(base string, now time.Time) (*LogReader, error) {
	if base == "" {
		logs, _, err := k.witnesses(now)
		if err != nil {
			return nil, err
		}
		base = logs[0]
	}
	base = strings.TrimSuffix(base, "/")
	client, err := k.HTTPClient()
	if err == nil && k.config == nil {
		client, err = k.TLS.HTTPClient(base)
	}
	if err != nil {
		return nil, err
	}
	return &LogReader{k.Trusted, client, base}, nil
}

// URL is the log's.
func (r *LogReader) URL() string { return r.base }

// LogEntry is an entry of a log whose every part was verified: the body has the
// leaf hash of its UUID, the signed entry timestamp and the checkpoint are by the
// key of its shard in the trust root, and the proof leads from the one to the
// other.
type LogEntry struct {
	EntryID        string   `json:"entry_id"` // tree ID and UUID, 80 hex digits
	UUID           string   `json:"uuid"`     // leaf hash, hex
	TreeID         string   `json:"tree_id"`  // decimal
	LogID          string   `json:"log_id"`
	LogIndex       uint64   `json:"log_index"` // in all shards
	Index          uint64   `json:"index"`     // in its tree
	IntegratedTime int64    `json:"integrated_time"`
	Body           []byte   `json:"body"`
	Attestation    []byte   `json:"attestation,omitempty"`
	SET            []byte   `json:"signed_entry_timestamp,omitempty"`
	TreeSize       uint64   `json:"tree_size"`
	RootHash       string   `json:"root_hash"`
	Hashes         []string `json:"hashes"` // of the proof, from the leaf up
	Checkpoint     string   `json:"checkpoint,omitempty"`
}

// ErrNoEntry is matched by the error of Get for an entry that the log has not.
var ErrNoEntry = errors.New("the log has no such entry")

// entryName is what names an entry: digits are an index, hex a UUID or entry ID.
var entryName = regexp.MustCompile(`^([0-9]{1,19}|[0-9a-f]{64}|[0-9a-f]{80})$`)

// Get returns the entry with an index in the whole log, a UUID or an entry ID.
func (r *LogReader) Get(ctx context.Context, name string) (LogEntry, error) {
	name = strings.ToLower(name)
	if !entryName.MatchString(name) {
		return LogEntry{}, fmt.Errorf("%q names no entry: want an index, or 64 or 80 hex digits", shorten(name, maxMessage))
	}
	path := "/api/v1/log/entries/" + name
	if len(name) < 64 {
		path = "/api/v1/log/entries?logIndex=" + name
	}
	got, err := r.get(ctx, path)
	var refused *ServiceError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return LogEntry{}, fmt.Errorf("entry %s: %w", name, ErrNoEntry)
	}
	if err != nil {
		return LogEntry{}, err
	}
	e, err := parseEntry(got)
	if err != nil {
		return LogEntry{}, fmt.Errorf("read answer of transparency log at %s: %w", r.base, err)
	}
	if !e.is(name) {
		return LogEntry{}, refuse(CheckEntry, fmt.Errorf("asked for %s, the log answered with entry %s, index %d", name, e.EntryID, e.LogIndex))
	}
	return e, r.trusted.verifyEntry(e)
}

// is tells whether that names the entry.
func (e LogEntry) is(name string) bool {
	if len(name) >= 64 {
		return strings.HasSuffix(e.EntryID, name)
	}
	index, err := strconv.ParseUint(name, 10, 64)
	return err == nil && index == e.LogIndex
}

func (r *LogReader) get(ctx context.Context, path string) ([]byte, error) {
	got, err := call(ctx, r.http, request{
		service: logService, method: http.MethodGet, url: r.base + path, header: http.Header{"Accept": {"application/json"}},
	}, http.StatusOK)
	return got.body, err
}

// parseEntry reads a LogEntry (contract rekor-v1 §2). Nothing is verified here.
func parseEntry(answer []byte) (LogEntry, error) {
	var entries map[string]struct {
		Attestation struct {
			Data []byte `json:"data"`
		} `json:"attestation"`
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       uint64 `json:"logIndex"`
		Verification   struct {
			Proof struct {
				Checkpoint string   `json:"checkpoint"`
				Hashes     []string `json:"hashes"`
				LogIndex   uint64   `json:"logIndex"`
				RootHash   string   `json:"rootHash"`
				TreeSize   uint64   `json:"treeSize"`
			} `json:"inclusionProof"`
			SET []byte `json:"signedEntryTimestamp"`
		} `json:"verification"`
	}
	if err := json.Unmarshal(answer, &entries); err != nil {
		return LogEntry{}, fmt.Errorf("parse JSON: %w", err)
	}
	if len(entries) != 1 {
		return LogEntry{}, fmt.Errorf("got %d entries, want 1", len(entries))
	}
	var e LogEntry
	for id, w := range entries {
		tree, err := strconv.ParseInt(id[:min(16, len(id))], 16, 64)
		if _, hexErr := hex.DecodeString(id); err != nil || hexErr != nil || len(id) != 80 || id != strings.ToLower(id) {
			return LogEntry{}, fmt.Errorf("the entry has the name %q", shorten(id, maxMessage))
		}
		p := w.Verification.Proof
		e = LogEntry{
			EntryID: id, UUID: id[16:], TreeID: strconv.FormatInt(tree, 10), LogID: w.LogID, LogIndex: w.LogIndex, Index: p.LogIndex,
			IntegratedTime: w.IntegratedTime, Body: w.Body, Attestation: w.Attestation.Data, SET: w.Verification.SET,
			TreeSize: p.TreeSize, RootHash: p.RootHash, Hashes: p.Hashes, Checkpoint: p.Checkpoint,
		}
	}
	return e, nil
}

// LogTree is a shard of a log and its newest head, whose signature was verified.
type LogTree struct {
	TreeID     string `json:"tree_id"`
	Size       uint64 `json:"size"`
	RootHash   string `json:"root_hash"`
	Checkpoint string `json:"checkpoint,omitempty"`
}

// Trees returns the shards of the log, the oldest first; the last one takes
// entries.
func (r *LogReader) Trees(ctx context.Context) ([]LogTree, error) {
	got, err := r.get(ctx, "/api/v1/log")
	if err != nil {
		return nil, err
	}
	type wire struct {
		RootHash       string `json:"rootHash"`
		SignedTreeHead string `json:"signedTreeHead"`
		TreeID         string `json:"treeID"`
		TreeSize       uint64 `json:"treeSize"`
	}
	var info struct {
		wire
		Inactive []wire `json:"inactiveShards"`
	}
	if err := json.Unmarshal(got, &info); err != nil {
		return nil, fmt.Errorf("read answer of transparency log at %s: %w", r.base, err)
	}
	var trees []LogTree
	for _, w := range append(info.Inactive, info.wire) {
		t := LogTree{w.TreeID, w.TreeSize, w.RootHash, w.SignedTreeHead}
		if err := r.trusted.verifyTree(t); err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	return trees, nil
}

// LogConsistency is a proof that a tree only grew, which was verified, as were the
// roots: both follow from a signed checkpoint.
type LogConsistency struct {
	LogTree             // whose checkpoint vouches for the roots
	First      uint64   `json:"first_size"`
	Second     uint64   `json:"second_size"`
	FirstRoot  string   `json:"first_root"`
	SecondRoot string   `json:"second_root"`
	Hashes     []string `json:"hashes"`
}

// Consistency proves that a shard of size second extends that of size first; the
// tree ID "" is the shard that takes entries.
func (r *LogReader) Consistency(ctx context.Context, treeID string, first, second uint64) (LogConsistency, error) {
	trees, err := r.Trees(ctx)
	if err != nil {
		return LogConsistency{}, err
	}
	at := len(trees) - 1
	for i, t := range trees {
		if t.TreeID == treeID {
			at = i
		}
	}
	if treeID != "" && trees[at].TreeID != treeID {
		return LogConsistency{}, fmt.Errorf("the log has no tree %s", treeID)
	}
	if second > trees[at].Size {
		return LogConsistency{}, fmt.Errorf("tree %s has %d entries, so that there is no proof up to size %d", trees[at].TreeID, trees[at].Size, second)
	}
	var before uint64 // entries in the shards before
	for _, t := range trees[:at] {
		before += t.Size
	}
	return prover{
		tree:  trees[at],
		proof: func(a, b uint64) ([][]byte, error) { return r.fetchConsistency(ctx, trees[at].TreeID, a, b) },
		entry: func(index uint64) (LogEntry, error) { return r.Get(ctx, strconv.FormatUint(before+index, 10)) },
	}.consistency(first, second)
}

func (r *LogReader) fetchConsistency(ctx context.Context, treeID string, first, second uint64) ([][]byte, error) {
	if first == second {
		return nil, nil
	}
	q := url.Values{"treeID": {treeID}, "firstSize": {strconv.FormatUint(first, 10)}, "lastSize": {strconv.FormatUint(second, 10)}}
	got, err := r.get(ctx, "/api/v1/log/proof?"+q.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Hashes []string `json:"hashes"`
	}
	if err := json.Unmarshal(got, &answer); err != nil {
		return nil, fmt.Errorf("read consistency proof: %w", err)
	}
	return decodeHashes(answer.Hashes)
}

func decodeHashes(list []string) ([][]byte, error) {
	hashes := make([][]byte, len(list))
	for i, h := range list {
		var err error
		if hashes[i], err = hex.DecodeString(h); err != nil || len(hashes[i]) != 32 {
			return nil, fmt.Errorf("the proof's hash %d is not 64 hex digits", i)
		}
	}
	return hashes, nil
}

// headerTruncated is set where a search of the log has more hits than it tells.
const headerTruncated = "X-Results-Truncated"

// LogQuery is a question to a log's index; what is "" is not asked for.
type LogQuery struct {
	Email, Subject, Hash string
	KeyFormat            string // pgp, x509, minisign, ssh or tuf
	Key                  []byte // in that format
	And                  bool   // all of them rather than any
}

// Search returns the entry IDs that the log's index has, the newest first; more
// tells that it has others that it does not tell. Nothing says yet that they are
// what was asked for.
func (r *LogReader) Search(ctx context.Context, q LogQuery) (ids []string, more bool, err error) {
	query := map[string]any{"operator": map[bool]string{true: "and", false: "or"}[q.And]}
	for name, value := range map[string]string{"email": q.Email, "subject": q.Subject, "hash": q.Hash} {
		if value != "" {
			query[name] = value
		}
	}
	if len(q.Key) > 0 {
		query["publicKey"] = map[string]string{"format": q.KeyFormat, "content": base64.StdEncoding.EncodeToString(q.Key)}
	}
	body, err := json.Marshal(query)
	if err != nil {
		return nil, false, fmt.Errorf("encode search: %w", err)
	}
	got, err := call(ctx, r.http, request{
		service: logService, method: http.MethodPost, url: r.base + "/api/v1/index/retrieve",
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, body: body,
	}, http.StatusOK)
	if err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(got.body, &ids); err != nil {
		return nil, false, fmt.Errorf("read search of transparency log at %s: %w", r.base, err)
	}
	return ids, got.header.Get(headerTruncated) != "", nil
}
