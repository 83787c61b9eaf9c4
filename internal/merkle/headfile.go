package merkle

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/durable"
)

// headFileEvery is how often a changed head is written to the head file: with
// the write itself, at most a second behind.
const headFileEvery = 500 * time.Millisecond

// Format 2 has one more line than format 1, which is read as ever.
const (
	headFileMagic  = "sigstack tree head 2"
	headFileMagic1 = "sigstack tree head 1"
)

// encodeHead returns the content of a head file: six lines, each ended by a
// newline. The last one is the CRC-32C of the others.
func encodeHead(tree int64, h Head) []byte {
	b := headLines(headFileMagic, tree, h)
	return fmt.Appendf(b, "check %08x\n", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func headLines(magic string, tree int64, h Head) []byte {
	return fmt.Appendf(nil, "%s\ntree %d\nsize %d\nroot %x\ntime %d\n",
		magic, tree, h.Size, h.Root, h.Time.UnixNano())
}

// decodeHead is the inverse of encodeHead and accepts nothing else but format 1.
func decodeHead(b []byte) (tree int64, h Head, err error) {
	lines := strings.Split(string(b), "\n")
	if first := len(lines) == 6 && lines[0] == headFileMagic1; !first && (len(lines) != 7 || lines[0] != headFileMagic) {
		return 0, Head{}, errors.New("not a head file")
	}
	tree, errTree := strconv.ParseInt(strings.TrimPrefix(lines[1], "tree "), 10, 64)
	size, errSize := strconv.ParseUint(strings.TrimPrefix(lines[2], "size "), 10, 64)
	root, errRoot := hex.DecodeString(strings.TrimPrefix(lines[3], "root "))
	nanos, errTime := strconv.ParseInt(strings.TrimPrefix(lines[4], "time "), 10, 64)
	if err := errors.Join(errTree, errSize, errRoot, errTime); err != nil {
		return 0, Head{}, fmt.Errorf("head file is damaged: %w", err)
	}
	if len(root) != 32 {
		return 0, Head{}, fmt.Errorf("head file is damaged: root has %d bytes", len(root))
	}
	h = Head{Size: size, Root: [32]byte(root), Time: time.Unix(0, nanos).UTC()}
	if !bytes.Equal(encodeHead(tree, h), b) && !bytes.Equal(headLines(headFileMagic1, tree, h), b) {
		return 0, Head{}, errors.New("head file is damaged")
	}
	return tree, h, nil
}

// ReadHeadFile reads a head file: the id of its tree, and the head.
func ReadHeadFile(path string) (tree int64, h Head, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, Head{}, fmt.Errorf("read head file: %w", err)
	}
	if tree, h, err = decodeHead(content); err != nil {
		return 0, Head{}, fmt.Errorf("%s: %w", path, err)
	}
	return tree, h, nil
}

// checkHeadFile refuses a stored tree that does not extend the head file's: a
// disk that lost or changed the end of its log looks whole from inside.
func (t *Tree) checkHeadFile(ctx context.Context) error {
	if t.cfg.HeadFile == "" {
		return nil
	}
	content, err := os.ReadFile(t.cfg.HeadFile)
	if errors.Is(err, fs.ErrNotExist) {
		if size := t.Head().Size; size > 0 {
			t.log.WarnContext(ctx, "no head file to check the log against", slog.Uint64("size", size))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read head file: %w", err)
	}
	tree, published, err := decodeHead(content)
	if err != nil {
		return fmt.Errorf("%s: %w", t.cfg.HeadFile, err)
	}
	if tree != t.ID() {
		return fmt.Errorf("%s is of tree %d", t.cfg.HeadFile, tree)
	}
	return t.extends(ctx, published)
}

// extends checks that the stored tree has published as its beginning.
func (t *Tree) extends(ctx context.Context, published Head) error {
	head := t.Head()
	if head.Size < published.Size {
		return fmt.Errorf("%w: a head over %d entries was published, storage has %d: %s",
			errShrunk, published.Size, head.Size, gone(head.Size, published.Size-1))
	}
	root, err := t.rootAt(ctx, published.Size)
	if err != nil {
		return err
	}
	if root != published.Root {
		return fmt.Errorf("%w: the first %d entries hash to %x, published was %x",
			errShrunk, published.Size, root, published.Root)
	}
	return nil
}

// gone names missing entries by their indexes.
func gone(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("entry %d is gone", first)
	}
	return fmt.Sprintf("entries %d to %d are gone", first, last)
}

// keepHeadFile writes the head file whenever the head has changed, off the add
// path, until stop is closed, and then once more.
//
// A crash between a published head and its head file leaves the file behind,
// which Open accepts. The file is never ahead: a head is published only when it
// is durable.
func (t *Tree) keepHeadFile(ctx context.Context, stop <-chan struct{}) error {
	if t.cfg.HeadFile == "" {
		return nil
	}
	var written Head
	ticker := time.NewTicker(headFileEvery)
	defer ticker.Stop()
	for {
		if head := t.Head(); head != written {
			if err := t.writeHeadFile(head); err != nil {
				t.metrics.headFileFailed.Inc()
				t.log.ErrorContext(ctx, "writing the head file failed", slog.Any("error", err))
			} else {
				written = head
			}
		}
		select {
		case <-ticker.C:
		case <-stop:
			if head := t.Head(); head != written {
				return t.writeHeadFile(head)
			}
			return nil
		}
	}
}

func (t *Tree) writeHeadFile(h Head) error {
	if err := durable.WriteFile(t.cfg.HeadFile, encodeHead(t.ID(), h), 0o644); err != nil {
		return fmt.Errorf("write head file: %w", err)
	}
	return nil
}
