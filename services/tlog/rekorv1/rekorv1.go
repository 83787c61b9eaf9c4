// Package rekorv1 answers the Rekor v1 REST API (contract: rekor-v1.md): paths,
// parameters, headers and the exact bytes of answers. Admitting entries is
// entry's part, keeping and signing them tlog's.
package rekorv1

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/fault"
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
	// Kinds of entries that are taken, of Kinds; empty: those that Sigstore
	// clients in use send.
	Kinds []string
	// Parser admits entries. Where its types are nil, they are those of Kinds,
	// where its algorithms are nil, those that Sigstore clients use.
	Parser entry.Parser
	// StrictDuplicates answers an entry that is there already with 409, as the
	// upstream server does. Most clients then fail, so the default is 201 with
	// the entry that is there.
	StrictDuplicates bool
	// Disabled are the IDs of operations that are answered 501, of Operations.
	Disabled []string
	// MaxBody bounds the body of a POST, in bytes. Zero: DefaultMaxBody.
	MaxBody int64
	// MaySearchNames refuses a caller who may not search the index by e-mail
	// address or subject; it may set headers. nil: everybody may.
	MaySearchNames func(http.ResponseWriter, *http.Request) error
	// Metrics count requests; nil: they are not counted.
	Metrics prometheus.Registerer
}

// API is the Rekor v1 face of a log. It is safe for concurrent use.
type API struct {
	cfg   Config
	large *semaphore.Weighted // of the bytes of large proposals being checked
	meter httpd.Meter
}

// New checks the configuration and returns the API.
func New(c Config) (*API, error) {
	switch {
	case c.Log == nil:
		return nil, errors.New("rekor v1: no log given")
	case c.MaxBody < 0:
		return nil, errors.New("rekor v1: body limit is negative")
	}
	for _, id := range c.Disabled {
		if !slices.Contains(Operations(), id) {
			return nil, fmt.Errorf("rekor v1: operation %q is not known, want some of %q", id, Operations())
		}
	}
	if c.Parser.Types == nil {
		names := c.Kinds
		if len(names) == 0 {
			names = kinds.Default()
		}
		types, err := kinds.Types(names)
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
	meter, err := newMeter(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("rekor v1: %w", err)
	}
	return &API{cfg: c, large: semaphore.NewWeighted(largeAtOnce), meter: meter}, nil
}

// entriesPath is where entries are; a Location is below it.
const entriesPath = "/api/v1/log/entries"

// Kinds returns every kind of entry that there is, sorted.
func Kinds() []string { return kinds.All() }

// Operations returns the operation IDs of the API's description, sorted.
func Operations() []string {
	var ids []string
	for _, o := range (&API{}).operations() {
		ids = append(ids, o.id)
	}
	slices.Sort(ids)
	return ids
}

// operation is one operation, which the API's description names.
type operation struct {
	id, method, path string
	maxBody          int64
	effect           func(*httpd.Group) *httpd.Group // nil: that of the method
	handle           httpd.HandlerFunc
}

func (a *API) operations() []operation {
	reads := func(g *httpd.Group) *httpd.Group { return g.As(httpd.Read) } // by POST, but nothing is written
	public := func(g *httpd.Group) *httpd.Group { return g.As(httpd.Public) }
	return []operation{
		{"createLogEntry", http.MethodPost, entriesPath, a.cfg.MaxBody, nil, a.createEntry},
		{"getLogEntryByIndex", http.MethodGet, entriesPath, 0, nil, fresh(a.entryByIndex)},
		{"getLogEntryByUUID", http.MethodGet, entriesPath + "/{id}", 0, nil, fresh(a.entryByID)},
		{"searchLogQuery", http.MethodPost, entriesPath + "/retrieve", a.cfg.MaxBody, reads, a.retrieve},
		{"searchIndex", http.MethodPost, indexPath, maxIndexBody, reads, a.searchIndex},
		{"getLogInfo", http.MethodGet, "/api/v1/log", 0, nil, fresh(a.logInfo)},
		{"getLogProof", http.MethodGet, "/api/v1/log/proof", 0, nil, fresh(a.consistency)},
		{"getPublicKey", http.MethodGet, "/api/v1/log/publicKey", 0, public, a.publicKey},
	}
}

// Mount adds the API's routes.
func (a *API) Mount(mux *httpd.Mux) {
	for _, o := range a.operations() {
		g := mux.Group("tlog", httpd.RESTErrors).Metered(a.meter)
		if o.effect != nil {
			g = o.effect(g)
		}
		if slices.Contains(a.cfg.Disabled, o.id) {
			o.handle = switchedOff
		}
		g.Handle(o.method, o.path, o.maxBody, o.handle)
	}
}

func switchedOff(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.Unimplemented, "this operation is switched off on this server")
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
