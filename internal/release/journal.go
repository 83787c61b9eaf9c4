package release

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// JournalSuffix makes the name of a tree's journal, which lies beside the tree: nothing
// of it is published.
const JournalSuffix = ".signing.jsonl"

// maxJournalLine bounds a line, in bytes.
const maxJournalLine = 64 << 10

// ErrJournalInUse says that another run writes the journal.
var ErrJournalInUse = errors.New("another run signs this tree")

// JournalLine is a signature that was made, on disk before any service sees it: every
// entry of the log that a run makes is explained by one. It is of a file or of an image.
type JournalLine struct {
	At          time.Time `json:"at"`
	Path        string    `json:"path,omitempty"` // of the file, in the tree, with slashes
	SHA256      string    `json:"sha256"`         // of the file, or what the signature of the image is over; hex
	Signature   []byte    `json:"signature"`      // ASN.1 ECDSA
	Certificate string    `json:"certificate"`    // PEM, or that of a bare key

	// Of an image; lines that older versions wrote have none of these.
	Image   string    `json:"image,omitempty"`   // registry/repository@sha256:<hex>
	Storage oci.Style `json:"storage,omitempty"` // style of the signature
	Payload []byte    `json:"payload,omitempty"` // what was signed: simple signing payload or statement
}

// key is what a newer line replaces an older one of.
func (l JournalLine) key() string {
	if l.Image != "" {
		return imageKey(l.Image, l.Storage)
	}
	return l.Path
}

// imageKey is like no path: those never begin with a NUL.
func imageKey(image string, style oci.Style) string { return "\x00" + string(style) + "\x00" + image }

func (l JournalLine) draft() (signing.Draft, error) {
	d := signing.Draft{Signature: l.Signature, Verifier: []byte(l.Certificate)}
	if n, err := hex.Decode(d.Digest[:], []byte(l.SHA256)); err != nil || n != len(d.Digest) || hex.EncodeToString(d.Digest[:]) != l.SHA256 {
		return signing.Draft{}, fmt.Errorf("digest %q is not a SHA-256", l.SHA256)
	}
	if len(l.Signature) == 0 || l.Certificate == "" {
		return signing.Draft{}, errors.New("signature or certificate is missing")
	}
	if (l.Path == "") == (l.Image == "") {
		return signing.Draft{}, errors.New("want either a path or an image")
	}
	if l.Image == "" {
		if l.Storage != "" || l.Payload != nil {
			return signing.Draft{}, errors.New("a file has neither storage nor payload")
		}
		return d, nil
	}
	if err := l.Storage.Check(); err != nil {
		return signing.Draft{}, err
	}
	if len(l.Payload) == 0 || oci.SignedDigest(l.Storage, l.Payload) != d.Digest {
		return signing.Draft{}, errors.New("the digest is not the payload's")
	}
	return d, nil
}

// ParseJournal reads a journal. What follows the last end of a line is the line that a
// crash cut short, of a signature that nobody has seen; whole is what comes before.
func ParseJournal(r io.Reader) (lines []JournalLine, whole int64, err error) {
	in := bufio.NewReaderSize(r, maxJournalLine)
	for {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return lines, whole, nil
		}
		if err != nil { // a line that is too long, too
			return nil, 0, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		var l JournalLine
		if err := dec.Decode(&l); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("line %d: more than one object", len(lines)+1)
		}
		if _, err := l.draft(); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		lines, whole = append(lines, l), whole+int64(len(text))
	}
}

// journal is an open one, of one run. It is safe for concurrent use.
type journal struct {
	file *os.File
	last map[string]signing.Draft // of earlier runs, the newest of each JournalLine.key

	mu      sync.Mutex // guards what is below, and writing
	written int64      // lines of this run
	failed  error

	syncing sync.Mutex // held while syncing; guards synced
	synced  int64
}

// openJournal opens or makes the journal at path, and keeps other runs out of it.
func openJournal(path string) (_ *journal, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrJournalInUse
		}
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	lines, whole, err := ParseJournal(f)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w; move it away to sign without it: entries of the log that it explains then seem to come from nowhere", path, err)
	}
	if err := f.Truncate(whole); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	// The name must survive a power cut with the first line.
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{file: f, last: map[string]signing.Draft{}}
	for _, l := range lines {
		if j.last[l.key()], err = l.draft(); err != nil {
			return nil, fmt.Errorf("read journal %s: %w", path, err)
		}
	}
	return j, nil
}

// ReadJournal reads the journal at path; without one there are no lines.
func ReadJournal(path string) (lines []JournalLine, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if lines, _, err = ParseJournal(f); err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	return lines, nil
}

// note writes a line and returns when it is on disk. Lines that come while others are
// synced share the next sync.
func (j *journal) note(l JournalLine) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if len(text) >= maxJournalLine {
		return fmt.Errorf("write journal: the line of %s has %d bytes", cmp.Or(l.Path, l.Image), len(text))
	}
	at, err := j.write(append(text, '\n'))
	if err != nil {
		return err
	}
	return j.sync(at)
}

// write returns how many lines there are then.
func (j *journal) write(line []byte) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		if _, err := j.file.Write(line); err != nil {
			j.failed = fmt.Errorf("write journal: %w", err) // there may be half a line
		}
	}
	if j.failed != nil {
		return 0, j.failed
	}
	j.written++
	return j.written, nil
}

func (j *journal) sync(at int64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.synced >= at {
		return nil
	}
	runtime.Gosched() // whoever is about to write a line shares this sync
	j.mu.Lock()
	written, failed := j.written, j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if err := j.file.Sync(); err != nil {
		// What a second sync says of pages that the first one lost cannot be relied on.
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed = fmt.Errorf("write journal: %w", err)
		return j.failed
	}
	j.synced = written
	return nil
}

func (j *journal) close() error {
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
