package stack

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// config.yaml says which chain an authority signs with. Its file, which is there once
// a second one was prepared, lists all that were ever published, the oldest first,
// and since when each may be used (docs/decisions/0016-chains-of-the-authority.md).

// chainsVersion is that of the file's format.
const chainsVersion = 1

// chainPath is the file of the chain of a key, as config.yaml names it.
func chainPath(key string) string { return "keys/" + key + ".chain.pem" }

// chainEntry is a chain as the file has it.
type chainEntry struct {
	Certificates string `json:"certificates"`  // PEM, the issuing one first
	Key          string `json:"key,omitempty"` // of the issuing one, its name in keys/
	// Published is when the chain was in the trust material; zero for the first, and
	// for one in a draft.
	Published time.Time `json:"published,omitzero"`
	// Distributed is from when on every client has it.
	Distributed time.Time `json:"distributed,omitzero"`
	// Since is when it first issued; zero: it has not yet.
	Since time.Time `json:"since,omitzero"`
	// Retired is when it last ceased to issue; zero: it does, or has not yet.
	Retired time.Time `json:"retired,omitzero"`
	// End of its window in the trust material; zero: open.
	End time.Time `json:"end,omitzero"`
}

type chainFile struct {
	Version int          `json:"version"`
	Chains  []chainEntry `json:"chains"`          // as published
	Draft   []chainEntry `json:"draft,omitempty"` // as they are to be published next
}

// signChain is a chain that clients trust, or are to.
type signChain struct {
	chainEntry

	certs []*x509.Certificate
}

func newChain(certs []*x509.Certificate, key string) signChain {
	return signChain{chainEntry{Certificates: string(pki.CertificatesPEM(certs)), Key: key}, certs}
}

// chainSet are the chains of one authority.
type chainSet struct {
	file string

	mu    sync.Mutex
	list  []signChain // guarded by mu: as published, the oldest first; never changed in place
	draft []signChain // guarded by mu: likewise, as they are to be published next; nil: as they are
}

// decodeChains reads the file and accepts nothing that is not whole.
func decodeChains(data []byte) (list, draft []signChain, err error) {
	var f chainFile
	if err := decodeStrict(data, &f); err != nil {
		return nil, nil, err
	}
	switch {
	case f.Version != chainsVersion:
		return nil, nil, fmt.Errorf("version %d, this program reads %d", f.Version, chainsVersion)
	case len(f.Chains) == 0:
		return nil, nil, errors.New("no chain is in it")
	}
	if list, err = parseChains(f.Chains); err != nil {
		return nil, nil, err
	}
	if draft, err = parseChains(f.Draft); err != nil {
		return nil, nil, fmt.Errorf("draft: %w", err)
	}
	return list, draft, nil
}

func parseChains(entries []chainEntry) (out []signChain, err error) {
	for i, e := range entries {
		c := signChain{chainEntry: e}
		if c.certs, err = pki.ParseCertificatesPEM([]byte(e.Certificates)); err != nil {
			return nil, fmt.Errorf("chain %d: %w", i+1, err)
		}
		switch {
		case e.Distributed.Before(e.Published):
			return nil, fmt.Errorf("chain %d was distributed before it was published", i+1)
		case !e.Retired.IsZero() && e.Since.IsZero():
			return nil, fmt.Errorf("chain %d was retired before it issued", i+1)
		case !e.End.IsZero() && e.End.Before(e.Retired.Add(leafLife)):
			return nil, fmt.Errorf("chain %d ends before the certificates that it issued", i+1)
		case find(out, c.certs) >= 0:
			return nil, fmt.Errorf("chain %d is there twice", i+1)
		}
		out = append(out, c)
	}
	return out, nil
}

// find returns the index of a chain, -1 if it is not in list.
func find(list []signChain, certs []*x509.Certificate) int {
	return slices.IndexFunc(list, func(c signChain) bool { return slices.EqualFunc(c.certs, certs, (*x509.Certificate).Equal) })
}

// readChains reads the file; nothing without it.
func (of Authority) readChains(l Layout) (list, draft []signChain, err error) {
	data, err := os.ReadFile(of.file(l))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read chains: %w", err)
	}
	if list, draft, err = decodeChains(data); err != nil {
		return nil, nil, fmt.Errorf("read chains: %s: %w", of.file(l), err)
	}
	return list, draft, nil
}

// all returns what is published, and what is to be next.
func (c *chainSet) all() (list, draft []signChain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list, c.draft
}

// set replaces both, durably first.
func (c *chainSet) set(list, draft []signChain) error {
	f := chainFile{Version: chainsVersion}
	for _, x := range list {
		f.Chains = append(f.Chains, x.chainEntry)
	}
	for _, x := range draft {
		f.Draft = append(f.Draft, x.chainEntry)
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("write chains: %w", err)
	}
	if err := durable.WriteFile(c.file, append(data, '\n'), 0o600); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list, c.draft = list, draft
	return nil
}

// roots are those of all chains, of what is to be published next too: the CT log
// takes them before a chain issues, and for ever.
func (c *chainSet) roots() (out []*x509.Certificate) {
	list, draft := c.all()
	for _, x := range slices.Concat(list, draft) {
		root := x.certs[len(x.certs)-1]
		if !slices.ContainsFunc(out, root.Equal) {
			out = append(out, root)
		}
	}
	return out
}

// others are the chains that issued once, besides one.
func (c *chainSet) others(than []*x509.Certificate) (out [][]*x509.Certificate) {
	list, _ := c.all()
	at := find(list, than)
	for i, x := range slices.Backward(list) {
		if i != at && !x.Since.IsZero() {
			out = append(out, x.certs)
		}
	}
	return out
}

// errNotYet is matched by the error of mayIssue for a chain that has to wait only.
var errNotYet = errors.New("not every client has it")

// mayIssue refuses a chain that clients do not trust, or not yet.
func (a *authority) mayIssue(certs []*x509.Certificate, now time.Time) error {
	list, _ := a.chains.all()
	i := find(list, certs)
	switch {
	case i < 0:
		return fault.Newf(fault.Conflict, "the chain of %s (sha256:%s) is not in the trust material: publish it first, with sigstack %s chain prepare --chain", certs[0].Subject, fingerprint(certs[0]), a.of)
	case !list[i].End.IsZero():
		return fault.Newf(fault.Conflict, "the chain of %s was closed: clients accept nothing of it that is newer than %s", certs[0].Subject, list[i].End.Format(time.RFC3339))
	case now.Before(list[i].Distributed):
		return fault.Wrap(fault.Conflict, errNotYet, fmt.Sprintf("the chain of %s has not had time to reach every client, until %s", certs[0].Subject, list[i].Distributed.Format(time.RFC3339)))
	}
	return nil
}

// using returns a list with the chain that issues now: those that did and do not any
// more are retired.
func using(old []signChain, certs []*x509.Certificate, key string, now time.Time) (list []signChain, changed bool) {
	at := find(old, certs)
	now = now.UTC().Truncate(time.Second)
	for i, x := range old {
		switch {
		case i == at:
			if x.Since.IsZero() {
				x.Since = now
			}
			x.Retired, x.Key = time.Time{}, key
		case !x.Since.IsZero() && x.Retired.IsZero():
			x.Retired = now.Add(time.Second) // rounded up
		}
		list, changed = append(list, x), changed || x.chainEntry != old[i].chainEntry
	}
	return list, changed
}

// last is the chain that issued when the file was written.
func (c *chainSet) last() (signChain, bool) {
	list, _ := c.all()
	i := slices.IndexFunc(list, func(x signChain) bool { return !x.Since.IsZero() && x.Retired.IsZero() })
	if i < 0 {
		return signChain{}, false
	}
	return list[i], true
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
