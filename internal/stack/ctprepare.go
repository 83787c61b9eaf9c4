package stack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"slices"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/pki"
	"sigstack/services/ctlog"
)

// A CT log is added in three steps, none of which a crash leaves half done: its key
// and tree are made and noted, it is published, and config.yaml names it. It is used
// when every client knows it.

// handleCTLogActs adds the acts on CT logs.
func (s *Stack) handleCTLogActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminCTLogs, "", func(context.Context, *http.Request) (any, error) { return s.ctLogList() })
	a.Handle(http.MethodPost, AdminCTLogPrepare, "ctlog-prepare", func(ctx context.Context, r *http.Request) (any, error) {
		var order CTLogOrder
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return s.prepareCTLog(ctx, order)
	})
	s.handleCTDrop(a)
	a.Handle(http.MethodPost, AdminCTLogDraft, "ctlog-draft", func(ctx context.Context, _ *http.Request) (any, error) {
		if err := s.mayPublishCT(); err != nil {
			return nil, err
		}
		draft, _, _, err := s.draftCT(ctx)
		return draft, err
	})
	a.Handle(http.MethodPost, AdminCTLogPublish, "ctlog-publish", func(ctx context.Context, r *http.Request) (any, error) {
		var signed Publication
		if err := readOrder(r, &signed); err != nil {
			return nil, err
		}
		return s.publishCTLogs(ctx, signed)
	})
}

// mayPublishCT refuses acts on CT logs where a part of what they change is missing.
func (s *Stack) mayPublishCT() error {
	switch {
	case s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack: one process has the CT logs, another one asks them and a third publishes their keys. "+
			"Add a CT log before `sigstack split`; a stack that is split keeps the logs it has, and each can be closed or frozen there by a reload", s.conf.Peers.Name)
	case s.repo == nil:
		return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
	}
	return nil
}

// prepareCTLog makes the key and the tree of a further CT log, and drafts what
// publishes it. Nothing uses either yet. The same order again finds what an earlier
// try has made, whether that came to its end or not.
func (s *Stack) prepareCTLog(ctx context.Context, order CTLogOrder) (CTLogDraft, error) {
	if err := s.mayPublishCT(); err != nil {
		return CTLogDraft{}, err
	}
	if s.conf.CTLog == nil {
		return CTLogDraft{}, fault.New(fault.Conflict, "this directory has no CT log: section ctlog of config.yaml is missing")
	}
	if err := s.settleCT(s.repo, s.distributed(s.repo, s.opts.Now())); err != nil {
		return CTLogDraft{}, err
	}
	record, found, err := s.orderedCT(order)
	if err == nil && !found {
		record, err = s.makeCT(ctx, *record.Own, order)
	}
	if err != nil {
		return CTLogDraft{}, err
	}
	draft, _, _, err := s.draftCT(ctx)
	if i := slices.IndexFunc(draft.Logs, func(l CTLogStatus) bool { return l.URL == record.URL }); i >= 0 {
		draft.Log = draft.Logs[i]
	}
	return draft, err
}

// orderedCT returns the log that an order has made before or, with its prefix and
// range, the one that it is to make.
func (s *Stack) orderedCT(order CTLogOrder) (record ctRecord, found bool, err error) {
	own := ctOwn{Prefix: order.Prefix, NotAfterStart: order.NotAfterStart, NotAfterLimit: order.NotAfterLimit}
	same := func(r ctRecord) bool {
		return r.Own != nil && r.Own.NotAfterStart == own.NotAfterStart && r.Own.NotAfterLimit == own.NotAfterLimit
	}
	for _, r := range s.ctRecords.all() {
		switch {
		case r.Own == nil:
		case own.Prefix == "" && same(r) && r.Used.IsZero(), own.Prefix == r.Own.Prefix && same(r):
			return r, true, nil
		case own.Prefix == r.Own.Prefix:
			return ctRecord{}, false, fault.Newf(fault.Conflict, "CT log %s is there already, for certificates of another time: give this one another prefix", own.Prefix)
		}
	}
	taken := func(prefix string) bool {
		return slices.ContainsFunc(s.ctRecords.all(), func(r ctRecord) bool { return r.Own != nil && r.Own.Prefix == prefix }) ||
			byPrefix(s.services.ctlog.opened(), prefix) != nil
	}
	for n := 2; own.Prefix == ""; n++ {
		if prefix := fmt.Sprintf("ct%d", n); !taken(prefix) {
			own.Prefix = prefix
		}
	}
	if taken(own.Prefix) {
		return ctRecord{}, false, fault.Newf(fault.Conflict, "prefix %s is a CT log's already: give the further one another prefix", own.Prefix)
	}
	return ctRecord{Own: &own}, false, nil
}

// makeCT makes what own lacks, and notes the log.
func (s *Stack) makeCT(ctx context.Context, own ctOwn, order CTLogOrder) (ctRecord, error) {
	name := ctName(own.Prefix)
	own.Key, own.TreeID = name, math.MaxInt64 // until it is made
	if err := s.withCTShard(own.shard()).Validate(); err != nil {
		return ctRecord{}, fault.Wrap(fault.Invalid, err, "the CT log cannot be")
	}
	key, err := s.ctKey(name, order)
	if err != nil {
		return ctRecord{}, err
	}
	store, err := s.services.storage.make(ctx, name)
	if err != nil {
		return ctRecord{}, err
	}
	own.TreeID, err = merkle.CreateTree(ctx, store, name)
	if fault.KindOf(err) == fault.Conflict { // an earlier try made it
		own.TreeID, err = merkle.FindTree(ctx, store, name)
	}
	if err != nil {
		return ctRecord{}, err
	}
	record := s.ownRecord(own, key)
	return record, s.ctRecords.set(append(slices.Clone(s.ctRecords.all()), record))
}

func (s *Stack) ownRecord(own ctOwn, key keys.Key) ctRecord {
	_, end := own.shard().Range()
	return ctRecord{URL: s.conf.URL + "/" + own.Prefix, Key: key.SPKI(), Start: key.Created.UTC(), End: end, Own: &own}
}

// ctKey makes the key of that name, or takes the one that is there: of an interrupted
// try, or because an operator put it there.
func (s *Stack) ctKey(name string, order CTLogOrder) (keys.Key, error) {
	if slices.ContainsFunc(s.conf.Keys(), func(k config.Key) bool { return k.Name == name }) || s.shards.has(name) {
		return keys.Key{}, fault.Newf(fault.Conflict, "key %s of the CT log has another use: give the log another prefix", name)
	}
	key, err := s.keys.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.newKeyAt(name, order.URI, order.Create)
	}
	switch {
	case err != nil:
		return keys.Key{}, fault.Wrap(fault.Invalid, err, "the CT log has no key")
	case order.URI != "" && key.URI() != order.URI:
		return keys.Key{}, fault.Newf(fault.Conflict, "key %s is there already, at another place (%s): leave the place out to use it", name, placeOf(key))
	}
	if err := key.Test(); err != nil {
		return keys.Key{}, fault.Wrap(fault.Unavailable, err, "key of the CT log does not work")
	}
	if err := ctlog.CheckKey(key); err != nil {
		return keys.Key{}, fault.Wrap(fault.Invalid, err, "key of the CT log cannot be used")
	}
	return key, nil
}

// withCTShard is the configuration with a further CT log.
func (s *Stack) withCTShard(shard config.CTShard) *config.Config {
	conf, log := *s.conf, *s.conf.CTLog
	log.Shards = nil
	for i, l := range s.services.ctlog.all() {
		if i > 0 {
			log.Shards = append(log.Shards, l.shard)
		}
	}
	log.Shards, log.First = append(log.Shards, shard), ""
	conf.CTLog = &log
	return &conf
}

// ctLogList tells of all CT logs.
func (s *Stack) ctLogList() (CTLogList, error) {
	out := CTLogList{Logs: []CTLogStatus{}}
	records := s.ctRecords.all()
	asked := s.services.foreign.current().names()
	seen := map[string]bool{}
	add := func(st CTLogStatus, key []byte) {
		id := pki.LogID(key)
		st.LogID = hex.EncodeToString(id[:])
		name := st.URL
		if st.Own {
			name = st.Prefix
		}
		st.Asked = slices.Index(asked, name) + 1
		if r, ok := findCT(records, key); ok {
			st.Published, st.Distributed = r.Published, r.Distributed
		}
		seen[st.URL] = true
		out.Logs = append(out.Logs, st)
	}
	for _, log := range s.services.ctlog.all() {
		st := ownStatus(log.Trust().BaseURL, *ownOf(log.shard))
		if st.State = string(log.State()); log.State() == ctlog.Active {
			st.State = CTLogActive
		}
		st.Size = log.tree.Head().Size
		add(st, log.key.SPKI())
	}
	for _, l := range s.services.foreign.known() {
		st := CTLogStatus{URL: l.BaseURL, State: CTLogRetired}
		if slices.Contains(asked, l.BaseURL) {
			st.State = CTLogActive
		}
		add(st, l.PublicKey)
	}
	for _, r := range records {
		if seen[r.URL] {
			continue
		}
		st := CTLogStatus{URL: r.URL}
		if r.Own != nil {
			st = ownStatus(r.URL, *r.Own)
		}
		if st.State = CTLogPrepared; r.Published.IsZero() {
			st.State = CTLogPreparing
		}
		add(st, r.Key)
	}
	return out, nil
}

func ownStatus(url string, own ctOwn) CTLogStatus {
	return CTLogStatus{
		URL: url, Own: true, Prefix: own.Prefix, Key: own.Key, TreeID: own.TreeID,
		NotAfterStart: own.NotAfterStart, NotAfterLimit: own.NotAfterLimit,
	}
}
