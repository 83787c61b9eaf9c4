package record

import (
	"cmp"
	"strings"
	"sync"
)

// unknownAccount stands on record for a name that is no account's, as far as known
// here: what was typed may be a password in the wrong field, whatever it looks like.
const unknownAccount = "(unknown)"

// maxAccounts bounds how many names are remembered.
const maxAccounts = 16 << 10

// accounts are names that somebody has logged in by since the start, at connectors
// whose accounts only they know. It is safe for concurrent use.
type accounts struct {
	mu    sync.Mutex
	names map[string]string // as they were typed, by key; guarded by mu
}

// remember takes the name of a login that went well.
func (r *Recorder) remember(a *attempt) {
	if a == nil || a.typed == "" || a.connector == r.Local {
		return
	}
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	if r.seen.names == nil {
		r.seen.names = map[string]string{}
	}
	if len(r.seen.names) < maxAccounts {
		r.seen.names[a.key()] = strings.TrimSpace(a.typed)
	}
}

// account is what the record says of the name that was typed, "" if none was.
func (r *Recorder) account(a *attempt) string {
	if a.typed == "" {
		return ""
	}
	if a.connector == r.Local {
		return cmp.Or(r.Accounts[canonical(a.typed)], unknownAccount)
	}
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	return cmp.Or(r.seen.names[a.key()], unknownAccount)
}

// key tells the same name at two connectors apart.
func (a *attempt) key() string { return a.connector + "\x00" + canonical(a.typed) }

// canonical is a name as directories compare it.
func canonical(typed string) string { return strings.ToLower(strings.TrimSpace(typed)) }
