package signing

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/proof"
)

// maxEntries bounds the log entries of a bundle, as with other verifiers.
const maxEntries = 32

// logEntries returns the bundle's log entries, at least one, each with the
// evidence that its kind of log gives.
func logEntries(b *Bundle) ([]*tlog.Entry, error) {
	entries := b.entity.entries
	if len(entries) == 0 {
		return nil, refuse(CheckLog, errors.New("the bundle has no log entry"))
	}
	logs := map[string]bool{}
	for _, e := range entries {
		if logs[e.LogKeyID()] {
			return nil, refuse(CheckEntry, errors.New("it has two entries of one log"))
		}
		logs[e.LogKeyID()] = true
		if !e.HasInclusionProof() && (e.IsRekorV2() || !b.promiseOnly) {
			return nil, refuse(CheckInclusion, errors.New("a log entry has no inclusion proof"))
		}
		if !e.IsRekorV2() && !e.HasInclusionPromise() {
			return nil, refuse(CheckPromise, errors.New("a log entry has no signed entry timestamp"))
		}
		if err := checkKind(e); err != nil {
			return nil, refuse(CheckEntry, err)
		}
	}
	return entries, nil
}

// parseEntries parses log entries, which verifies the signatures in Rekor v1 ones.
// Errors are refusals.
func parseEntries(from []*protorekor.TransparencyLogEntry) ([]*tlog.Entry, error) {
	if len(from) > maxEntries {
		return nil, refuse(CheckBundle, fmt.Errorf("%d log entries are more than %d", len(from), maxEntries))
	}
	entries := make([]*tlog.Entry, len(from))
	for i, e := range from {
		if e.GetLogIndex() < 0 {
			return nil, refuse(CheckEntry, fmt.Errorf("the log index %d is negative", e.GetLogIndex()))
		}
		if e.GetInclusionProof() != nil && e.GetInclusionProof().GetCheckpoint().GetEnvelope() == "" {
			return nil, refuse(CheckInclusion, errors.New("the proof has no checkpoint"))
		}
		var err error
		if entries[i], err = tlog.ParseTransparencyLogEntry(e); err != nil {
			return nil, refuse(CheckEntry, fmt.Errorf("parse log entry: %w", err))
		}
	}
	return entries, nil
}

// checkKind compares an entry's declared kind with the logged body's, which
// upstream takes on trust.
func checkKind(e *tlog.Entry) error {
	entry := e.TransparencyLogEntry()
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(entry.GetCanonicalizedBody(), &body); err != nil {
		return fmt.Errorf("parse body: %w", err)
	}
	if body.Kind != entry.GetKindVersion().GetKind() || body.APIVersion != entry.GetKindVersion().GetVersion() {
		return fmt.Errorf("it is declared as %s %s and logged as %s %s",
			entry.GetKindVersion().GetKind(), entry.GetKindVersion().GetVersion(), body.Kind, body.APIVersion)
	}
	return nil
}

// explainLog judges each entry by itself.
func explainLog(entries []*tlog.Entry, material root.TrustedMaterial) error {
	for _, e := range entries {
		log, ok := material.RekorLogs()[hex.EncodeToString([]byte(e.LogKeyID()))]
		if !ok {
			return refuse(CheckLog, errors.New("the entry's log is not in the trust root"))
		}
		if !e.IsRekorV2() {
			if err := tlog.VerifySET(e, material.RekorLogs()); err != nil {
				return refuse(CheckPromise, err)
			}
		}
		if !e.HasInclusionProof() {
			continue
		}
		if err := verifyInclusion(e, log); err != nil {
			return refuse(CheckInclusion, plainMismatch(err))
		}
	}
	return nil
}

// verifyInclusion checks an entry's inclusion proof and checkpoint.
func verifyInclusion(e *tlog.Entry, log *root.TransparencyLog) error {
	key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return fmt.Errorf("load log key: %w", err)
	}
	if !e.IsRekorV2() {
		return tlog.VerifyInclusion(e, key)
	}
	base, err := url.Parse(log.BaseURL)
	if err != nil {
		return fmt.Errorf("parse the log's base URL in the trust root: %w", err)
	}
	return tlog.VerifyCheckpointAndInclusion(e, key, base.Hostname())
}

// plainMismatch words different roots in hex; upstream has lists of numbers.
func plainMismatch(err error) error {
	var mismatch proof.RootMismatchError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("calculated root %x does not match expected root %x", mismatch.CalculatedRoot, mismatch.ExpectedRoot)
	}
	return err
}
