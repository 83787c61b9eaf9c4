package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// errCut is wrapped where the last line of a file has no end.
var errCut = errors.New("it is cut short")

// reader reads lines from file to file.
type reader struct {
	path string
	line int   // of the newest line, 1 for the first
	at   int64 // offset behind it
	file *os.File
	buf  *bufio.Reader
}

// open goes on with the file at path.
func (r *reader) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read audit file: %w", err)
	}
	if err := r.Close(); err != nil {
		return errors.Join(err, f.Close())
	}
	*r = reader{path: path, file: f, buf: bufio.NewReaderSize(f, 64<<10)}
	return nil
}

// Close closes the file that is read.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// next returns the file's next line without its newline: io.EOF at its end, and
// errCut if what is left of the file has no newline. After either it may be called
// again, for what was written meanwhile.
func (r *reader) next() ([]byte, error) {
	line, err := r.buf.ReadSlice('\n')
	var long []byte
	for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
		long = append(long, line...)
		line, err = r.buf.ReadSlice('\n')
	}
	if long != nil {
		line = append(long, line...)
	}
	switch {
	case err == nil:
		r.line, r.at = r.line+1, r.at+int64(len(line))
		return line[:len(line)-1], nil
	case errors.Is(err, bufio.ErrBufferFull):
		r.line++
		return nil, r.bad(fmt.Errorf("it has more than %d bytes", maxLine))
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read %s: %w", r.path, err)
	case len(line) == 0:
		return nil, io.EOF
	}
	if _, err := r.file.Seek(r.at, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.path, err)
	}
	r.buf.Reset(r.file)
	return nil, &BadLineError{r.path, r.line + 1, errCut}
}

// bad says what is wrong with the newest line.
func (r *reader) bad(err error) error { return &BadLineError{r.path, r.line, err} }

// Each calls do for each record in the files of dir, the oldest first, or in the
// files named, if there are any. A line that is no record is an error; that the
// records are a whole chain is Verify's to say. It may be used while the record is
// written: a line that is not whole yet ends it.
func Each(dir string, files []string, do func(Record) error) error {
	list, err := namedFiles(dir, files)
	if err != nil {
		return err
	}
	var r reader
	for i, path := range list {
		err := r.each(path, do)
		if i == len(list)-1 && errors.Is(err, errCut) {
			err = nil
		}
		if err != nil {
			return errors.Join(err, r.Close())
		}
	}
	return r.Close()
}

func (r *reader) each(path string, do func(Record) error) error {
	if err := r.open(path); err != nil {
		return err
	}
	for {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		record, err := ParseLine(line)
		if err != nil {
			return r.bad(err)
		}
		if err := do(record); err != nil {
			return err
		}
	}
}

// namedFiles returns paths, or those of all files in dir if there are none.
func namedFiles(dir string, paths []string) ([]string, error) {
	if len(paths) > 0 {
		return paths, nil
	}
	files, err := listFiles(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		paths = append(paths, f.path)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s holds no audit record: %w", dir, fs.ErrNotExist)
	}
	return paths, nil
}

// follow goes on with the file that begins with record seq. It reports false if
// there is none.
func (r *reader) follow(dir string, seq uint64) (bool, error) {
	path := filepath.Join(dir, fileName(seq))
	if path == r.path {
		return false, nil // it has no record yet
	}
	err := r.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
