package rekorv1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
)

// maxQueries bounds one search, and each of its lists.
const maxQueries = 10

// search is what a retrieve asks for. An absent list is nil, as is null.
type search struct {
	EntryUUIDs []string          `json:"entryUUIDs"`
	LogIndexes []*uint64         `json:"logIndexes"`
	Entries    []json.RawMessage `json:"entries"`
}

// retrieve answers with the entries that a search finds, in the order of the
// question: by ID, by content, by index (contract: rekor-v1.md §9).
func (a *API) retrieve(w http.ResponseWriter, r *http.Request) error {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	q, ids, err := a.checkSearch(r.Context(), body)
	if err != nil {
		return err
	}
	found := []byte{'['}
	collect := func(record tlog.Record, err error) error {
		if err != nil {
			if fault.KindOf(err) == fault.NotFound {
				return nil
			}
			return err
		}
		if len(found) > 1 {
			found = append(found, ',')
		}
		found, err = a.appendRead(r.Context(), found, record)
		return err
	}
	for _, id := range ids {
		records, err := a.lookupAll(r, id)
		if err != nil {
			return err
		}
		for _, record := range records {
			if err := collect(record, nil); err != nil {
				return err
			}
		}
	}
	for _, index := range q.LogIndexes {
		if err := collect(a.cfg.Log.ByIndex(r.Context(), *index)); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, append(found, ']'))
	return nil
}

// lookupAll finds an entry by its ID: one of each shard where the ID names none, since
// clients take the earliest.
func (a *API) lookupAll(r *http.Request, id entryID) ([]tlog.Record, error) {
	if id.tree == 0 {
		return a.cfg.Log.AllByHash(r.Context(), id.hash)
	}
	record, err := a.lookup(r, id)
	if err != nil && fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []tlog.Record{record}, nil
}

// checkSearch reads a search, and finds the IDs that it asks for.
func (a *API) checkSearch(ctx context.Context, body []byte) (search, []entryID, error) {
	done, err := a.takeTurn(ctx, len(body))
	if err != nil {
		return search{}, nil, err
	}
	defer done()
	q, err := parseSearch(body)
	if err != nil {
		return search{}, nil, err
	}
	ids, err := a.searchIDs(q)
	return q, ids, err
}

// decodeQuery decodes the JSON of a query; broken is the sentence for what is none.
func decodeQuery(body []byte, q any, broken string) error {
	err := json.Unmarshal(body, q)
	var badType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &badType) && badType.Field != "": // a member, not the whole
		return schemaError(codeType, badType.Field+" holds a value of another type")
	case err != nil:
		return fault.Wrap(fault.Invalid, err, broken)
	}
	return nil
}

// parseSearch reads a search and checks its lists' lengths.
func parseSearch(body []byte) (search, error) {
	var q search
	if err := decodeQuery(body, &q, "search query could not be parsed"); err != nil {
		return q, err
	}
	lists := []struct {
		name   string
		given  bool
		length int
	}{
		{"entryUUIDs", q.EntryUUIDs != nil, len(q.EntryUUIDs)},
		{"logIndexes", q.LogIndexes != nil, len(q.LogIndexes)},
		{"entries", q.Entries != nil, len(q.Entries)},
	}
	total := 0
	for _, l := range lists {
		if l.given && l.length == 0 {
			return q, schemaError(codeTooShort, l.name+" is empty")
		}
		if total += l.length; total > maxQueries {
			return q, schemaError(codeTooLong, fmt.Sprintf("more than max allowed %d entries in request", maxQueries))
		}
	}
	for i, index := range q.LogIndexes {
		if index == nil {
			return q, fault.Newf(fault.Invalid, "logIndexes[%d] is null", i)
		}
	}
	return q, nil
}

// searchIDs gives the ID of everything that is searched by ID or by content. An
// entry of a kind that this log does not take cannot be in it, but is no mistake
// either: cosign asks for one signature in two kinds at once.
func (a *API) searchIDs(q search) ([]entryID, error) {
	var ids []entryID
	for i, text := range q.EntryUUIDs {
		id, ok := parseID(text)
		if !ok {
			return nil, fault.Newf(fault.Invalid, "entryUUIDs[%d] is not 64 or 80 hex digits", i)
		}
		ids = append(ids, id)
	}
	for i, proposed := range q.Entries {
		e, err := a.cfg.Parser.Parse(proposed)
		if errors.Is(err, entry.ErrNotEnabled) {
			continue
		}
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, fmt.Sprintf("entries[%d]: %s", i, fault.Public(err)))
		}
		ids = append(ids, entryID{hash: [32]byte(rfc6962.DefaultHasher.HashLeaf(e.Body))})
	}
	return ids, nil
}
