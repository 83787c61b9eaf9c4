// Package target makes the operations that the load driver runs: requests to any
// Fulcio, Rekor v1 and v2, and RFC 3161 service over their public protocols. Each
// answer goes through package check with public keys that were given, or fetched
// before the run; running and counting is package drive's.
package target

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// Config says where the services are and how to know them. A target needs only
// what it talks to.
type Config struct {
	CA, Rekor, Rekor2 string // base URLs, no final slash, maybe with a path
	TSA               string // URL that queries are posted to
	RekorHost         string // that signs v1 checkpoints; "": the host of Rekor
	Rekor2Origin      string // of v2 checkpoints; "": the host of Rekor2

	Trust    Trust
	Tokens   []string      // identity tokens, used in turn
	Lifetime time.Duration // of certificates

	Entries    int      // that get and search make for themselves beforehand; at least 1
	Indexes    [2]int64 // instead, for get: read what the log has from the first to the second
	By         string   // how get and search ask: one of Ways
	Concurrent int      // requests at once while entries are made

	HTTP *http.Client
	Now  func() time.Time
}

// Prepare makes one operation after the other; it is what drive.Config wants.
type Prepare func(ctx context.Context) (drive.Call, error)

// Names are the targets.
func Names() []string { return []string{"ca", "get", "rekor1", "rekor2", "search", "signing", "tsa"} }

// Ways are how a target may ask, its default first; none for those without a
// choice.
func Ways(name string) []string {
	switch name {
	case "get":
		return []string{"uuid", "index"}
	case "search":
		return []string{"hash", "email", "key"}
	}
	return nil
}

// New sets a target up: it fetches the trust material that was not given, and for
// get and search writes and verifies the entries to read.
func New(ctx context.Context, name string, c Config) (Prepare, error) {
	if c.By == "" && Ways(name) != nil {
		c.By = Ways(name)[0]
	}
	if c.By != "" && !slices.Contains(Ways(name), c.By) {
		return nil, fmt.Errorf("%s cannot ask by %q, want one of %q", name, c.By, Ways(name))
	}
	s := &services{Config: c, client: client{c.HTTP}}
	switch name {
	case "ca":
		return build(s.newCA(ctx))
	case "rekor1":
		return build(s.newRekor(ctx))
	case "rekor2":
		return build(s.newRekor2())
	case "tsa":
		return build(s.newTSA(ctx))
	case "get":
		return build(s.newGet(ctx))
	case "search":
		return build(s.newSearch(ctx))
	case "signing":
		return build(s.newSigning(ctx))
	}
	return nil, fmt.Errorf("no target %q, want one of %s", name, strings.Join(Names(), ", "))
}

// build hands out how a target prepares.
func build(t interface {
	prepare(ctx context.Context) (drive.Call, error)
}, err error,
) (Prepare, error) {
	if err != nil {
		return nil, err
	}
	return t.prepare, nil
}

// services is what targets are made of.
type services struct {
	Config

	client client
}

var errNoURL = errors.New("no URL of the service is given")

// KindOf names the kind of an operation's error.
func KindOf(err error) string { return string(check.KindOf(err)) }

// digest is what an artifact of 32 random bytes hashes to.
func digest() [sha256.Size]byte { return sha256.Sum256(random(32)) }
