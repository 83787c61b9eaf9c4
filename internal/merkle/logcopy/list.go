package logcopy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"

	"sigstack/internal/merkle"
)

// Listed is a log in storage.
type Listed struct {
	ID   int64
	Name string
	Size uint64
}

// List returns the logs in storage. Trees that were never finished, and copies that are
// not whole, are left out: whoever makes or copies them does so again.
func List(ctx context.Context, s merkle.Storage) ([]Listed, error) {
	trees, err := storage.ListTrees(ctx, s.Admin(), false)
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", err)
	}
	var logs []Listed
	for _, t := range trees {
		if t.TreeState == trillian.TreeState_DRAINING {
			continue
		}
		_, head, err := describe(ctx, s, t.TreeId)
		if errors.Is(err, storage.ErrTreeNeedsInit) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at tree %d: %w", t.TreeId, err)
		}
		logs = append(logs, Listed{ID: t.TreeId, Name: strings.TrimSuffix(t.DisplayName, Moved), Size: head.Size})
	}
	return logs, nil
}
