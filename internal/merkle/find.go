package merkle

import (
	"context"
	"fmt"
)

// FindTree returns the id of the tree of that name, 0 if there is none.
func FindTree(ctx context.Context, s Storage, name string) (int64, error) {
	tree, err := findTree(ctx, s, name)
	if err != nil {
		return 0, fmt.Errorf("find tree %q: %w", name, err)
	}
	if tree == nil {
		return 0, nil
	}
	return tree.TreeId, nil
}
