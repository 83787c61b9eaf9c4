package merkle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/transparency-dev/merkle/compact"

	"sigstack/internal/merkle"
)

// damaged is storage in which one node cannot be read.
type damaged struct {
	merkle.Storage
	node compact.NodeID
}

type damagedTX struct {
	storage.ReadOnlyLogTreeTX
	node compact.NodeID
}

func (d *damaged) SnapshotForTree(ctx context.Context, t *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	tx, err := d.Storage.SnapshotForTree(ctx, t)
	return &damagedTX{tx, d.node}, err
}

func (d *damagedTX) GetMerkleNodes(ctx context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	if slices.Contains(ids, d.node) {
		return nil, errors.New("the node is damaged")
	}
	return d.ReadOnlyLogTreeTX.GetMerkleNodes(ctx, ids)
}

// TestDamagedNodeIsInTheWayOfNoOther proves every entry, twice, beside a node that
// cannot be read: only its sibling cannot be proved.
func TestDamagedNodeIsInTheWayOfNoOther(t *testing.T) {
	r := start(t, merkle.Config{})
	addAll(t, r.Tree, 300, 8)
	const lost = 7
	beside := r.reopen(t, &damaged{r.store, compact.NewNodeID(0, lost)})
	for range 2 {
		for index := range uint64(300) {
			p, err := beside.Inclusion(t.Context(), index, 300)
			if index == lost^1 {
				if err == nil || !strings.Contains(err.Error(), "damaged") {
					t.Errorf("entry %d: got %v, want an error that says what is damaged", index, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("entry %d: %v", index, err)
			}
			e, err := r.Entry(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(e, p); err != nil {
				t.Error(err)
			}
		}
	}
}
