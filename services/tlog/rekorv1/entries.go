package rekorv1

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
)

// Body codes of a schema failure (contract: rekor-v1.md §1).
const (
	codeType     = 601
	codeRequired = 602
	codeTooLong  = 603
	codeTooShort = 604
	codePattern  = 605
	codeEnum     = 606
)

func schemaError(code int, public string) error {
	return &fault.Error{Kind: fault.Unprocessable, Public: public, Code: code}
}

// createEntry logs a proposed entry.
func (a *API) createEntry(w http.ResponseWriter, r *http.Request) error {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	e, terms, err := a.checkEntry(r.Context(), body)
	if err != nil {
		return err
	}
	record, created, err := a.cfg.Log.Add(r.Context(), e.Body, terms, e.Attestation)
	if err != nil {
		return err
	}
	id := record.EntryID()
	// A path, not a URL: java clients append it to the base URL.
	w.Header().Set("Location", entriesPath+"/"+id)
	if !created && a.cfg.StrictDuplicates {
		return fault.New(fault.Conflict, "an equivalent entry already exists in the transparency log with UUID "+id)
	}
	// Not quoted, against RFC 9110: sigstore-go takes it for the key of the map.
	w.Header().Set("ETag", id)
	writeJSON(w, http.StatusCreated, appendEntry(nil, record, nil))
	return nil
}

// checkEntry reads a proposed entry, and what it is found by.
func (a *API) checkEntry(ctx context.Context, body []byte) (entry.Entry, entry.Terms, error) {
	done, err := a.takeTurn(ctx, len(body))
	if err != nil {
		return entry.Entry{}, entry.Terms{}, err
	}
	defer done()
	e, err := a.cfg.Parser.Parse(body)
	if err != nil {
		return entry.Entry{}, entry.Terms{}, err
	}
	return e, e.Terms(), nil
}

// Checking a proposal takes many times its size in memory, so that of large ones,
// in bytes, few are checked at once; the rest wait for their turn.
const (
	largeFrom   = 256 << 10
	largeAtOnce = 16 << 20
	turnTimeout = 10 * time.Second
)

// takeTurn waits until a body of size bytes may be checked; done must be called
// then. The error is fault.Limited.
func (a *API) takeTurn(ctx context.Context, size int) (done func(), err error) {
	if size < largeFrom {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	weight := min(int64(size), largeAtOnce)
	if err := a.large.Acquire(ctx, weight); err != nil {
		return nil, &fault.Error{Kind: fault.Limited, Public: "too many large entries are being checked, try again", Err: err, RetryAfter: time.Second}
	}
	return func() { a.large.Release(weight) }, nil
}

// entryByIndex answers ?logIndex=N.
func (a *API) entryByIndex(w http.ResponseWriter, r *http.Request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	text := query.Get("logIndex")
	if text == "" {
		return schemaError(codeRequired, "logIndex is missing")
	}
	index, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return schemaError(codeType, "logIndex is not an index: a number, at least 0")
	}
	record, err := a.cfg.Log.ByIndex(r.Context(), index)
	return a.answerEntry(w, r, record, err)
}

// entryByID answers for a leaf hash, with or without a tree ID before it.
func (a *API) entryByID(w http.ResponseWriter, r *http.Request) error {
	id, ok := parseID(r.PathValue("id"))
	if !ok {
		return schemaError(codePattern, "entry ID is not 64 or 80 hex digits")
	}
	record, err := a.lookup(r, id)
	return a.answerEntry(w, r, record, err)
}

// answerEntry answers with an entry; that there is none is a 404 without a body.
func (a *API) answerEntry(w http.ResponseWriter, r *http.Request, record tlog.Record, err error) error {
	if err != nil && fault.KindOf(err) == fault.NotFound {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	if err != nil {
		return err
	}
	e, err := a.appendRead(r.Context(), nil, record)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, e)
	return nil
}

// appendRead appends the entry as a reader gets it: with its attestation, where one
// is stored.
func (a *API) appendRead(ctx context.Context, out []byte, record tlog.Record) ([]byte, error) {
	attestation, err := a.cfg.Log.Attestation(ctx, record)
	if err != nil {
		return nil, err
	}
	return appendEntry(out, record, attestation), nil
}

// writeJSON answers with what is JSON already, and a newline as everywhere.
func writeJSON(w http.ResponseWriter, status int, out []byte) {
	httpd.WriteBytes(w, status, "application/json", append(out, '\n'))
}

// entryID is a parsed entry ID.
type entryID struct {
	tree uint64 // 0: any
	hash [32]byte
}

// parseID reads 64 hex digits, or 80 of which the first 16 are a tree ID.
func parseID(text string) (id entryID, ok bool) {
	if len(text) != 64 && len(text) != 80 {
		return id, false
	}
	tree, digits := text[:len(text)-64], text[len(text)-64:]
	if _, err := hex.Decode(id.hash[:], []byte(digits)); err != nil {
		return id, false
	}
	if tree == "" {
		return id, true
	}
	var err error
	id.tree, err = strconv.ParseUint(tree, 16, 64)
	return id, err == nil
}

func (a *API) lookup(r *http.Request, id entryID) (tlog.Record, error) {
	if id.tree >= 1<<63 {
		return tlog.Record{}, fault.New(fault.NotFound, "no such tree")
	}
	return a.cfg.Log.ByHash(r.Context(), int64(id.tree), id.hash)
}

func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "query could not be parsed")
	}
	return query, nil
}
