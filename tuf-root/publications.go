package tufroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// recordFile says since when clients saw which version. It is not served.
const recordFile = ".publications.json"

// Publication is a state that clients saw, until the next one.
type Publication struct {
	// At is the zero time for what was published before there was a record.
	At            time.Time
	Root, Targets int64 // versions
}

// record is the content of recordFile. A version enters it just before the write
// with which clients come to see it, so none is missing; what then fails to be
// written either is carried through, or enters again.
type record struct {
	Roots   []moment `json:"roots"`
	Targets []moment `json:"targets"`
	// Until is the end of a timestamp's life, if one that follows it ends sooner:
	// as long as that a client may hold it.
	Until time.Time `json:"until,omitzero"`
}

// moment is when a version was published; the zero time is before the record.
type moment struct {
	Version   int64     `json:"version"`
	At        time.Time `json:"at,omitzero"`
	Timestamp int64     `json:"timestamp,omitempty"` // the first that leads to it; 0 of a root
}

// parseRecord refuses what encode does not write.
func parseRecord(data []byte) (record, error) {
	var rec record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		return record{}, err
	}
	for _, list := range [][]moment{rec.Roots, rec.Targets} {
		last := int64(0)
		for _, m := range list {
			if m.Version <= last || m.Timestamp < 0 {
				return record{}, fmt.Errorf("version %d is out of order", m.Version)
			}
			last = m.Version
		}
	}
	return rec, nil
}

func (rec record) encode() ([]byte, error) {
	data, err := json.MarshalIndent(rec, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode record of publications: %w", err)
	}
	return append(data, '\n'), nil
}

// with returns list with m in place of its version and of all later ones, which
// were never published.
func with(list []moment, m moment) []moment {
	list = slices.DeleteFunc(slices.Clone(list), func(old moment) bool { return old.Version >= m.Version })
	return append(list, m)
}

// of returns the moment of a version.
func of(list []moment, version int64) (moment, bool) {
	for _, m := range list {
		if m.Version == version {
			return m, true
		}
	}
	return moment{}, false
}

// after is now, but never before what is recorded: clocks are set back, publications
// are in order.
func (rec record) after(now time.Time) time.Time {
	now = now.UTC()
	for _, m := range slices.Concat(rec.Roots, rec.Targets) {
		if m.At.After(now) {
			now = m.At
		}
	}
	return now
}

// life is how long a version lives, reckoned from its publication.
func (rec record) life(list []moment, version int64, expires time.Time, configured time.Duration) time.Duration {
	m, _ := of(list, version)
	if m.At.IsZero() || !expires.After(m.At) {
		return configured
	}
	return expires.Sub(m.At)
}

// loadRecord needs root and targets. A repository from before there was a record
// gets one that knows no times.
func (r *Repository) loadRecord() error {
	data, err := r.read(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		r.record = record{
			Roots:   []moment{{Version: r.root.Signed.Version}},
			Targets: []moment{{Version: r.targets.Signed.Version}},
		}
		return nil
	}
	if err != nil {
		return err
	}
	if r.record, err = parseRecord(data); err != nil {
		return fmt.Errorf("read %s (restore it, or remove it and lose when what was published): %w", recordFile, err)
	}
	return nil
}

// note makes rec the record.
func (r *Repository) note(rec record) error {
	data, err := rec.encode()
	if err != nil {
		return err
	}
	if err := r.replace(recordFile, data); err != nil {
		return err
	}
	r.record = rec
	return nil
}

// noteTimestamp records what the pending timestamp will bring to clients.
func (r *Repository) noteTimestamp() error {
	rec := r.record
	next := moment{r.targets.Signed.Version, rec.after(r.now()), r.timestamp.Signed.Version}
	known, ok := of(rec.Targets, next.Version)
	changed := false
	// If this timestamp is the one that it was recorded with, clients see it only now.
	if !ok || known.Timestamp == next.Timestamp {
		rec.Targets, changed = with(rec.Targets, next), true
	}
	if held := r.published.Expires; r.timestamp.Signed.Expires.Before(held) && held.After(rec.Until) {
		rec.Until, changed = held, true
	}
	if !changed {
		return nil
	}
	return r.note(rec)
}

// noteRoot records that a root is about to be published.
func (r *Repository) noteRoot(version int64) error {
	rec := r.record
	rec.Roots = with(rec.Roots, moment{Version: version, At: rec.after(r.now())})
	return r.note(rec)
}

// Publications lists the states that clients saw, the oldest first. A repository
// that is older than the record begins with a publication at the zero time.
func (r *Repository) Publications() ([]Publication, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.publications(r.root.Signed.Version, r.targets.Signed.Version), nil
}

// publications leaves out what is newer than root and targets: it is recorded, but
// its last write never happened.
func (rec record) publications(root, targets int64) []Publication {
	type event struct {
		moment
		role string
	}
	var events []event
	add := func(role string, list []moment, newest int64) {
		for _, m := range list {
			if m.Version <= newest {
				events = append(events, event{m, role})
			}
		}
	}
	add(metadata.TARGETS, rec.Targets, targets)
	add(metadata.ROOT, rec.Roots, root)
	slices.SortStableFunc(events, func(a, b event) int { return a.At.Compare(b.At) })
	var out []Publication
	var now Publication
	for _, e := range events {
		now.At = e.At
		if e.role == metadata.ROOT {
			now.Root = e.Version
		} else {
			now.Targets = e.Version
		}
		if now.Root == 0 || now.Targets == 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].At.Equal(now.At) {
			out = out[:n-1]
		}
		out = append(out, now)
	}
	return out
}
