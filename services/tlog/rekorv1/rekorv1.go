// Package rekorv1 answers the Rekor v1 REST API (contract: rekor-v1.md): paths,
// parameters, headers and the exact bytes of answers. Admitting entries is
// entry's part, keeping and signing them tlog's.
package rekorv1

import (
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/semaphore"

	"sigstack/internal/httpd"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
)

// DefaultMaxBody bounds a proposed entry. Envelopes of attestations are sent
// whole, SBOMs of some megabytes among them, and base64 makes them larger.
const DefaultMaxBody = 8 << 20

// Config of an API.
type Config struct {
	// Log is served.
	Log *tlog.Service
	// Parser admits entries. Where its types or algorithms are nil, those that
	// Sigstore clients use are meant: kinds.Default.
	Parser entry.Parser
	// StrictDuplicates answers an entry that is there already with 409, as the
	// upstream server does. Most clients then fail, so the default is 201 with
	// the entry that is there.
	StrictDuplicates bool
	// MaxBody bounds the body of a POST, in bytes. Zero: DefaultMaxBody.
	MaxBody int64
	// MaySearchNames refuses a caller who may not search the index by e-mail
	// address or subject; it may set headers. nil: everybody may.
	MaySearchNames func(http.ResponseWriter, *http.Request) error
}

// API is the Rekor v1 face of a log. It is safe for concurrent use.
type API struct {
	cfg   Config
	large *semaphore.Weighted // of the bytes of large proposals being checked
}

// New checks the configuration and returns the API.
func New(c Config) (*API, error) {
	switch {
	case c.Log == nil:
		return nil, errors.New("rekor v1: no log given")
	case c.MaxBody < 0:
		return nil, errors.New("rekor v1: body limit is negative")
	}
	if c.Parser.Types == nil {
		types, err := kinds.Types(kinds.Default())
		if err != nil {
			return nil, fmt.Errorf("rekor v1: %w", err)
		}
		c.Parser.Types = types
	}
	if c.Parser.Algorithms == nil {
		c.Parser.Algorithms = entry.DefaultAlgorithms()
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	return &API{cfg: c, large: semaphore.NewWeighted(largeAtOnce)}, nil
}

// entriesPath is where entries are; a Location is below it.
const entriesPath = "/api/v1/log/entries"

// Mount adds the API's routes.
func (a *API) Mount(mux *httpd.Mux) {
	g := mux.Group("tlog", httpd.RESTErrors)
	search := g.As(httpd.Read) // by POST, but nothing is written
	g.Handle(http.MethodPost, entriesPath, a.cfg.MaxBody, a.createEntry)
	g.Handle(http.MethodGet, entriesPath, 0, fresh(a.entryByIndex))
	g.Handle(http.MethodGet, entriesPath+"/{id}", 0, fresh(a.entryByID))
	search.Handle(http.MethodPost, entriesPath+"/retrieve", a.cfg.MaxBody, a.retrieve)
	search.Handle(http.MethodPost, indexPath, maxIndexBody, a.searchIndex)
	g.Handle(http.MethodGet, "/api/v1/log", 0, fresh(a.logInfo))
	g.Handle(http.MethodGet, "/api/v1/log/proof", 0, fresh(a.consistency))
	g.As(httpd.Public).Handle(http.MethodGet, "/api/v1/log/publicKey", 0, a.publicKey)
}

// fresh keeps caches away from what changes with the log: even an old entry is
// answered with a proof in the newest tree.
func fresh(h httpd.HandlerFunc) httpd.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
		w.Header().Set("Pragma", "no-cache")
		return h(w, r)
	}
}
