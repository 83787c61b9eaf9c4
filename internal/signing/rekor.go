package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

const logService = "transparency log"

// hashedRekord is a hashedrekord 0.0.1 entry (contract rekor-v1 §8). Its fields
// are in the order of their names and hold no character that JSON may escape, so
// that its encoding is canonical (RFC 8785).
type hashedRekord struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Spec       hashedRekordSpec `json:"spec"`
}

type hashedRekordSpec struct {
	Data struct {
		Hash struct {
			Algorithm string `json:"algorithm"`
			Value     string `json:"value"`
		} `json:"hash"`
	} `json:"data"`
	Signature struct {
		Content   []byte `json:"content"`
		PublicKey struct {
			Content []byte `json:"content"`
		} `json:"publicKey"`
	} `json:"signature"`
}

// proposal is an entry on its way to a log.
type proposal struct {
	sent   []byte // what is posted
	stored []byte // the canonical body that the log then has to hold
}

// proposeDigest is the proposal of a hashedrekord: what is sent is canonical.
func proposeDigest(digest [sha256.Size]byte, sig, verifier []byte) (proposal, error) {
	entry := hashedRekord{APIVersion: "0.0.1", Kind: "hashedrekord"}
	entry.Spec.Data.Hash.Algorithm = "sha256"
	entry.Spec.Data.Hash.Value = hex.EncodeToString(digest[:])
	entry.Spec.Signature.Content = sig
	entry.Spec.Signature.PublicKey.Content = verifier
	body, err := json.Marshal(entry)
	if err != nil {
		return proposal{}, fmt.Errorf("encode log entry: %w", err)
	}
	return proposal{sent: body, stored: body}, nil
}

// upload logs p at the Rekor v1 log whose base URL is given, and returns the
// entry. A log that refuses duplicates is asked for the existing one. An entry
// that is not p's is a *RefusedError at CheckEntry.
func (s *Session) upload(ctx context.Context, base string, p proposal) (*protorekor.TransparencyLogEntry, error) {
	got, err := call(ctx, s.http, request{
		service: logService, method: http.MethodPost, url: base + "/api/v1/log/entries",
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		body:   p.sent,
	}, http.StatusCreated, http.StatusConflict)
	if err != nil {
		return nil, err
	}
	if got.status == http.StatusConflict {
		if got, err = s.existing(ctx, base, got.header.Get("Location")); err != nil {
			return nil, err
		}
	}
	tle, err := parseLogAnswer(got.body)
	if err != nil {
		return nil, fmt.Errorf("read answer of transparency log at %s: %w", base, err)
	}
	if !bytes.Equal(tle.GetCanonicalizedBody(), p.stored) {
		return nil, refuse(CheckEntry, fmt.Errorf("the transparency log at %s answered with an entry for something else than was sent", base))
	}
	return tle, nil
}

// existing fetches the entry that a 409 names. Only the identifier of location
// is used, so that a log cannot send us elsewhere.
func (s *Session) existing(ctx context.Context, base, location string) (answer, error) {
	id := location[strings.LastIndexByte(location, '/')+1:]
	if _, err := hex.DecodeString(id); err != nil || (len(id) != 64 && len(id) != 80) {
		return answer{}, fmt.Errorf("transparency log at %s has the entry already, but names it %q", base, id)
	}
	return call(ctx, s.http, request{
		service: logService, method: http.MethodGet, url: base + "/api/v1/log/entries/" + id,
		header: http.Header{"Accept": {"application/json"}},
	}, http.StatusOK)
}

// logAnswer is the LogEntry of contract rekor-v1 §2.
type logAnswer struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		Proof *struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
		SET string `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// parseLogAnswer converts a log's answer into the form that bundles hold. Nothing
// is verified here; the finished bundle is.
func parseLogAnswer(body []byte) (*protorekor.TransparencyLogEntry, error) {
	var entries map[string]logAnswer
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if len(entries) != 1 {
		return nil, fmt.Errorf("got %d entries, want 1", len(entries))
	}
	var entry logAnswer
	for _, entry = range entries { // the only one; its name is its place in the log
	}
	return entry.proto()
}

func (e logAnswer) proto() (*protorekor.TransparencyLogEntry, error) {
	logID, err := hex.DecodeString(e.LogID)
	if err != nil {
		return nil, fmt.Errorf("decode log ID: %w", err)
	}
	set, err := base64.StdEncoding.DecodeString(e.Verification.SET)
	if err != nil {
		return nil, fmt.Errorf("decode signed entry timestamp: %w", err)
	}
	proof, err := e.inclusion()
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(e.Body)
	if err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          e.LogIndex,
		LogId:             &protocommon.LogId{KeyId: logID},
		KindVersion:       kind,
		IntegratedTime:    e.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: set},
		InclusionProof:    proof,
		CanonicalizedBody: e.Body,
	}, nil
}

// kindOf reads the kind and version that a logged body names.
func kindOf(body []byte) (*protorekor.KindVersion, error) {
	var named struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(body, &named); err != nil {
		return nil, fmt.Errorf("parse body: %w", err)
	}
	return &protorekor.KindVersion{Kind: named.Kind, Version: named.APIVersion}, nil
}

func (e logAnswer) inclusion() (*protorekor.InclusionProof, error) {
	p := e.Verification.Proof
	if p == nil {
		return nil, errors.New("the entry has no inclusion proof")
	}
	rootHash, err := hex.DecodeString(p.RootHash)
	if err != nil {
		return nil, fmt.Errorf("decode root hash: %w", err)
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, h := range p.Hashes {
		if hashes[i], err = hex.DecodeString(h); err != nil {
			return nil, fmt.Errorf("decode inclusion proof: %w", err)
		}
	}
	return &protorekor.InclusionProof{
		LogIndex:   p.LogIndex,
		RootHash:   rootHash,
		TreeSize:   p.TreeSize,
		Hashes:     hashes,
		Checkpoint: &protorekor.Checkpoint{Envelope: p.Checkpoint},
	}, nil
}
