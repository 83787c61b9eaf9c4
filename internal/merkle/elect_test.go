package merkle_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// elections lets a test say who leads. A term is over when its leader is done.
type elections struct{ terms [2]chan chan struct{} }

func newElections() *elections {
	return &elections{[2]chan chan struct{}{make(chan chan struct{}), make(chan chan struct{})}}
}

// candidate is one of the two.
type candidate struct {
	e *elections
	n int
}

func (c candidate) Lead(ctx context.Context, f func(context.Context) error) error {
	for {
		select {
		case over := <-c.e.terms[c.n]:
			lead, cancel := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- f(lead) }()
			var err error
			select {
			case over <- struct{}{}: // deposed
				cancel()
				err = <-done
				over <- struct{}{}
			case err = <-done:
			}
			cancel()
			if err != nil || ctx.Err() != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// elect makes one lead, until depose is called.
func (e *elections) elect(n int) (depose func()) {
	over := make(chan struct{})
	e.terms[n] <- over
	return func() { <-over; <-over }
}

// pair is two trees on one storage, each of which forwards to the other.
func pair(t *testing.T) (e *elections, trees [2]*rig) {
	t.Helper()
	e = newElections()
	base := open(t, vfs.NewMem(), merkle.Config{})
	for i := range trees {
		c := base.cfg
		c.Election = candidate{e, i}
		c.Forward = func(ctx context.Context, l merkle.Leaf) (merkle.Added, error) {
			if ctx.Value(forwardedKey{}) != nil {
				return merkle.Added{}, fault.New(fault.Unavailable, "nobody leads")
			}
			sent, err := merkle.DecodeLeaf(merkle.EncodeLeaf(l))
			if err != nil {
				return merkle.Added{}, err
			}
			a, err := trees[1-i].Add(context.WithValue(ctx, forwardedKey{}, true), sent)
			if err != nil {
				return a, err
			}
			return merkle.DecodeAdded(merkle.EncodeAdded(a))
		}
		tree, err := merkle.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		trees[i] = &rig{Tree: tree, cfg: c, store: base.store}
	}
	for _, r := range trees {
		run(t, r)
	}
	return e, trees
}

type forwardedKey struct{}

// TestTheLeadChanges writes to both while the lead goes to and fro.
func TestTheLeadChanges(t *testing.T) {
	e, trees := pair(t)
	depose := e.elect(0)
	var mu sync.Mutex
	var all []merkle.Added
	var wg sync.WaitGroup
	const writers, each = 8, 40
	answers := make(chan struct{}, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				a, err := trees[(w+i)%2].Add(t.Context(), leaf(w*each+i))
				if err != nil {
					t.Error(err)
					return
				}
				if err := verify(a.Entry, a.Proof); err != nil {
					t.Error(err)
				}
				// What one has acknowledged the other has at once.
				if got, err := trees[(w+i+1)%2].Entry(t.Context(), a.Entry.Index); err != nil || got.LeafHash != a.Entry.LeafHash {
					t.Errorf("entry %d elsewhere: %+v, %v", a.Entry.Index, got, err)
				}
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
				answers <- struct{}{}
			}
		})
	}
	go func() { wg.Wait(); close(answers) }()
	leader, n := 0, 0
	for range answers {
		if n++; n%7 == 0 {
			depose()
			leader = 1 - leader
			depose = e.elect(leader)
		}
	}
	depose()
	for _, r := range trees {
		head, err := r.Newest(t.Context())
		if err != nil || head.Size != writers*each {
			t.Fatalf("newest head %+v, %v, want one over %d", head, err, writers*each)
		}
		if err := keepsPromises(t.Context(), r.Tree, all); err != nil {
			t.Error(err)
		}
		checkWhole(t, r)
	}
}

func TestFollowersHandNothingOver(t *testing.T) {
	e, trees := pair(t)
	defer e.elect(0)()
	mustAdd(t, trees[1].Tree, leaf(1))
	if err := trees[1].HandOver(t.Context(), trees[0].Tree); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a follower handed over: %v", err)
	}
	head, err := trees[1].Settle(t.Context())
	if err != nil || head.Size != 1 {
		t.Errorf("a follower settled at %+v, %v, want one entry", head, err)
	}
}

// TestFollowersNoticeAFreeze: the leader's answer does not say that the tree is frozen.
func TestFollowersNoticeAFreeze(t *testing.T) {
	e, trees := pair(t)
	defer e.elect(0)()
	next := prepared(t, trees[0])
	if err := merkle.Succeed(t.Context(), trees[0].store, trees[0].ID(), next); err != nil {
		t.Fatal(err)
	}
	for i, r := range trees {
		if _, err := r.Add(t.Context(), leaf(1)); !errors.Is(err, merkle.ErrFrozen) {
			t.Errorf("replica %d: got %v, want ErrFrozen", i, err)
		}
	}
}

func prepared(t *testing.T, r *rig) int64 {
	t.Helper()
	id, err := merkle.PrepareTree(t.Context(), r.store, "next")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestLiesAreNotBelieved: what a leader answers is checked.
func TestLiesAreNotBelieved(t *testing.T) {
	base := start(t, merkle.Config{})
	mustAdd(t, base.Tree, leaf(0))
	truth := mustAdd(t, base.Tree, leaf(1))
	for name, lie := range map[string]func(*merkle.Added){
		"another leaf":     func(a *merkle.Added) { a.Entry.Leaf.Value = []byte("other") },
		"another identity": func(a *merkle.Added) { a.Entry.Leaf.Identity[0]++ },
		"another index":    func(a *merkle.Added) { a.Entry.Index = 0 },
		"another root":     func(a *merkle.Added) { a.Proof.Root[0]++ },
		"no proof":         func(a *merkle.Added) { a.Proof.Hashes = nil },
	} {
		c := base.cfg
		told := truth
		lie(&told)
		var asked atomic.Int64
		c.Election = candidate{newElections(), 0}
		c.Forward = func(context.Context, merkle.Leaf) (merkle.Added, error) { asked.Add(1); return told, nil }
		follower, err := merkle.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if a, err := follower.Add(ctx, leaf(1)); err == nil || asked.Load() == 0 {
			t.Errorf("%s: got %+v after %d questions, want an error", name, a, asked.Load())
		}
		cancel()
	}
}

// TestALostAnswerIsAskedForAgain: the entry is there by then, and is new all the same.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	base := start(t, merkle.Config{})
	old := mustAdd(t, base.Tree, leaf(0))
	c := base.cfg
	var asked atomic.Int64
	c.Election = candidate{newElections(), 0}
	c.Forward = func(ctx context.Context, l merkle.Leaf) (merkle.Added, error) {
		a, err := base.Add(ctx, l)
		if err == nil && asked.Add(1)%2 == 1 {
			return merkle.Added{}, errors.New("the connection was cut")
		}
		return a, err
	}
	follower, err := merkle.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if a := mustAdd(t, follower, leaf(1)); a.Duplicate || a.Entry.Index != 1 || asked.Load() != 2 {
		t.Errorf("after %d questions: entry %d, duplicate %v, want a new one of index 1 after 2", asked.Load(), a.Entry.Index, a.Duplicate)
	}
	if a := mustAdd(t, follower, leaf(0)); !a.Duplicate || a.Entry.Index != old.Entry.Index {
		t.Errorf("an old entry: index %d, duplicate %v, want a duplicate of %d", a.Entry.Index, a.Duplicate, old.Entry.Index)
	}
	if head := base.Head(); head.Size != 2 {
		t.Errorf("the log has %d entries, want 2", head.Size)
	}
}

// TestQuestionsAreShared: everyone who asks for the newest head while storage is being
// asked waits for one question, which begins after theirs.
func TestQuestionsAreShared(t *testing.T) {
	base := start(t, merkle.Config{})
	s := &slowViews{Storage: base.store, begin: make(chan struct{}), pass: make(chan struct{})}
	c := base.cfg
	c.Election = candidate{newElections(), 0}
	c.Storage = s
	follower, err := merkle.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s.slow.Store(true)
	heads := make(chan merkle.Head, 51)
	ask := func(ctx context.Context) {
		head, err := follower.Newest(ctx)
		if err != nil {
			t.Error(err)
		}
		heads <- head
	}
	go ask(t.Context())
	<-s.begin // the first one is under way
	mustAdd(t, base.Tree, leaf(1))
	before := s.views.Load()
	var asking sync.WaitGroup
	for range 50 {
		asking.Add(1)
		go ask(&waiter{Context: t.Context(), waits: sync.OnceFunc(asking.Done)})
	}
	asking.Wait()
	s.slow.Store(false)
	close(s.pass)
	<-heads // may be of before the entry
	for range 50 {
		if head := <-heads; head.Size != 1 {
			t.Fatalf("asked after the entry was there: a head over %d", head.Size)
		}
	}
	if n := s.views.Load() - before; n != 1 {
		t.Errorf("50 who asked at once asked storage %d times, want once", n)
	}
}

// waiter tells when somebody waits for its end.
type waiter struct {
	context.Context
	waits func()
}

func (w *waiter) Done() <-chan struct{} {
	w.waits()
	return w.Context.Done()
}

// slowViews is storage of which the first view waits.
type slowViews struct {
	merkle.Storage
	slow        atomic.Bool
	views       atomic.Int64
	begin, pass chan struct{}
}

func (s *slowViews) SnapshotForTree(ctx context.Context, tree *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	s.views.Add(1)
	if s.slow.Load() {
		close(s.begin)
		<-s.pass
	}
	return s.Storage.SnapshotForTree(ctx, tree)
}
