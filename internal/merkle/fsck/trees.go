package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian"

	"sigstack/internal/merkle/pebblelog"
)

// scan goes through rows, around those that no table can be read in.
func (k *checker) scan(ctx context.Context, low, high []byte, each func(key, value []byte) error) error {
	for {
		var last []byte
		var own error
		err := k.view.Scan(ctx, low, high, func(key, value []byte) error {
			last = append(last[:0], key...)
			own = each(key, value)
			return own
		})
		if err == nil || own != nil || ctx.Err() != nil {
			return err
		}
		next := k.behind(low, last)
		if next == nil || high != nil && bytes.Compare(next, high) >= 0 {
			if next == nil {
				k.problem(Problem{Kind: Unreadable, What: "rows", Where: "behind " + keyName(append(low, last...), k.Trees), Detail: err.Error()})
			}
			return nil
		}
		low = next
	}
}

// behind returns where rows can be read again after reading from low on came as
// far as last; nil if that is not known. It is always behind low.
func (k *checker) behind(low, last []byte) []byte {
	at := low
	if last != nil {
		at = last
	}
	for _, r := range k.damaged {
		switch {
		case bytes.Compare(r.high, at) < 0:
			continue
		case bytes.Compare(r.high, low) > 0:
			return bytes.Clone(r.high)
		default:
			return append(bytes.Clone(r.high), 0)
		}
	}
	return nil
}

// checkTreeRows checks what is of no tree, and the descriptions of trees.
func (k *checker) checkTreeRows(ctx context.Context) error {
	layout, found, err := k.view.Get(pebblelog.LayoutRowKey())
	switch {
	case err != nil:
		k.problem(Problem{Kind: Unreadable, What: "layout", Detail: err.Error()})
	case !found:
		k.problem(Problem{Kind: Missing, What: "layout", Detail: "the database does not say how its rows are laid out"})
	case !bytes.Equal(layout, pebblelog.LayoutRow()):
		k.problem(Problem{Kind: Differs, What: "layout", Detail: fmt.Sprintf("it is %x, want %x", layout, pebblelog.LayoutRow())})
	}
	seen := map[int64]bool{}
	if err := k.scan(ctx, nil, []byte{0x02}, func(key, value []byte) error {
		switch parsed := pebblelog.ParseKey(key); parsed.Kind {
		case pebblelog.RowLayout:
		case pebblelog.RowTree:
			seen[parsed.Tree] = true
			k.checkTreeRow(parsed.Tree, value)
		default:
			k.problem(Problem{Kind: Extra, What: "row", Where: keyName(key, k.Trees), Detail: "nothing writes such a row"})
		}
		return nil
	}); err != nil {
		return err
	}
	for _, t := range k.Trees {
		if !seen[t.ID] {
			k.problem(Problem{Kind: Missing, What: "tree", Log: t.Name, Detail: fmt.Sprintf("tree %d has no description", t.ID)})
		}
	}
	return k.checkStrangers(ctx)
}

// configured returns the tree of that id, nil if there is to be none.
func (k *checker) configured(id int64) *Tree {
	for i := range k.Trees {
		if k.Trees[i].ID == id {
			return &k.Trees[i]
		}
	}
	return nil
}

func (k *checker) checkTreeRow(id int64, row []byte) {
	tree, err := pebblelog.DecodeTreeRow(row)
	t := k.configured(id)
	if t == nil {
		if size, ok := k.sizeOf(id); err == nil && ok && size == 0 && tree.TreeId == id && k.unused(tree) {
			return
		}
		k.problem(Problem{Kind: Extra, What: "tree", Where: fmt.Sprintf("tree %d", id), Detail: "the configuration has no such tree"})
		return
	}
	switch {
	case err != nil:
	case tree.TreeId != id:
		err = fmt.Errorf("it is that of tree %d", tree.TreeId)
	case tree.DisplayName != t.Name:
		err = fmt.Errorf("its name is %q", tree.DisplayName)
	case tree.TreeType != trillian.TreeType_LOG || tree.Deleted ||
		tree.TreeState != trillian.TreeState_ACTIVE && tree.TreeState != trillian.TreeState_FROZEN:
		err = fmt.Errorf("it is a %v in state %v (deleted: %v)", tree.TreeType, tree.TreeState, tree.Deleted)
	}
	if err != nil {
		k.problem(Problem{Kind: Differs, What: "tree", Log: t.Name, Detail: err.Error()})
	}
}

// unused reports whether an empty tree, which no configuration names, was prepared for
// later. One that was begun, or that was dropped again, is noted.
func (k *checker) unused(tree *trillian.Tree) bool {
	active := tree.TreeState == trillian.TreeState_ACTIVE
	if tree.TreeType != trillian.TreeType_LOG || tree.Deleted || !active && tree.TreeState != trillian.TreeState_FROZEN {
		return false
	}
	for _, t := range k.Prepared {
		if t.ID == tree.TreeId {
			return t.Name == tree.DisplayName
		}
	}
	k.note("tree %d (%s) is empty, and in no list: it was prepared by what was interrupted, or dropped again; preparing it again takes it", tree.TreeId, tree.DisplayName)
	return true
}

func (k *checker) sizeOf(id int64) (uint64, bool) {
	row, found, err := k.view.Get(pebblelog.RootRowKey(id))
	if err != nil {
		return 0, false
	}
	if !found {
		return 0, true
	}
	root, err := pebblelog.DecodeRootRow(row)
	if err != nil {
		return 0, false
	}
	return root.TreeSize, true
}

var errStop = errors.New("enough")

// checkStrangers looks for rows of trees that there are none of.
func (k *checker) checkStrangers(ctx context.Context) error {
	low := []byte{0x02}
	for {
		var first []byte
		err := k.scan(ctx, low, nil, func(key, _ []byte) error {
			first = bytes.Clone(key)
			return errStop
		})
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if first == nil {
			return nil
		}
		if len(first) < 9 || first[0] != 0x02 {
			k.problem(Problem{Kind: Extra, What: "row", Where: keyName(first, k.Trees), Detail: "nothing writes such a row"})
			low = append(first, 0)
			continue
		}
		id := int64(uint64(first[1])<<56 | uint64(first[2])<<48 | uint64(first[3])<<40 | uint64(first[4])<<32 |
			uint64(first[5])<<24 | uint64(first[6])<<16 | uint64(first[7])<<8 | uint64(first[8]))
		from, behind := pebblelog.TreeRange(id)
		if k.configured(id) == nil {
			if err := k.stranger(ctx, id, from, behind); err != nil {
				return err
			}
		}
		low = behind
	}
}

func (k *checker) stranger(ctx context.Context, id int64, low, high []byte) error {
	rows := 0
	err := k.scan(ctx, low, high, func(key, _ []byte) error {
		if pebblelog.ParseKey(key).Kind != pebblelog.RowRoot {
			rows++
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, described, err := k.view.Get(pebblelog.TreeRowKey(id))
	if rows > 0 || !described && err == nil {
		k.problem(Problem{Kind: Extra, What: "rows", Where: fmt.Sprintf("tree %d", id), Detail: fmt.Sprintf("%d rows beside a root are of a tree that the configuration has not", rows)})
	}
	return nil
}
