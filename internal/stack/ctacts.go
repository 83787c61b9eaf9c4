package stack

import (
	"strings"
	"time"

	"sigstack/internal/config"
	tufroot "sigstack/tuf-root"
)

// Paths of the acts on CT logs.
const (
	AdminCTLogs       = "/v1/ctlogs"         // GET: CTLogList
	AdminCTLogPrepare = "/v1/ctlogs/prepare" // POST CTLogOrder: CTLogDraft
	AdminCTLogDrop    = "/v1/ctlogs/drop"    // POST CTLogDrop: CTLogList
	AdminCTLogDraft   = "/v1/ctlogs/draft"   // POST: CTLogDraft of what is prepared, or new in config.yaml
	AdminCTLogPublish = "/v1/ctlogs/publish" // POST SignedTargets: CTLogList
)

// States of a CT log.
const (
	CTLogPreparing = "preparing" // its key is to be published
	CTLogPrepared  = "prepared"  // its key is in the trust material, and config.yaml does not have it in use yet
	CTLogActive    = "active"    // it takes certificates
	CTLogClosed    = config.CTReadOnly
	CTLogFrozen    = config.CTFrozen
	CTLogRetired   = "retired" // of others, and asked no more
)

// CTLogStatus is one CT log, of this stack or of others.
type CTLogStatus struct {
	URL   string `json:"url"`
	State string `json:"state"`
	// Asked is the log's place among those that the CA of this process asks, 1 being
	// the first; 0: it is not asked.
	Asked int    `json:"asked"`
	LogID string `json:"log_id"` // hex
	Own   bool   `json:"own"`
	// Prefix, Key and TreeID are what config.yaml has of one of this stack, and with
	// the range what belongs there of one that is prepared.
	Prefix        string `json:"prefix,omitempty"`
	Key           string `json:"key,omitempty"`
	TreeID        int64  `json:"tree_id,string,omitempty"`
	NotAfterStart string `json:"not_after_start,omitempty"`
	NotAfterLimit string `json:"not_after_limit,omitempty"`
	Size          uint64 `json:"size"` // entries, of one that is served here
	// Published is when the key went into the trust material; zero where that is not
	// known, because it was there from the beginning.
	Published time.Time `json:"published,omitzero"`
	// Distributed is from when on every client has it.
	Distributed time.Time `json:"distributed,omitzero"`
}

// CTLogList is all CT logs, in the order of config.yaml, and behind them those that
// are prepared.
type CTLogList struct {
	Logs []CTLogStatus `json:"logs"`
}

// CTLogOrder is a further CT log of this stack. The same order again is answered
// with the log that it made.
type CTLogOrder struct {
	Prefix        string `json:"prefix,omitempty"`          // "": the log that waits, or the next free one: ct2, ct3
	NotAfterStart string `json:"not_after_start,omitempty"` // RFC 3339; "": certificates of all times
	NotAfterLimit string `json:"not_after_limit,omitempty"` // likewise
	URI           string `json:"uri,omitempty"`             // where its key is to be; "": in a file
	Create        bool   `json:"create,omitempty"`          // make a key there if there is none
}

// CTLogDraft is what publishes CT logs.
type CTLogDraft struct {
	CTLogList

	Log   CTLogStatus `json:"log,omitzero"` // that was prepared
	Added []string    `json:"added"`        // IDs, in hex, of the logs to be published
	// Targets is TUF metadata to be signed; nil: nothing is to be published.
	Targets []byte `json:"targets"`
}

// Details are for the audit record.
func (l CTLogList) Details() map[string]string {
	states := make([]string, 0, len(l.Logs))
	for _, log := range l.Logs {
		states = append(states, log.URL+" "+log.State)
	}
	return map[string]string{"ct_logs": strings.Join(states, ", ")}
}

// Details are for the audit record.
func (d CTLogDraft) Details() map[string]string {
	details := d.CTLogList.Details()
	details["to_publish"] = strings.Join(d.Added, ", ")
	return details
}

// ApproveCTLogs demands that a change adds CT logs and changes nothing else, and
// returns the IDs, in hex, of those that the key has not signed before. now is the
// signer's own clock.
func ApproveCTLogs(change tufroot.Change, now time.Time) ([]string, error) {
	if err := mayExpire(change, now); err != nil {
		return nil, err
	}
	added, err := addsCTLogs(change)
	return added, err
}
