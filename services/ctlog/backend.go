package ctlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// Tree is the part of merkle.Tree that a log stands on, with its contracts: Add
// returns what is durable, reads see every answered add and end where the tree
// does, unknown indexes and hashes are fault.NotFound; Newest is the head even where
// other processes write, which Head may be behind. It must be safe for
// concurrent use.
type Tree interface {
	ID() int64
	Add(ctx context.Context, leaf merkle.Leaf) (merkle.Added, error)
	Head() merkle.Head
	Newest(ctx context.Context) (merkle.Head, error)
	Entries(ctx context.Context, first, count uint64) ([]merkle.Entry, error)
	EntryByHash(ctx context.Context, leafHash [32]byte) (merkle.Entry, error)
	Inclusion(ctx context.Context, index, size uint64) (merkle.Proof, error)
	Consistency(ctx context.Context, first, second uint64) ([][]byte, error)
}

// backend is Trillian's log client on a Tree, without a connection. Errors are
// gRPC statuses, which ctfe maps to HTTP; their text is fit for strangers.
type backend struct {
	tree  Tree
	log   *slog.Logger
	most  uint64 // entries answered at once
	scts  *prometheus.CounterVec
	fresh prometheus.Counter
	again prometheus.Counter

	mu    sync.RWMutex // held for reading while an entry is added
	state State        // guarded by mu
}

var _ trillian.TrillianLogClient = (*backend)(nil)

func newBackend(cfg Config) (*backend, error) {
	scts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name:        "sigstack_ctlog_submissions_total",
		Help:        "Chains logged, by log and by whether their certificate was new to it.",
		ConstLabels: prometheus.Labels{"log": cfg.Prefix},
	}, []string{"entry"})
	if err := cfg.Metrics.Register(scts); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &backend{
		tree: cfg.Tree, log: cfg.Log, most: uint64(cfg.Entries), state: cfg.State, scts: scts,
		fresh: scts.WithLabelValues("new"), again: scts.WithLabelValues("duplicate"),
	}, nil
}

// unregister takes back what newBackend registered.
func (b *backend) unregister(metrics prometheus.Registerer) { metrics.Unregister(b.scts) }

// QueueLeaf adds a leaf durably. For a certificate that is there already it
// returns the original leaf, whose timestamp goes into the SCT again, with
// status AlreadyExists.
func (b *backend) QueueLeaf(ctx context.Context, in *trillian.QueueLeafRequest, _ ...grpc.CallOption) (*trillian.QueueLeafResponse, error) {
	leaf := in.GetLeaf()
	identity, err := hash32(leaf.GetLeafIdentityHash())
	if err != nil {
		return nil, err
	}
	if seen, ok := ctx.Value(queuedKey{}).(*queued); ok {
		seen.value, seen.extra = leaf.GetLeafValue(), leaf.GetExtraData()
	}
	added, err := b.add(ctx, merkle.Leaf{Value: leaf.GetLeafValue(), Extra: leaf.GetExtraData(), Identity: identity})
	if err != nil {
		return nil, b.status(ctx, "add leaf", err)
	}
	queued := &trillian.QueuedLogLeaf{Leaf: logLeaf(added.Entry)}
	if added.Duplicate {
		queued.Status = status.New(codes.AlreadyExists, "leaf is in the log already").Proto()
	}
	return &trillian.QueueLeafResponse{QueuedLeaf: queued}, nil
}

// add adds a leaf and counts it. In a log that was closed in the meantime it is
// fault.Forbidden.
func (b *backend) add(ctx context.Context, leaf merkle.Leaf) (merkle.Added, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.state != Active {
		return merkle.Added{}, errClosed()
	}
	added, err := b.tree.Add(ctx, leaf)
	switch {
	case err != nil:
	case added.Duplicate:
		b.again.Inc()
	default:
		b.fresh.Inc()
	}
	return added, err
}

// GetLatestSignedLogRoot returns the head that get-sth signs.
func (b *backend) GetLatestSignedLogRoot(ctx context.Context, _ *trillian.GetLatestSignedLogRootRequest, _ ...grpc.CallOption) (*trillian.GetLatestSignedLogRootResponse, error) {
	head, err := b.tree.Newest(ctx)
	if err != nil {
		return nil, b.status(ctx, "read newest head", err)
	}
	root, err := b.root(ctx, head)
	if err != nil {
		return nil, err
	}
	return &trillian.GetLatestSignedLogRootResponse{SignedLogRoot: root}, nil
}

// GetLeavesByRange returns up to Count entries from StartIndex on, as many as
// are answered at once at most; none when the tree is shorter, which ctfe recognizes by the root.
func (b *backend) GetLeavesByRange(ctx context.Context, in *trillian.GetLeavesByRangeRequest, _ ...grpc.CallOption) (*trillian.GetLeavesByRangeResponse, error) {
	first, count, err := unsigned(in.GetStartIndex(), in.GetCount())
	if err != nil {
		return nil, err
	}
	head, err := b.atLeast(ctx, first+min(count, b.most))
	if err != nil {
		return nil, err
	}
	root, err := b.root(ctx, head)
	if err != nil || first >= head.Size {
		return &trillian.GetLeavesByRangeResponse{SignedLogRoot: root}, err
	}
	entries, err := b.tree.Entries(ctx, first, min(count, b.most))
	if err != nil {
		return nil, b.status(ctx, "read entries", err)
	}
	leaves := make([]*trillian.LogLeaf, len(entries))
	for i, e := range entries {
		leaves[i] = logLeaf(e)
	}
	return &trillian.GetLeavesByRangeResponse{Leaves: leaves, SignedLogRoot: root}, nil
}

// GetInclusionProofByHash proves the one entry with the given leaf hash.
func (b *backend) GetInclusionProofByHash(ctx context.Context, in *trillian.GetInclusionProofByHashRequest, _ ...grpc.CallOption) (*trillian.GetInclusionProofByHashResponse, error) {
	hash, err := hash32(in.GetLeafHash())
	if err != nil {
		return nil, err
	}
	entry, err := b.tree.EntryByHash(ctx, hash)
	if err != nil {
		return nil, b.status(ctx, "find entry", err)
	}
	proof, root, err := b.inclusion(ctx, int64(entry.Index), in.GetTreeSize())
	if err != nil {
		return nil, err
	}
	return &trillian.GetInclusionProofByHashResponse{Proof: []*trillian.Proof{proof}, SignedLogRoot: root}, nil
}

// GetInclusionProof proves the entry at an index.
func (b *backend) GetInclusionProof(ctx context.Context, in *trillian.GetInclusionProofRequest, _ ...grpc.CallOption) (*trillian.GetInclusionProofResponse, error) {
	proof, root, err := b.inclusion(ctx, in.GetLeafIndex(), in.GetTreeSize())
	if err != nil {
		return nil, err
	}
	return &trillian.GetInclusionProofResponse{Proof: proof, SignedLogRoot: root}, nil
}

// GetEntryAndProof returns the entry at an index and its proof.
func (b *backend) GetEntryAndProof(ctx context.Context, in *trillian.GetEntryAndProofRequest, _ ...grpc.CallOption) (*trillian.GetEntryAndProofResponse, error) {
	proof, root, err := b.inclusion(ctx, in.GetLeafIndex(), in.GetTreeSize())
	if err != nil {
		return nil, err
	}
	entries, err := b.tree.Entries(ctx, uint64(proof.GetLeafIndex()), 1)
	if err != nil {
		return nil, b.status(ctx, "read entry", err)
	}
	if len(entries) != 1 {
		return nil, b.status(ctx, "read entry", fmt.Errorf("index %d is proven but %d entries were read", proof.GetLeafIndex(), len(entries)))
	}
	return &trillian.GetEntryAndProofResponse{Proof: proof, Leaf: logLeaf(entries[0]), SignedLogRoot: root}, nil
}

// GetConsistencyProof proves that the tree of one size extends a smaller one.
func (b *backend) GetConsistencyProof(ctx context.Context, in *trillian.GetConsistencyProofRequest, _ ...grpc.CallOption) (*trillian.GetConsistencyProofResponse, error) {
	first, second, err := unsigned(in.GetFirstTreeSize(), in.GetSecondTreeSize())
	if err != nil {
		return nil, err
	}
	head, err := b.headOver(ctx, second)
	if err != nil {
		return nil, err
	}
	hashes, err := b.tree.Consistency(ctx, first, second)
	if err != nil {
		return nil, b.status(ctx, "prove consistency", err)
	}
	root, err := b.root(ctx, head)
	return &trillian.GetConsistencyProofResponse{Proof: &trillian.Proof{Hashes: notNil(hashes)}, SignedLogRoot: root}, err
}

// InitLog refuses: a tree that was opened is initialized.
func (b *backend) InitLog(context.Context, *trillian.InitLogRequest, ...grpc.CallOption) (*trillian.InitLogResponse, error) {
	return nil, status.Error(codes.AlreadyExists, "log is initialized already")
}

// AddSequencedLeaves refuses: the tree gives the indexes.
func (b *backend) AddSequencedLeaves(context.Context, *trillian.AddSequencedLeavesRequest, ...grpc.CallOption) (*trillian.AddSequencedLeavesResponse, error) {
	return nil, status.Error(codes.Unimplemented, "log is not preordered")
}

// inclusion returns the proof of index in the tree of size and the present root.
func (b *backend) inclusion(ctx context.Context, index, size int64) (*trillian.Proof, *trillian.SignedLogRoot, error) {
	i, n, err := unsigned(index, size)
	if err != nil {
		return nil, nil, err
	}
	head, err := b.headOver(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	if i >= n {
		return nil, nil, status.Error(codes.NotFound, "entry is not in the tree of that size")
	}
	proof, err := b.tree.Inclusion(ctx, i, n)
	if err != nil {
		return nil, nil, b.status(ctx, "prove inclusion", err)
	}
	root, err := b.root(ctx, head)
	if err != nil {
		return nil, nil, err
	}
	return &trillian.Proof{LeafIndex: index, Hashes: notNil(proof.Hashes)}, root, nil
}

// headOver returns the present head, NotFound if it is smaller than size.
func (b *backend) headOver(ctx context.Context, size uint64) (merkle.Head, error) {
	head, err := b.atLeast(ctx, size)
	if err != nil {
		return merkle.Head{}, err
	}
	if size > head.Size {
		return merkle.Head{}, status.Errorf(codes.NotFound, "log has %d entries, not %d", head.Size, size)
	}
	return head, nil
}

// atLeast returns a head over so many entries, or else the newest.
func (b *backend) atLeast(ctx context.Context, size uint64) (merkle.Head, error) {
	if head := b.tree.Head(); size <= head.Size {
		return head, nil
	}
	head, err := b.tree.Newest(ctx)
	if err != nil {
		return merkle.Head{}, b.status(ctx, "read newest head", err)
	}
	return head, nil
}

// root encodes a head as Trillian does.
func (b *backend) root(ctx context.Context, head merkle.Head) (*trillian.SignedLogRoot, error) {
	der, err := (&types.LogRootV1{
		TreeSize:       head.Size,
		RootHash:       head.Root[:],
		TimestampNanos: uint64(head.Time.UnixNano()),
	}).MarshalBinary()
	if err != nil {
		return nil, b.status(ctx, "encode root", err)
	}
	return &trillian.SignedLogRoot{LogRoot: der}, nil
}

// grpcCode says how an error's kind appears to ctfe, which makes of it the HTTP
// status of contract tsa-and-others.md §2. What is missing is Internal.
var grpcCode = map[fault.Kind]codes.Code{
	fault.Invalid:     codes.InvalidArgument,
	fault.Forbidden:   codes.PermissionDenied,
	fault.NotFound:    codes.NotFound,
	fault.TooLarge:    codes.InvalidArgument,
	fault.Limited:     codes.ResourceExhausted,
	fault.Unavailable: codes.Unavailable,
	fault.Timeout:     codes.DeadlineExceeded,
	fault.Canceled:    codes.Canceled,
}

// status turns an error of the tree into a gRPC status with the public sentence
// and logs the cause, which goes no further, unless it is the caller's fault.
func (b *backend) status(ctx context.Context, doing string, err error) error {
	code, ok := grpcCode[fault.KindOf(err)]
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case !ok:
		code = codes.Internal
	}
	if code != codes.InvalidArgument && code != codes.NotFound && code != codes.Canceled && code != codes.PermissionDenied {
		b.log.ErrorContext(ctx, "ct log backend failed", slog.String("doing", doing), slog.Any("error", err))
	}
	return status.Error(code, fault.Public(err))
}

// logLeaf encodes an entry as Trillian does.
func logLeaf(e merkle.Entry) *trillian.LogLeaf {
	return &trillian.LogLeaf{
		MerkleLeafHash:     e.LeafHash[:],
		LeafValue:          e.Leaf.Value,
		ExtraData:          e.Leaf.Extra,
		LeafIndex:          int64(e.Index),
		LeafIdentityHash:   e.Leaf.Identity[:],
		QueueTimestamp:     timestamppb.New(e.QueuedAt),
		IntegrateTimestamp: timestamppb.New(e.IntegratedAt),
	}
}

func hash32(b []byte) (h [32]byte, err error) {
	if len(b) != len(h) {
		return h, status.Errorf(codes.InvalidArgument, "hash is %d bytes long, want %d", len(b), len(h))
	}
	return [32]byte(b), nil
}

func unsigned(a, b int64) (uint64, uint64, error) {
	if a < 0 || b < 0 {
		return 0, 0, status.Error(codes.InvalidArgument, "index or size is negative")
	}
	return uint64(a), uint64(b), nil
}

// notNil makes an empty proof encode as [] rather than null.
func notNil(hashes [][]byte) [][]byte {
	if hashes == nil {
		return [][]byte{}
	}
	return hashes
}
