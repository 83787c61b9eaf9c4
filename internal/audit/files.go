package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Files are named for their first record, so that names sort as records do.
const (
	filePrefix = "audit-"
	fileSuffix = ".jsonl"
	fileDigits = 20 // of the largest sequence number
)

func fileName(first uint64) string {
	return fmt.Sprintf("%s%0*d%s", filePrefix, fileDigits, first, fileSuffix)
}

// parseFileName is the inverse of fileName and accepts nothing else.
func parseFileName(name string) (first uint64, ok bool) {
	digits := strings.TrimSuffix(strings.TrimPrefix(name, filePrefix), fileSuffix)
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0 && name == fileName(first)
}

// dataFile is a file of records.
type dataFile struct {
	path  string
	first uint64 // sequence number of its first record
}

// listFiles returns the files of records in dir, the oldest first.
func listFiles(dir string) ([]dataFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list audit files: %w", err)
	}
	var files []dataFile
	for _, e := range entries { // sorted by name
		if first, ok := parseFileName(e.Name()); ok {
			files = append(files, dataFile{filepath.Join(dir, e.Name()), first})
		}
	}
	return files, nil
}

// lastLine returns the last line of a file, without its newline, and the file's
// size. A file that is empty, or whose last line is not ended, is an error.
func lastLine(path string) (line []byte, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read audit file: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read audit file: %w", err)
	}
	line, err = lineBefore(f, info.Size())
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return line, info.Size(), nil
}

// lineBefore returns the line that ends at offset end.
func lineBefore(f io.ReaderAt, end int64) ([]byte, error) {
	tail := make([]byte, min(end, maxLine+2))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read audit file: %w", err)
	}
	if len(tail) == 0 || tail[len(tail)-1] != '\n' {
		return nil, errors.New("its last line is cut short")
	}
	tail = tail[:len(tail)-1]
	return tail[bytes.LastIndexByte(tail, '\n')+1:], nil
}

// BadLineError says which line of a file is wrong.
type BadLineError struct {
	File string
	Line int // 1 for the first
	Err  error
}

// Error names file and line as compilers do.
func (e *BadLineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *BadLineError) Unwrap() error { return e.Err }

// chain checks that records follow one another.
type chain struct {
	started bool // whether seq and hash are known
	seq     uint64
	hash    [32]byte
}

// next takes the record after the last one.
func (c *chain) next(r *Record) error {
	switch {
	case c.started && r.Seq != c.seq+1:
		return fmt.Errorf("it is record %d, where record %d belongs", r.Seq, c.seq+1)
	case c.started && r.Prev != c.hash:
		return fmt.Errorf("record %d does not follow the line before: its prev is %x, that line's hash is %x", r.Seq, r.Prev, c.hash)
	case !c.started && r.Seq == 1 && r.Prev != [32]byte{}:
		return errors.New("record 1 has a line before it")
	}
	c.started, c.seq, c.hash = true, r.Seq, r.Hash
	return nil
}

// holding returns the index of the file that record seq is or would be in, -1 if
// all begin later.
func holding(files []dataFile, seq uint64) int {
	i, found := slices.BinarySearchFunc(files, seq, func(f dataFile, seq uint64) int {
		switch {
		case f.first < seq:
			return -1
		case f.first > seq:
			return 1
		}
		return 0
	})
	if found {
		return i
	}
	return i - 1
}
