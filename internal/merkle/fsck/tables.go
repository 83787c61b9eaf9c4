package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle/pebblelog"
)

// keyRange bounds rows, both ends included.
type keyRange struct{ low, high []byte }

// String names the rows in the words of the log.
func (r keyRange) String(trees []Tree) string {
	return "rows from " + keyName(r.low, trees) + " to " + keyName(r.high, trees)
}

// keyName names a row by its key.
func keyName(key []byte, trees []Tree) string {
	k := pebblelog.ParseKey(key)
	log := fmt.Sprintf("tree %d", k.Tree)
	for _, t := range trees {
		if t.ID == k.Tree {
			log = t.Name
		}
	}
	switch k.Kind {
	case pebblelog.RowLayout:
		return "layout"
	case pebblelog.RowTree:
		return log
	case pebblelog.RowHashes:
		return fmt.Sprintf("%s leaf hash %x", log, k.Hash)
	case pebblelog.RowIdentity:
		return fmt.Sprintf("%s identity %x", log, k.Hash)
	case pebblelog.RowLeaf:
		return fmt.Sprintf("%s leaf %d", log, k.Index)
	case pebblelog.RowNode:
		return fmt.Sprintf("%s node %d of level %d", log, k.Node.Index, k.Node.Level)
	case pebblelog.RowQueued:
		return log + " queue"
	case pebblelog.RowRoot:
		return log + " root"
	case pebblelog.RowExtra:
		return fmt.Sprintf("%s extra %x", log, k.Extra)
	default:
		return fmt.Sprintf("key %x", key)
	}
}

// trailerSize is behind each block: its compression1 and checksum4.
const trailerSize = 5

// checkTable checks every byte of a table that has a checksum. With an error comes
// where rows cannot be read.
func (k *checker) checkTable(t pebblelog.Table) (keyRange, error) {
	all := keyRange{t.Smallest, t.Largest}
	f, err := k.FS.Open(filepath.Join(k.Dir, t.Name))
	if err != nil {
		return all, err
	}
	r, err := k.openTable(f)
	if err != nil {
		return all, fmt.Errorf("open table: %w", err)
	}
	err = checkBlocks(r, f)
	if err != nil {
		all = unreadable(r, all)
	}
	return all, errors.Join(err, r.Close())
}

func (k *checker) openTable(f vfs.File) (r *sstable.Reader, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = errors.Join(fmt.Errorf("%v", cause), f.Close())
		}
	}()
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	po := pebblelog.PebbleOptions(k.FS)
	return sstable.NewReader(context.Background(), readable, po.MakeReaderOptions())
}

// checkBlocks checks each block's checksum, and that blocks and footer are all that
// there is.
func checkBlocks(r *sstable.Reader, f io.ReaderAt) error {
	l, err := r.Layout()
	if err != nil {
		return fmt.Errorf("read its index: %w", err)
	}
	handles := []block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.ValueIndex, l.Properties, l.MetaIndex, l.BlobReferenceIndex}
	for _, d := range l.Data {
		handles = append(handles, d.Handle)
	}
	handles = append(append(handles, l.Index...), l.ValueBlock...)
	for _, h := range l.Filter {
		handles = append(handles, h.Handle)
	}
	slices.SortFunc(handles, func(a, b block.Handle) int { return int(a.Offset) - int(b.Offset) })
	var bad []error
	for _, h := range handles {
		if h.Length == 0 {
			continue
		}
		if err := checkBlock(f, h); err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 3 {
		bad = append(bad[:3], fmt.Errorf("and %d more blocks", len(bad)-3))
	}
	return errors.Join(bad...)
}

func checkBlock(f io.ReaderAt, h block.Handle) error {
	b := make([]byte, h.Length+trailerSize)
	if _, err := f.ReadAt(b, int64(h.Offset)); err != nil {
		return fmt.Errorf("read block at byte %d: %w", h.Offset, err)
	}
	end := len(b) - trailerSize
	c := crc32.Checksum(b[:end+1], crc32.MakeTable(crc32.Castagnoli))
	if (c>>15|c<<17)+maskDelta != binary.LittleEndian.Uint32(b[end+1:]) {
		return fmt.Errorf("the block of %d bytes at byte %d has another checksum", h.Length, h.Offset)
	}
	return nil
}

// unreadable narrows down where rows of a table cannot be read: behind the last
// one that is read from the front, before the last one from the back.
func unreadable(r *sstable.Reader, all keyRange) keyRange {
	defer func() { _ = recover() }() // a reader of damaged bytes may panic: then it is all of it
	front, ok := walk(r, true)
	if !ok {
		return all
	}
	back, ok := walk(r, false)
	if !ok {
		return all
	}
	out := all
	if front != nil {
		out.low = front
	}
	if back != nil {
		out.high = back
	}
	return out
}

// walk reads rows from one end until it fails, and returns the last key; ok false
// if it does not fail.
func walk(r *sstable.Reader, forward bool) (last []byte, ok bool) {
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return nil, true
	}
	first, next := it.Last, it.Prev
	if forward {
		first, next = it.First, it.Next
	}
	for kv := first(); kv != nil; kv = next() {
		last = bytes.Clone(kv.K.UserKey)
	}
	ok = it.Error() != nil
	return last, it.Close() != nil || ok
}
