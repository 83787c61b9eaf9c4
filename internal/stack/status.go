package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
)

// Status is all that an operator may want to know of a running stack.
type Status struct {
	httpd.Report
	Version   string    `json:"version"` // of the program
	PID       int       `json:"pid"`
	Since     time.Time `json:"since"` // when the process started to serve
	Uptime    int64     `json:"uptime_seconds"`
	Profile   string    `json:"profile"`
	URL       string    `json:"url"`
	Addresses Addresses `json:"addresses"`

	Issuers []IssuerStatus `json:"issuers"` // whose tokens this process's CA accepts

	Trees  []TreeStatus   `json:"trees"`
	Keys   []KeyStatus    `json:"keys"`
	Expiry []ExpiryStatus `json:"expiry"` // the soonest first
	Audit  AuditStatus    `json:"audit"`

	Replica *ReplicaStatus `json:"replica,omitempty"` // of one of several

	Connections ConnectionStatus `json:"connections"` // of the public listener
	Reload      *ReloadStatus    `json:"reload"`      // the last one; null before the first
}

// Addresses are those that the listeners are bound to, as host:port.
type Addresses struct {
	Public  string `json:"public"`
	Metrics string `json:"metrics"`
}

// ConnectionStatus is how many connections are open.
type ConnectionStatus struct {
	Open int `json:"open"`
	Most int `json:"most"` // with one more, one that waits is closed
}

// TreeStatus is the newest head of a log.
type TreeStatus struct {
	Name string    `json:"name"`
	Size uint64    `json:"size"` // entries
	Root string    `json:"root"` // hex
	Time time.Time `json:"time"`
	// Frozen: it takes no entries any more.
	Frozen bool `json:"frozen,omitempty"`
}

// KeyStatus is a key that the process signs with.
type KeyStatus struct {
	Name    string    `json:"name"`
	URI     string    `json:"uri,omitempty"` // where it is, if not in a file of keys/
	SHA256  string    `json:"sha256"`        // of its SubjectPublicKeyInfo, hex
	Created time.Time `json:"created"`
}

// AuditStatus is how far the audit record goes.
type AuditStatus struct {
	Chain    string `json:"chain"`    // its id, hex
	Seq      uint64 `json:"seq"`      // of the newest record
	Hash     string `json:"hash"`     // of the newest record, hex
	Anchored uint64 `json:"anchored"` // the newest record that is in the transparency log, 0: none known
}

// Details are for the audit record.
func (a AuditStatus) Details() map[string]string {
	return map[string]string{"anchored": strconv.FormatUint(a.Anchored, 10)}
}

// ExpiryStatus is something that ends.
type ExpiryStatus struct {
	What    string    `json:"what"`
	At      time.Time `json:"at"`
	Days    int64     `json:"days_left"` // whole ones; below zero once it is over
	Seconds int64     `json:"seconds_left"`
	Stage   string    `json:"stage"`             // fresh, ageing, ending or expired
	Warning string    `json:"warning,omitempty"` // what somebody has to do
}

// Status returns the present state of a stack that runs.
func (s *Stack) Status() Status {
	now := s.opts.Now()
	st := Status{
		Report: s.ready.Report(), Version: s.opts.Version, PID: os.Getpid(),
		Since: s.since.UTC(), Uptime: int64(now.Sub(s.since).Seconds()), Profile: s.conf.Profile, URL: s.conf.URL,
		Addresses: Addresses{Public: s.Address(), Metrics: s.metricsAddress},
		Issuers:   s.issuerStatuses(),
		Trees:     []TreeStatus{}, Keys: []KeyStatus{}, Expiry: s.expiryStatuses(now), Audit: s.auditStatus(),
		Replica: s.replicaStatus(), Reload: s.reloads.status(),
	}
	if s.conns != nil {
		st.Connections.Open, st.Connections.Most = s.conns.Count()
	}
	trees := s.services.allTrees()
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		head := trees[name].Head()
		st.Trees = append(st.Trees, TreeStatus{name, head.Size, hex.EncodeToString(head.Root[:]), head.Time.UTC(), trees[name].Frozen()})
	}
	for _, k := range s.services.allKeys() {
		st.Keys = append(st.Keys, keyStatus(k))
	}
	return st
}

func (s *Stack) auditStatus() AuditStatus {
	head := s.audit.Head()
	return AuditStatus{Chain: s.audit.Chain(), Seq: head.Seq, Hash: hex.EncodeToString(head.Hash[:]), Anchored: s.audit.Anchored()}
}

func keyStatus(k keys.Key) KeyStatus {
	sum := sha256.Sum256(k.SPKI())
	return KeyStatus{Name: k.Name, URI: k.URI(), SHA256: hex.EncodeToString(sum[:]), Created: k.Created}
}
