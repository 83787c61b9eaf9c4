package merkle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/log"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"sigstack/internal/fault"
)

// Storage is a Trillian driver: pebblelog.Store, for one. Its transactions must
// also offer identityIndex, and rowWriter and rowReader for leaves with rows. One
// that is a treeTyper is for pre-ordered trees.
type Storage interface {
	storage.LogStorage
	Admin() storage.AdminStorage
}

// Config of a Tree.
type Config struct {
	// Storage holds the tree. Without an Election no other Tree may be open on the
	// same TreeID.
	Storage Storage
	// Election says when this process leads; nil: always, for no other writes.
	Election Election
	// Forward has the process that leads add a leaf, whose identity is set, and
	// returns its answer, which is checked. It must not forward what was forwarded.
	// An error of a kind other than fault.Internal, Timeout, Canceled and Unavailable
	// is the leader's word; after those the leaf is sent again, for a while. Nil: who
	// does not lead refuses leaves.
	Forward func(ctx context.Context, leaf Leaf) (Added, error)
	// TreeID is what CreateTree returned.
	TreeID int64
	// Now is the clock that stamps leaves and roots.
	Now func() time.Time
	// Log receives what no caller is told; nil: discarded.
	Log *slog.Logger
	// Metrics registers the tree's metrics, labelled with its name; nil: none.
	Metrics prometheus.Registerer
	// HeadFile keeps the newest published head outside Storage, at most a
	// second behind while Run runs. Its directory must exist. Empty: none, so
	// that a log cut short by its disk goes unnoticed.
	HeadFile string
	// RefreshEvery bounds the age of the newest root while Run runs: an idle
	// tree gets a new root of the same size, in good time. Keep it well inside
	// a CT log's maximum merge delay. Zero: only entries make roots.
	RefreshEvery time.Duration
	// TimeStep is the resolution of root times, all of which differ. Zero: 1 ns.
	// A CT tree needs 1 ms, because RFC 6962 counts in milliseconds; it then
	// makes at most one root per millisecond.
	TimeStep time.Duration
	// Nodes are kept here; nil: in a cache of the tree's own, of DefaultNodeCache.
	Nodes *NodeCache
	// QueueLimit is how many leaves may wait for the batch under way before Add
	// refuses more. Zero: 4096.
	QueueLimit int
	// QueueBytes bounds the same in bytes; a larger leaf has to be the only one.
	// Zero: 64 MiB.
	QueueBytes int64
}

const (
	defaultQueueLimit = 4096
	defaultQueueBytes = 64 << 20
)

// DefaultNodeCache is how many bytes of nodes are kept: those of a million entries.
const DefaultNodeCache = 64 << 20

func (c *Config) check() error {
	switch {
	case c.Storage == nil:
		return errors.New("no storage given")
	case c.Now == nil:
		return errors.New("no clock given")
	case c.TimeStep < 0 || c.RefreshEvery < 0 || c.QueueLimit < 0 || c.QueueBytes < 0:
		return errors.New("time step, refresh interval and the queue's limits must not be negative")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TimeStep == 0 {
		c.TimeStep = time.Nanosecond
	}
	if c.Nodes == nil {
		c.Nodes = NewNodeCache(DefaultNodeCache)
	}
	if c.QueueLimit == 0 {
		c.QueueLimit = defaultQueueLimit
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueueBytes
	}
	return nil
}

// CreateTree makes an empty tree and returns its id, which is positive. A second
// tree of the same name is refused with fault.Conflict.
//
// A crash between its two commits leaves a tree without a root, which Open
// refuses and the next CreateTree of that name finishes.
func CreateTree(ctx context.Context, s Storage, name string) (int64, error) {
	return createTree(ctx, s, name, trillian.TreeState_ACTIVE)
}

func createTree(ctx context.Context, s Storage, name string, state trillian.TreeState) (int64, error) {
	tree, err := findTree(ctx, s, name)
	if err == nil && tree == nil {
		tree, err = newTree(ctx, s, name, state)
	}
	if err != nil {
		return 0, fmt.Errorf("create tree %q: %w", name, err)
	}
	root, err := (&types.LogRootV1{
		RootHash:       rfc6962.DefaultHasher.EmptyRoot(),
		TimestampNanos: uint64(tree.CreateTime.AsTime().UnixNano()),
	}).MarshalBinary()
	if err != nil {
		return 0, fmt.Errorf("create tree %q: encode root: %w", name, err)
	}
	err = s.ReadWriteTransaction(ctx, tree, func(ctx context.Context, tx storage.LogTreeTX) error {
		_, err := tx.LatestSignedLogRoot(ctx)
		if err == nil {
			return fault.Newf(fault.Conflict, "tree %q exists already", name)
		}
		if !errors.Is(err, storage.ErrTreeNeedsInit) {
			return err
		}
		return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: root})
	})
	if err != nil {
		return 0, fmt.Errorf("create tree %q: %w", name, err)
	}
	return tree.TreeId, nil
}

// newTree makes a tree without a root, in one commit.
func newTree(ctx context.Context, s Storage, name string, state trillian.TreeState) (tree *trillian.Tree, err error) {
	err = s.Admin().ReadWriteTransaction(ctx, func(ctx context.Context, tx storage.AdminTX) error {
		tree, err = tx.CreateTree(ctx, &trillian.Tree{
			TreeState:       trillian.TreeState_ACTIVE, // nothing else can be created
			TreeType:        treeTypeOf(s),
			DisplayName:     name,
			MaxRootDuration: durationpb.New(0),
		})
		if err != nil || state == trillian.TreeState_ACTIVE {
			return err
		}
		tree, err = tx.UpdateTree(ctx, tree.TreeId, func(t *trillian.Tree) { t.TreeState = state })
		return err
	})
	return tree, err
}

// findTree returns the tree of that name, nil if there is none.
func findTree(ctx context.Context, s Storage, name string) (*trillian.Tree, error) {
	trees, err := storage.ListTrees(ctx, s.Admin(), false)
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", err)
	}
	for _, t := range trees {
		if t.DisplayName == name {
			return t, nil
		}
	}
	return nil, nil
}

// Open opens the tree for reading at once and, unless it is frozen, for adding as
// soon as Run runs.
// It refuses an unknown id with fault.NotFound, and a tree that is smaller than
// its head file says, or hashes to another root, with an error that names the
// missing entries.
func Open(ctx context.Context, c Config) (*Tree, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("open tree %d: %w", c.TreeID, err)
	}
	log.InitMetrics(nil) // a process-wide once; IntegrateBatch dereferences what it sets
	tree, err := loadTree(ctx, c.Storage, c.TreeID)
	if err != nil {
		return nil, fmt.Errorf("open tree %d: %w", c.TreeID, err)
	}
	t := &Tree{
		cfg:     c,
		tree:    tree,
		log:     c.Log.With(slog.String("log", tree.DisplayName)),
		queue:   make(chan *pending, c.QueueLimit),
		handing: make(chan handover),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
		nodes:   c.Nodes,

		gathering: gathering{enough: make(chan struct{}, 1)},
	}
	t.term.Store(newTerm(false))
	t.close = sync.OnceFunc(func() { close(t.closing) })
	t.frozen.Store(tree.TreeState == trillian.TreeState_FROZEN)
	if err := t.reload(ctx); err != nil {
		return nil, fmt.Errorf("open tree %d: %w", c.TreeID, err)
	}
	if err := t.checkHeadFile(ctx); err != nil {
		return nil, fmt.Errorf("open tree %d: %w", c.TreeID, err)
	}
	if t.metrics, err = newMetrics(c.Metrics, t); err != nil {
		return nil, fmt.Errorf("open tree %d: %w", c.TreeID, err)
	}
	return t, nil
}

// loadTree reads the tree's description and checks that it is a log's.
func loadTree(ctx context.Context, s Storage, id int64) (*trillian.Tree, error) {
	tree, err := storage.GetTree(ctx, s.Admin(), id)
	if status.Code(err) == codes.NotFound {
		return nil, fault.Wrap(fault.NotFound, err, "no such tree")
	}
	if err != nil {
		return nil, err
	}
	if tree.Deleted || !isLog(tree) ||
		tree.TreeState != trillian.TreeState_ACTIVE && tree.TreeState != trillian.TreeState_FROZEN {
		return nil, fmt.Errorf("tree %q is a %v in state %v (deleted: %v), want a log that is active or frozen",
			tree.DisplayName, tree.TreeType, tree.TreeState, tree.Deleted)
	}
	return tree, nil
}
