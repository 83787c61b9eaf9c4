package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Record is one line of the audit record: an event and its place in the chain.
type Record struct {
	Seq  uint64    // 1 for the first
	Time time.Time // UTC, whole milliseconds
	Prev [32]byte  // Hash of the line before; zero for the first
	Event
	Hash [32]byte // SHA-256 of the line up to and without its member "hash"
}

// timeLayout is RFC 3339 with milliseconds, always in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// maxLine bounds a line, in bytes: that of an anchor is about 10 KB, that of an
// event of the largest texts under 80 KB.
const maxLine = 256 << 10

// wire is a line's JSON. The order of its members is part of the format, as are
// the absence of empty ones and of space between them.
type wire struct {
	Seq       uint64            `json:"seq"`
	Time      string            `json:"time"`
	Prev      string            `json:"prev"`
	Action    string            `json:"action"`
	Outcome   string            `json:"outcome"`
	Service   string            `json:"service,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Address   string            `json:"address,omitempty"`
	Issuer    string            `json:"issuer,omitempty"`
	Subject   string            `json:"subject,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
	Hash      string            `json:"hash,omitempty"`
}

// errHash is wrapped by ParseLine's error for a line in the right form whose hash
// is not that of the rest.
var errHash = errors.New("its hash is not that of its content")

// appendTo sets r.Hash and appends the line, ended by a newline.
func (r *Record) appendTo(buf *bytes.Buffer) error {
	start := buf.Len()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(wire{
		Seq: r.Seq, Time: r.Time.UTC().Format(timeLayout), Prev: hex.EncodeToString(r.Prev[:]),
		Action: r.Action, Outcome: r.Outcome, Service: r.Service, RequestID: r.RequestID,
		Address: r.Address, Issuer: r.Issuer, Subject: r.Subject, Detail: r.Detail,
	})
	if err != nil {
		return fmt.Errorf("encode audit record: %w", err)
	}
	buf.Truncate(buf.Len() - len("}\n"))
	r.Hash = sha256.Sum256(buf.Bytes()[start:])
	buf.WriteString(`,"hash":"`)
	buf.WriteString(hex.EncodeToString(r.Hash[:]))
	buf.WriteString("\"}\n")
	return nil
}

// ParseLine parses a line without its newline. It accepts only the very bytes that
// a writer makes of the record it returns, so whatever was changed is an error,
// unless the hash was made anew; the chain tells that.
func ParseLine(line []byte) (Record, error) {
	if len(line) > maxLine {
		return Record{}, fmt.Errorf("it has more than %d bytes", maxLine)
	}
	var w wire
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return Record{}, fmt.Errorf("it is not an audit record: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Record{}, errors.New("it is not one audit record")
	}
	r, err := w.record()
	if err != nil {
		return Record{}, err
	}
	return r, r.check(line, w.Hash)
}

// check compares r, written again, with the line that it was read from.
func (r *Record) check(line []byte, claimed string) error {
	var buf bytes.Buffer
	if err := r.appendTo(&buf); err != nil {
		return err
	}
	again := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if bytes.Equal(again, line) {
		return nil
	}
	content := len(again) - len(`"hash":"`) - len(claimed) - len(`"}`)
	if len(again) == len(line) && bytes.Equal(again[:content], line[:content]) {
		return errHash
	}
	return errors.New("it is not written as audit records are")
}

// record turns texts into values; the hash is left to be computed.
func (w *wire) record() (r Record, err error) {
	r = Record{Seq: w.Seq, Event: Event{
		Action: w.Action, Outcome: w.Outcome, Service: w.Service, RequestID: w.RequestID,
		Address: w.Address, Issuer: w.Issuer, Subject: w.Subject, Detail: w.Detail,
	}}
	if r.Time, err = time.Parse(timeLayout, w.Time); err != nil {
		return r, fmt.Errorf("its time is malformed: %w", err)
	}
	if r.Prev, err = parseHash(w.Prev); err != nil {
		return r, fmt.Errorf("its prev is malformed: %w", err)
	}
	if _, err = parseHash(w.Hash); err != nil {
		return r, fmt.Errorf("its hash is malformed: %w", err)
	}
	for _, text := range []string{w.Action, w.Outcome, w.Service, w.RequestID, w.Address, w.Issuer, w.Subject} {
		if !printable(text) {
			return r, errors.New("a text of it has control characters")
		}
	}
	for name, text := range w.Detail {
		if !printable(name) || !printable(text) {
			return r, errors.New("a detail of it has control characters")
		}
	}
	return r, nil
}

func parseHash(text string) (h [32]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return h, err
	}
	if len(raw) != len(h) {
		return h, fmt.Errorf("%d bytes, want %d", len(raw), len(h))
	}
	return [32]byte(raw), nil
}

// Line returns r as it is in files, with its newline.
func (r *Record) Line() ([]byte, error) {
	var buf bytes.Buffer
	again := *r
	err := again.appendTo(&buf)
	return buf.Bytes(), err
}
