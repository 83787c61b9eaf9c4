package fsck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// lookAt compares a row that must be there with what is.
func (c *treeChecker) lookAt(key, want []byte) {
	k := pebblelog.ParseKey(key)
	p := Problem{What: c.what(k), Where: keyName(key, c.Trees)}
	if want == nil && k.Kind == pebblelog.RowUnknown { // an index behind the key of leaf hashes
		c.lookAtHashes(key)
		return
	}
	if k.Kind == pebblelog.RowExtra && len(k.Extra) >= 8 {
		p = at(binary.BigEndian.Uint64(k.Extra[len(k.Extra)-8:]), p)
	}
	if k.Kind == pebblelog.RowIdentity {
		p = at(binary.BigEndian.Uint64(want[1:]), p)
	}
	c.compare(key, want, p)
}

func (c *treeChecker) compare(key, want []byte, p Problem) {
	got, found, err := c.view.Get(key)
	switch {
	case err != nil:
		p.Kind, p.Detail = Unreadable, err.Error()
	case !found:
		p.Kind, p.Detail = Missing, fmt.Sprintf("want %x", want)
	case !bytes.Equal(got, want):
		p.Kind, p.Detail = Differs, fmt.Sprintf("it is %x, want %x", got, want)
	default:
		return
	}
	c.problem(p)
}

func (c *treeChecker) lookAtHashes(keyAndIndex []byte) {
	key, index := keyAndIndex[:len(keyAndIndex)-8], binary.BigEndian.Uint64(keyAndIndex[len(keyAndIndex)-8:])
	p := at(index, Problem{What: "leaf hash", Where: keyName(key, c.Trees)})
	row, found, err := c.view.Get(key)
	indexes, decodeErr := pebblelog.DecodeHashesRow(row)
	switch {
	case err != nil:
		p.Kind, p.Detail = Unreadable, err.Error()
	case !found:
		p.Kind, p.Detail = Missing, "the entry is not found by its leaf hash"
	case decodeErr != nil || !slices.Contains(indexes, index):
		p.Kind, p.Detail = Differs, fmt.Sprintf("the entry is not in it: %x", row)
	default:
		return
	}
	c.problem(p)
}

func (c *treeChecker) what(k pebblelog.RowKey) string {
	switch k.Kind {
	case pebblelog.RowNode:
		return "node"
	case pebblelog.RowIdentity:
		return "identity"
	case pebblelog.RowExtra:
		if c.tree.Service != nil {
			return c.tree.Service.What(k.Extra)
		}
	}
	return "row"
}

// askOf asks where a row comes from that is there. Whether its value is right was
// looked at from the other side.
func (c *treeChecker) askOf(key, value []byte, k pebblelog.RowKey) {
	p := Problem{Kind: Extra, What: c.what(k), Where: keyName(key, c.Trees), Detail: "nothing leads to it"}
	switch k.Kind {
	case pebblelog.RowNode:
		if behind := (k.Node.Index + 1) << k.Node.Level; k.Node.Level < 63 && behind>>k.Node.Level == k.Node.Index+1 && behind <= c.report.Size {
			return
		}
	case pebblelog.RowIdentity:
		index, err := pebblelog.DecodeIdentityRow(value)
		if d, ok := c.leafAt(index); err == nil && ok && d.identity == k.Hash {
			return
		} else if err != nil {
			p.Detail = err.Error()
		}
	case pebblelog.RowHashes:
		index := binary.BigEndian.Uint64(key[len(key)-8:])
		p.What, p.Where = "leaf hash", keyName(key[:len(key)-8], c.Trees)
		if d, ok := c.leafAt(index); ok && d.hash == k.Hash && d.identity != d.hash {
			return
		}
		p.Detail = fmt.Sprintf("entry %d has not that leaf hash", index)
	case pebblelog.RowExtra:
		index := binary.BigEndian.Uint64(k.Extra[len(k.Extra)-8:])
		p = at(index, p)
		if d, ok := c.leafAt(index); ok && slices.ContainsFunc(d.rows, func(r Row) bool {
			return r.ByIndex && bytes.Equal(r.Key, k.Extra[:len(k.Extra)-8])
		}) {
			return
		}
	}
	c.problem(p)
}

// leafAt derives what follows from the leaf at an index.
func (c *treeChecker) leafAt(index uint64) (derived, bool) {
	row, found, err := c.view.Get(pebblelog.LeafRowKey(c.tree.ID, index))
	if err != nil || !found || index >= c.report.Size {
		return derived{}, false
	}
	d := c.derive(index, row)
	return d, d.err == nil
}

// publishedHead is what a head file says.
type publishedHead struct {
	merkle.Head
	seen bool // the tree was as large as that in this pass
}

// readHead reads the tree's head file.
func (c *treeChecker) readHead() {
	if c.tree.HeadFile == "" {
		return
	}
	id, head, err := merkle.ReadHeadFile(c.tree.HeadFile)
	p := Problem{Kind: Differs, What: "checkpoint file", File: c.tree.HeadFile}
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.root != nil && c.root.TreeSize == 0:
		return
	case errors.Is(err, fs.ErrNotExist):
		p.Kind, p.Detail = Missing, "without it entries that are gone from the end of the log are not missed"
	case err != nil:
		p.Detail = err.Error()
	case id != c.tree.ID:
		p.Detail = fmt.Sprintf("it is of tree %d, want %d", id, c.tree.ID)
	default:
		c.head = &publishedHead{Head: head}
		return
	}
	c.problem(p)
}

// checkPublished compares the head file's root with that over as many entries.
func (c *treeChecker) checkPublished() {
	if c.head == nil || c.head.seen || c.naming != nil || c.hashes.End() != c.head.Size {
		return
	}
	c.head.seen = true
	p := Problem{Kind: Differs, What: "checkpoint file", File: c.tree.HeadFile}
	if root := rootOf(c.hashes); root != c.head.Root {
		p.Field, p.Detail = "root", fmt.Sprintf("the first %d entries hash to %x, published was %x", c.head.Size, root, c.head.Root)
		c.problem(p)
	}
}

// checkPublishedEnd compares the head file with the newest root.
func (c *treeChecker) checkPublishedEnd() {
	if c.head == nil || c.root == nil {
		return
	}
	p := Problem{Kind: Differs, What: "checkpoint file", File: c.tree.HeadFile}
	file, newest := c.head.Time.UnixNano(), int64(c.root.TimestampNanos)
	switch size := c.root.TreeSize; {
	case c.head.Size > size:
		p.Kind, p.Detail = Missing, fmt.Sprintf("a head over %d entries was published, the log has %d: those from %d on are gone", c.head.Size, size, size)
	case c.head.Size == size && (file > newest || file < newest && !c.tree.Refreshed):
		p.Field, p.Detail = "time", fmt.Sprintf("it is %d, that of the root %d", file, newest)
	case c.head.Size < size && file > newest:
		p.Field, p.Detail = "time", fmt.Sprintf("it is %d, that of a later root %d", file, newest)
	case c.head.Size < size || file < newest:
		c.note("%s is behind: it has %d of %d entries, as a process leaves it that is killed", c.tree.HeadFile, c.head.Size, size)
		return
	default:
		return
	}
	c.problem(p)
}
