package stack

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// draftCT drafts what publishes the CT logs that wait for it. It writes nothing.
func (s *Stack) draftCT(ctx context.Context) (draft CTLogDraft, all []trust.Target, wanted []ctRecord, err error) {
	draft.Added = []string{}
	if draft.CTLogList, err = s.ctLogList(); err != nil {
		return draft, nil, nil, err
	}
	wanted, err = s.unpublishedCT(ctx)
	if err != nil || len(wanted) == 0 {
		return draft, nil, nil, err
	}
	material := s.material()
	for _, r := range wanted {
		id := pki.LogID(r.Key)
		draft.Added = append(draft.Added, hex.EncodeToString(id[:]))
		if !knowsCT(material.CTLogs, r.Key) { // as it does in a directory that nothing serves
			material.CTLogs = append(material.CTLogs, r.trust())
		}
	}
	if err := material.Validate(); err != nil {
		return draft, nil, nil, err
	}
	if all, err = material.Targets(s.opts.Now()); err != nil {
		return draft, nil, nil, err
	}
	draft.Targets, err = s.repo.DraftTargets(all)
	return draft, all, wanted, err
}

// unpublishedCT are the CT logs that are prepared, or that config.yaml has, and clients
// do not know.
func (s *Stack) unpublishedCT(ctx context.Context) ([]ctRecord, error) {
	known, err := publishedCT(s.repo)
	if err != nil {
		return nil, err
	}
	var out []ctRecord
	for _, r := range s.ctRecords.all() {
		if !isKnownCT(known, r.Key) {
			out = append(out, r)
		}
	}
	f, err := config.ReadFile(s.layout.Config())
	if err == nil {
		err = f.Err()
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was published")
	}
	unknown, problems := s.layout.ctDifferences(f.Config, known, s.spkiOf)
	if f.Add(problems...); f.Err() != nil {
		return nil, fault.Wrap(fault.Invalid, f.Err(), "nothing was published")
	}
	for _, e := range unknown {
		if _, found := findCT(out, e.key); found {
			continue
		}
		r, err := s.recordOf(ctx, e)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, fmt.Errorf("%s: %w", e.field, err), "nothing was published")
		}
		out = append(out, r)
	}
	return out, nil
}

func isKnownCT(known []trust.KnownLog, key []byte) bool {
	for _, k := range known {
		if string(k.PublicKey) == string(key) {
			return true
		}
	}
	return false
}

// spkiOf returns the public half of a key, nil if it cannot be used: that is told
// where the key is used.
func (s *Stack) spkiOf(name string) []byte {
	for _, key := range s.services.allKeys() {
		if key.Name == name {
			return key.SPKI()
		}
	}
	key, err := s.keys.Load(name)
	if err != nil {
		return nil
	}
	return key.SPKI()
}

// recordOf is the record of a log that config.yaml has.
func (s *Stack) recordOf(ctx context.Context, e ctEntry) (ctRecord, error) {
	if !e.own {
		if e.key == nil {
			return ctRecord{}, errors.New("its key cannot be read")
		}
		return ctRecord{URL: e.url, Key: e.key, Start: e.start.UTC(), End: e.end}, nil
	}
	key, err := s.keys.Load(e.shard.Key)
	if err != nil {
		return ctRecord{}, err
	}
	if err := key.Test(); err != nil {
		return ctRecord{}, err
	}
	name := ctName(e.shard.Prefix)
	store, err := s.services.storage.of(ctx, name)
	if err != nil {
		return ctRecord{}, err
	}
	id, err := merkle.FindTree(ctx, store, name)
	if err != nil {
		return ctRecord{}, err
	}
	if id != e.shard.TreeID {
		return ctRecord{}, fmt.Errorf("tree %d is not %s, which `sigstack ctlog prepare` makes", e.shard.TreeID, name)
	}
	return s.ownRecord(*ownOf(e.shard), key), nil
}

// publishCTLogs puts the CT logs that wait for it into the trust material, by the
// draft of draftCT, signed. Without any it answers as it did when they were published.
// A crash after the last write of the repository, and before ctlogs.json tells of it,
// is found and noted by the next act, or the next start.
func (s *Stack) publishCTLogs(ctx context.Context, signed Publication) (CTLogList, error) {
	if err := s.mayPublishCT(); err != nil {
		return CTLogList{}, err
	}
	before := s.distributed(s.repo, s.opts.Now())
	if err := s.settleCT(s.repo, before); err != nil {
		return CTLogList{}, err
	}
	_, targets, wanted, err := s.draftCT(ctx)
	if err != nil {
		return CTLogList{}, err
	}
	if len(wanted) > 0 {
		if err := s.publishCT(ctx, signed, targets, wanted); err != nil {
			return CTLogList{}, err
		}
		if err := s.settleCT(s.repo, before); err != nil {
			return CTLogList{}, err
		}
	}
	if err := s.writeKit(s.repo); err != nil {
		return CTLogList{}, fmt.Errorf("the CT logs are published, but the client kit could not be written: %w", err)
	}
	return s.ctLogList()
}

func (s *Stack) publishCT(ctx context.Context, signed Publication, targets []trust.Target, wanted []ctRecord) error {
	list := s.ctRecords.all()
	noted := list[:len(list):len(list)]
	for _, r := range wanted {
		if _, found := findCT(list, r.Key); !found {
			noted = append(noted, r)
		}
	}
	if len(noted) > len(list) {
		if err := s.ctRecords.set(noted); err != nil {
			return err
		}
	}
	err := s.publishFiles(ctx, targets, signed)
	switch {
	case errors.Is(err, tufroot.ErrStale):
		return fault.Wrap(fault.Conflict, err, "draft the publication again")
	case err != nil:
		return fault.Wrap(fault.Invalid, err, "the CT logs were not published")
	}
	return nil
}

// addsCTLogs demands that a change adds CT logs to the trusted root, and nothing
// else, and returns their IDs. Their files for older clients change with them. What the
// key has signed before, for a publication that was interrupted, is no change.
func addsCTLogs(c tufroot.Change) ([]string, error) {
	before, ok := c.Before[trust.TrustedRootName]
	if !ok && len(c.Before)+len(c.After) == 0 {
		return nil, nil
	}
	if !ok {
		return nil, errors.New("no CT log is added, and other files are")
	}
	for _, side := range []map[string]tufroot.ReviewedTarget{c.Before, c.After} {
		for name, t := range side {
			if name != trust.TrustedRootName && !isCTKey(t) {
				return nil, fmt.Errorf("target %s would be changed or taken away, too", name)
			}
		}
	}
	old, oldLogs, err := splitOff(before.Data, "ctlogs")
	if err != nil {
		return nil, err
	}
	now, logs, err := splitOff(c.After[trust.TrustedRootName].Data, "ctlogs")
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(old, now) {
		return nil, errors.New("more than the CT logs would be changed: other keys or chains are not the published ones")
	}
	var added []string
	for _, log := range logs {
		if i := indexOf(oldLogs, log); i >= 0 {
			oldLogs = append(oldLogs[:i], oldLogs[i+1:]...)
			continue
		}
		id, err := logOf(log)
		if err != nil {
			return nil, err
		}
		added = append(added, id)
	}
	if len(oldLogs) > 0 {
		return nil, errors.New("a published CT log would be changed or taken away: what it has logged would not verify any more")
	}
	return added, nil
}

func indexOf(list []any, x any) int {
	for i := range list {
		if reflect.DeepEqual(list[i], x) {
			return i
		}
	}
	return -1
}

// isCTKey reports whether a target is a CT log's key for older clients.
func isCTKey(t tufroot.ReviewedTarget) bool {
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	return json.Unmarshal(t.Custom, &custom) == nil && custom.Sigstore.Usage == "CTFE"
}
