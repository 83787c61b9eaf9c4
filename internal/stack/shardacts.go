package stack

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/pki"
	"sigstack/services/tlog"
	tufroot "sigstack/tuf-root"
)

// Paths of the acts on the shards of the transparency log.
const (
	AdminShards        = "/v1/log/shards"          // GET: ShardList
	AdminShardPrepare  = "/v1/log/shards/prepare"  // POST ShardOrder: ShardDraft
	AdminShardPublish  = "/v1/log/shards/publish"  // POST Publication: ShardStatus
	AdminShardActivate = "/v1/log/shards/activate" // POST: ActivatedShard
)

// States of a shard.
const (
	ShardActive    = "active"    // it takes entries
	ShardFrozen    = "frozen"    // it took entries once
	ShardPrepared  = "prepared"  // its key is in the trust material
	ShardPreparing = "preparing" // its key is made, and not published yet
)

// ShardStatus is one shard of the transparency log.
type ShardStatus struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	TreeID string `json:"tree_id"` // decimal
	Key    string `json:"key"`     // its name in keys/
	LogID  string `json:"log_id"`  // hex
	First  uint64 `json:"first"`   // index in the log of its first entry; of one that is to come, as things are now
	Size   uint64 `json:"size"`    // entries
	Root   string `json:"root"`    // hex
	// Published is when the key went into the trust material; zero for the first
	// shard, whose key was there from the beginning.
	Published time.Time `json:"published,omitzero"`
	// Distributed is from when on every client has the key.
	Distributed time.Time `json:"distributed,omitzero"`
}

// ShardList is all shards, the oldest first.
type ShardList struct {
	Shards []ShardStatus `json:"shards"`
	// Wait is how many seconds are left until the prepared shard can be activated.
	Wait int64 `json:"wait_seconds"`
}

// ShardOrder says where the key of the next shard is to be.
type ShardOrder struct {
	URI    string `json:"uri,omitempty"`    // "": in a file
	Create bool   `json:"create,omitempty"` // make one there if there is none
}

// ShardDraft is a shard whose key waits to be published.
type ShardDraft struct {
	Shard   ShardStatus `json:"shard"`
	Targets []byte      `json:"targets"` // TUF metadata, to be signed by tufroot.SignTargets
}

// SignedTargets is TUF metadata that publishes a key.
type SignedTargets struct {
	Targets []byte `json:"targets"`
}

// ActivatedShard is a shard that took the place of another.
type ActivatedShard struct {
	Frozen ShardStatus `json:"frozen"` // as it will be for ever
	Active ShardStatus `json:"active"`
}

// Details are for the audit record.
func (s ShardStatus) Details() map[string]string {
	return map[string]string{"shard": s.Name, "tree_id": s.TreeID, "key": s.Key, "log_id": s.LogID, "state": s.State}
}

// Details are for the audit record.
func (d ShardDraft) Details() map[string]string { return d.Shard.Details() }

// Details are for the audit record.
func (a ActivatedShard) Details() map[string]string {
	d := a.Active.Details()
	d["frozen"], d["frozen_tree_id"], d["frozen_root"] = a.Frozen.Name, a.Frozen.TreeID, a.Frozen.Root
	d["frozen_size"] = strconv.FormatUint(a.Frozen.Size, 10)
	return d
}

// handleShardActs adds the acts on shards.
func (s *Stack) handleShardActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminShards, "", func(context.Context, *http.Request) (any, error) { return s.shardList() })
	a.Handle(http.MethodPost, AdminShardPrepare, "log-shard-prepare", func(ctx context.Context, r *http.Request) (any, error) {
		var order ShardOrder
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return s.prepareShard(ctx, order)
	})
	a.Handle(http.MethodPost, AdminShardPublish, "log-shard-publish", func(ctx context.Context, r *http.Request) (any, error) {
		var signed Publication
		if err := readOrder(r, &signed); err != nil {
			return nil, err
		}
		return s.publishShard(ctx, signed)
	})
	a.Handle(http.MethodPost, AdminShardActivate, "log-shard-activate", func(ctx context.Context, _ *http.Request) (any, error) {
		return s.activateShard(ctx)
	})
}

// readOrder reads the JSON body of an act, whose length the channel bounds.
func readOrder(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the act's body could not be read")
	}
	return nil
}

// mayShard refuses acts on shards where a part of what they change is missing.
func (s *Stack) mayShard() error {
	switch {
	case s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack: one process has the log and another one publishes its keys, "+
			"and neither can do both. Prepare and activate a shard before `sigstack split`; a stack that is split keeps the shards it has", s.conf.Peers.Name)
	case s.shards == nil:
		return fault.New(fault.Conflict, "this stack has no transparency log: section tlog of config.yaml is missing")
	case s.repo == nil:
		return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
	}
	return nil
}

// shardList tells of all shards.
func (s *Stack) shardList() (ShardList, error) {
	if s.shards == nil {
		return ShardList{}, fault.New(fault.NotFound, "this process has no transparency log")
	}
	l := s.shards
	l.mu.Lock()
	list, active := slices.Clone(l.list), l.active
	l.mu.Unlock()
	out := ShardList{Shards: []ShardStatus{}}
	var first uint64
	for i, e := range list {
		st, err := s.shardStatus(e, i-active, first)
		if err != nil {
			return ShardList{}, err
		}
		out.Shards = append(out.Shards, st)
		first += st.Size
	}
	if last := out.Shards[len(list)-1]; last.State == ShardPrepared {
		out.Wait = max(0, int64(last.Distributed.Sub(s.opts.Now()).Seconds()+1))
	}
	return out, nil
}

// shardStatus tells of a shard that lies before the active one (place below 0), is
// it, or is to follow it.
func (s *Stack) shardStatus(e shardEntry, place int, first uint64) (ShardStatus, error) {
	key, err := s.keys.Load(e.Key)
	if err != nil {
		return ShardStatus{}, err
	}
	id := pki.LogID(key.SPKI())
	st := ShardStatus{
		Name: e.Name, State: ShardActive, TreeID: strconv.FormatInt(e.TreeID, 10), Key: e.Key, LogID: hex.EncodeToString(id[:]),
		First: first, Published: e.Published, Distributed: e.Distributed,
	}
	switch {
	case place < 0:
		st.State = ShardFrozen
	case place > 0 && e.Published.IsZero():
		st.State = ShardPreparing
	case place > 0:
		st.State = ShardPrepared
	}
	var head merkle.Head
	if tree := s.services.allTrees()[e.Name]; tree != nil {
		head = tree.Head()
	}
	st.Size, st.Root = head.Size, hex.EncodeToString(head.Root[:])
	return st, nil
}

// prepareShard makes the key and the tree of the next shard, and drafts what
// publishes the key. Nothing uses either yet. Each step finds what an earlier,
// interrupted try has made, so that the act can be repeated at any point:
//
//   - the key is there, and nothing knows of it;
//   - the tree is there too, frozen and empty;
//   - shards.json names both, unpublished: trust material has no part of it.
func (s *Stack) prepareShard(ctx context.Context, order ShardOrder) (ShardDraft, error) {
	if err := s.mayShard(); err != nil {
		return ShardDraft{}, err
	}
	e, _, ok := s.shards.behind()
	if ok && !e.Published.IsZero() {
		return ShardDraft{}, fault.Newf(fault.Conflict, "shard %s is prepared already: activate it, from %s on", e.Name, e.Distributed.Format(time.RFC3339))
	}
	e.Name = s.shards.nextName()
	key, err := s.shardKey(e.Name, order)
	if err != nil {
		return ShardDraft{}, err
	}
	e.Key = key.Name
	store, err := s.services.storage.of(ctx, e.Name)
	if err != nil {
		return ShardDraft{}, err
	}
	if e.TreeID, err = merkle.PrepareTree(ctx, store, e.Name); err != nil {
		return ShardDraft{}, err
	}
	if err := s.setBehind(e, key); err != nil {
		return ShardDraft{}, err
	}
	targets, err := s.materialWith(key).Targets(s.opts.Now())
	if err != nil {
		return ShardDraft{}, err
	}
	draft, err := s.repo.DraftTargets(targets)
	if err != nil {
		return ShardDraft{}, err
	}
	list, err := s.shardList()
	if err != nil {
		return ShardDraft{}, err
	}
	return ShardDraft{list.Shards[len(list.Shards)-1], draft}, nil
}

// nextName is the name of the shard after the active one.
func (l *logShards) nextName() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return shardName(l.active + 2)
}

// shardKey makes the key of that name, or takes the one that is there: of an
// interrupted try, or because an operator put it there.
func (s *Stack) shardKey(name string, order ShardOrder) (keys.Key, error) {
	if slices.ContainsFunc(s.conf.Keys(), func(k config.Key) bool { return k.Name == name }) {
		return keys.Key{}, fault.Newf(fault.Conflict, "key %s of the next shard has another use in config.yaml: give that one another name", name)
	}
	key, err := s.keys.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.newShardKey(name, order)
	}
	switch {
	case err != nil:
		return keys.Key{}, fault.Wrap(fault.Invalid, err, "the next shard has no key")
	case order.URI != "" && key.URI() != order.URI:
		return keys.Key{}, fault.Newf(fault.Conflict, "key %s is there already, at another place (%s): leave the place out to use it", name, placeOf(key))
	}
	if err := key.Test(); err != nil {
		return keys.Key{}, fault.Wrap(fault.Unavailable, err, "key of the next shard does not work")
	}
	return key, s.services.tlog.CheckKey(key)
}

func (s *Stack) newShardKey(name string, order ShardOrder) (keys.Key, error) {
	created := s.opts.Now().Add(-backdate)
	if order.URI == "" {
		return s.keys.Create(name, keys.ECDSAP256, created)
	}
	key, err := s.keys.Adopt(name, order.URI, created)
	if errors.Is(err, keys.ErrNoKeyThere) && order.Create {
		return s.keys.CreateAt(name, order.URI, keys.ECDSAP256, created)
	}
	return key, err
}

func placeOf(key keys.Key) string {
	if uri := key.URI(); uri != "" {
		return uri
	}
	return "a file"
}

// publishShard puts the key of the next shard into the trust material, by the
// draft of prepareShard, signed. A crash after the last write of the repository,
// and before shards.json tells of it, is found and noted by the next start.
func (s *Stack) publishShard(ctx context.Context, signed Publication) (ShardStatus, error) {
	if err := s.mayShard(); err != nil {
		return ShardStatus{}, err
	}
	e, key, ok := s.shards.behind()
	if !ok || !e.Published.IsZero() {
		return ShardStatus{}, fault.New(fault.Conflict, "no shard waits to be published: prepare one")
	}
	before := s.distributed(s.repo, s.opts.Now())
	err := s.publishTargets(ctx, s.materialWith(key), signed)
	if errors.Is(err, tufroot.ErrStale) {
		return ShardStatus{}, fault.Wrap(fault.Conflict, err, "prepare the shard again")
	}
	if err != nil {
		return ShardStatus{}, fault.Wrap(fault.Invalid, err, "the key was not published")
	}
	e.Published = s.opts.Now().UTC()
	e.Distributed = s.distributed(s.repo, e.Published)
	if before.After(e.Distributed) {
		e.Distributed = before
	}
	if err := s.setBehind(e, key); err != nil {
		return ShardStatus{}, err
	}
	if err := s.writeKit(s.repo); err != nil {
		return ShardStatus{}, fmt.Errorf("the key is published, but the client kit could not be written: %w", err)
	}
	list, err := s.shardList()
	if err != nil {
		return ShardStatus{}, err
	}
	return list.Shards[len(list.Shards)-1], nil
}

// activateShard makes the prepared shard take entries in place of the one that
// does. One commit in storage decides; nothing else has to be written for it, so
// that a crash leaves either the old or the new.
func (s *Stack) activateShard(ctx context.Context) (ActivatedShard, error) {
	if err := s.mayShard(); err != nil {
		return ActivatedShard{}, err
	}
	e, key, ok := s.shards.behind()
	if !ok || e.Published.IsZero() {
		return ActivatedShard{}, fault.New(fault.Conflict, "no shard is prepared: sigstack log shard prepare makes one")
	}
	if left := e.Distributed.Sub(s.opts.Now()); left > 0 {
		return ActivatedShard{}, fault.Newf(fault.Conflict, "the key of shard %s has not had time to reach every client: %v left, until %s",
			e.Name, (left + time.Second - 1).Truncate(time.Second), e.Distributed.Format(time.RFC3339))
	}
	if err := key.Test(); err != nil {
		return ActivatedShard{}, fault.Wrap(fault.Unavailable, err, "nothing was activated: the key of shard "+e.Name+" does not work")
	}
	tree, err := s.openNext(ctx, e)
	if err != nil {
		return ActivatedShard{}, err
	}
	old := s.services.allTrees()[s.shards.activeName()]
	err = s.services.tlog.Succeed(tlog.Shard{Tree: tree, Signer: key}, func() error {
		if s.serving {
			return old.HandOver(ctx, tree)
		}
		store, err := s.services.storage.of(ctx, e.Name)
		if err != nil {
			return err
		}
		return merkle.Succeed(ctx, store, old.ID(), tree.ID())
	})
	if err != nil {
		return ActivatedShard{}, err
	}
	s.activated(key)
	if err := s.writeKit(s.repo); err != nil {
		return ActivatedShard{}, fmt.Errorf("shard %s takes entries now, but the client kit could not be written: %w", e.Name, err)
	}
	list, err := s.shardList()
	if err != nil {
		return ActivatedShard{}, err
	}
	last := len(list.Shards) - 1
	return ActivatedShard{Frozen: list.Shards[last-1], Active: list.Shards[last]}, nil
}

func (l *logShards) activeName() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[l.active].Name
}

// activeTree is the id of the tree that takes entries, firstName the name of the
// oldest one.
func (l *logShards) activeTree() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[l.active].TreeID
}

func (l *logShards) firstName() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[0].Name
}

// openNext opens the prepared tree and, in a stack that runs, runs it. A try that
// fails later has it open for the next one.
func (s *Stack) openNext(ctx context.Context, e shardEntry) (*merkle.Tree, error) {
	l := s.shards
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		return l.next, nil
	}
	tree, err := s.openTree(ctx, e.Name, e.TreeID, func(*merkle.Config) {})
	if err != nil {
		return nil, err
	}
	if s.serving && !s.later.start(component{e.Name + " tree", tree.Run}) {
		return nil, fault.New(fault.Unavailable, "the stack is shutting down: nothing was activated")
	}
	l.next = tree
	return tree, nil
}

// activated notes that the prepared shard takes entries, and looks after its key.
func (s *Stack) activated(key keys.Key) {
	l := s.shards
	l.mu.Lock()
	l.active++
	l.next, l.nextKey = nil, keys.Key{}
	l.mu.Unlock()
	s.services.addKey(key)
	if c, ok := s.watchKey(key); ok && s.serving {
		_ = s.later.start(c) // a stack that stops needs no watch
	}
}
