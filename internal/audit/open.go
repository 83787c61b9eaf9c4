package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	defaultFileSize = 16 << 20
	defaultEvery    = time.Hour
)

// Open opens the record in o.Dir for writing, and begins one where there is none
// and o.Chain is empty. It checks the newest file line by line and how the others
// join, tidies up what a crash left behind its head, and records that it did. Any
// other doubt about the record is an error that names the line: Verify checks all
// of it.
func Open(ctx context.Context, o Options) (*Log, error) {
	l, err := newLog(o)
	if err != nil {
		return nil, fmt.Errorf("open audit record: %w", err)
	}
	if err := l.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit record: %w", err), l.release())
	}
	return l, nil
}

func newLog(o Options) (*Log, error) {
	if o.Dir == "" || o.Now == nil || o.Log == nil {
		return nil, errors.New("directory, clock and logger are needed")
	}
	if o.FileSize == 0 {
		o.FileSize = defaultFileSize
	}
	if o.AnchorEvery == 0 {
		o.AnchorEvery = defaultEvery
	}
	if o.fs == nil {
		o.fs = disk{}
	}
	l := &Log{opts: o, turn: make(chan struct{}, 1), metrics: newMetrics(o.Metrics)}
	l.health.report = o.Report
	l.folds.init()
	var err error
	l.key, err = publicKey(o.Signer)
	return l, err
}

// release closes what a failed Open has opened.
func (l *Log) release() error {
	var errs []error
	if l.out != nil {
		errs = append(errs, l.out.Close())
	}
	if l.heads != nil {
		errs = append(errs, l.heads.Close())
	}
	return errors.Join(errs...)
}

func (l *Log) load(ctx context.Context) error {
	files, err := listFiles(l.opts.Dir)
	if err != nil {
		return err
	}
	head, slot, err := readHead(l.opts.Dir, l.key)
	if errors.Is(err, fs.ErrNotExist) && l.opts.Chain == "" && l.neverBegun(files) {
		return l.begin(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: the record's end cannot be told; restore %s from a backup", err, l.opts.Dir)
	}
	l.chain = head.Chain
	if want := l.opts.Chain; want != "" && want != l.Chain() {
		return fmt.Errorf("%s holds chain %s, the configuration names %s", l.opts.Dir, l.Chain(), want)
	}
	left, err := recoverFiles(files, head)
	if err != nil {
		return err
	}
	return l.resume(ctx, head, 1-slot, left)
}

// neverBegun reports whether files are what begin leaves when it is cut off:
// nothing, or one file of one line.
func (l *Log) neverBegun(files []dataFile) bool {
	if len(files) == 0 {
		return true
	}
	data, err := os.ReadFile(files[0].path)
	return err == nil && len(files) == 1 && files[0].first == 1 && bytes.Count(data, []byte("\n")) <= 1
}

// begin makes a new chain.
func (l *Log) begin(ctx context.Context) error {
	_, _ = rand.Read(l.chain[:]) // never fails (crypto/rand)
	if err := l.openFiles(filepath.Join(l.opts.Dir, fileName(1)), 0, 0); err != nil {
		return err
	}
	l.newest.Store(&Head{Chain: l.chain})
	return l.write(ctx, &pending{raw: true, event: Event{
		Action: ActionBegin, Outcome: OK, Service: "audit",
		Detail: map[string]string{"chain": l.Chain()},
	}})
}

// openFiles opens the file to go on with, of which the first size bytes are
// acknowledged, or can be, and cuts it there.
func (l *Log) openFiles(path string, size, slot int64) (err error) {
	if l.heads, err = openHeads(l.opts.fs, l.opts.Dir, slot); err != nil {
		return err
	}
	if l.out, err = l.opts.fs.Open(path); err != nil {
		return fmt.Errorf("open audit file: %w", err)
	}
	l.path, l.size = path, size
	if err := l.out.Truncate(size); err != nil {
		return fmt.Errorf("cut audit file: %w", err)
	}
	return nil
}

// leftover is what lies behind the head: written, but answered to nobody.
type leftover struct {
	path     string // the newest file
	size     int64  // of its whole lines
	last     Head   // the last whole line; Seq 0: the head's
	cut      int64  // bytes behind the whole lines
	anchored uint64 // newest anchored record in the newest file; 0: none
}

// resume goes on behind head. Whole lines behind it are kept: what they tell of
// was done, if not answered. They were not under a signed head when the process
// ended, so that the record which covers them names them.
func (l *Log) resume(ctx context.Context, head Head, slot int64, left leftover) error {
	if err := l.openFiles(left.path, left.size, slot); err != nil {
		return err
	}
	l.anchors.done.Store(left.anchored)
	l.newest.Store(&head)
	if left.last.Seq == 0 && left.cut == 0 {
		return nil
	}
	detail := map[string]string{"cut_bytes": strconv.FormatInt(left.cut, 10)}
	if left.last.Seq > 0 {
		detail["first_unacknowledged"] = strconv.FormatUint(head.Seq+1, 10)
		detail["last_unacknowledged"] = strconv.FormatUint(left.last.Seq, 10)
		left.last.Chain = head.Chain
		l.newest.Store(&left.last)
	}
	l.opts.Log.WarnContext(ctx, "the last run was cut off while it wrote the audit record", slog.Any("found", detail))
	return l.write(ctx, &pending{raw: true, event: Event{Action: ActionRecover, Outcome: OK, Service: "audit", Detail: detail}})
}

// recoverFiles checks the files' joints, the lines up to head in the newest file,
// and what is behind head, which a crash may have left there.
func recoverFiles(files []dataFile, head Head) (leftover, error) {
	at := holding(files, head.Seq)
	if at < 0 || files[0].first != 1 {
		return leftover{}, fmt.Errorf("the first file of records is gone (want %s): restore it from a backup", fileName(1))
	}
	if behind := files[at+1:]; len(behind) > 1 || len(behind) == 1 && behind[0].first != head.Seq+1 {
		return leftover{}, fmt.Errorf("%s begins behind the head, which is at record %d: the head file is older than the records", behind[0].path, head.Seq)
	}
	var c chain
	for i := 1; i <= at; i++ {
		if err := c.join(files[i-1], files[i].first); err != nil {
			return leftover{}, err
		}
	}
	left, err := recoverFile(files[at], c, head)
	if err != nil || at+1 == len(files) {
		return left, err
	}
	if left.last.Seq > 0 || left.cut > 0 {
		return left, fmt.Errorf("%s goes on behind record %d, where %s begins", files[at].path, head.Seq, files[at+1].path)
	}
	anchored := left.anchored
	left, err = recoverFile(files[at+1], chain{started: true, seq: head.Seq, hash: head.Hash}, head)
	left.anchored = max(anchored, left.anchored)
	return left, err
}

// join reads the last line of a file, behind which a file begins with record
// next, and makes c stand there.
func (c *chain) join(f dataFile, next uint64) error {
	line, _, err := lastLine(f.path)
	if err != nil {
		return err
	}
	r, err := ParseLine(line)
	if err != nil {
		return fmt.Errorf("last line of %s: %w", f.path, err)
	}
	if r.Seq != next-1 {
		return fmt.Errorf("%s ends with record %d, and the next file begins with %d: records between are gone", f.path, r.Seq, next)
	}
	*c = chain{started: true, seq: r.Seq, hash: r.Hash}
	return nil
}

// recoverFile reads a file of which all up to head must be right.
func recoverFile(f dataFile, c chain, head Head) (leftover, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return leftover{}, fmt.Errorf("read audit file: %w", err)
	}
	left := leftover{path: f.path}
	if !c.started {
		c = chain{started: true} // record 1 is next
	}
	for n := 1; len(data) > 0; n++ {
		covered := c.seq < head.Seq // whether this line has to be right
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		r, err := ParseLine(line)
		if err == nil && !whole {
			err = errors.New("it is cut short")
		}
		if err == nil {
			err = c.next(&r)
		}
		if err == nil && r.Seq == head.Seq && r.Hash != head.Hash {
			err = fmt.Errorf("record %d is not the one that the head is over: its hash is %x, the head's %x", r.Seq, r.Hash, head.Hash)
		}
		if err != nil && covered {
			return left, &BadLineError{f.path, n, err}
		}
		if err != nil {
			break // what a crash left
		}
		left.took(&r, head)
		left.size, data = left.size+int64(len(line))+1, rest
	}
	if c.seq < head.Seq {
		return left, fmt.Errorf("%s ends with record %d, the head is at %d: records are gone; restore the directory from a backup", f.path, c.seq, head.Seq)
	}
	left.cut = int64(len(data))
	return left, left.check(head)
}

// took notes a record that is right.
func (left *leftover) took(r *Record, head Head) {
	if r.Seq > head.Seq {
		left.last = Head{Seq: r.Seq, Hash: r.Hash}
	}
	if a, err := parseAnchor(r); r.Action == ActionAnchor && err == nil {
		left.anchored = a.Seq
	}
}

// check refuses more behind the head than one commit can have written.
func (left *leftover) check(head Head) error {
	if left.last.Seq > head.Seq+maxBatch || left.cut > maxBatchBytes+maxLine {
		return fmt.Errorf("%s goes on for more behind record %d, where the head is, than a crash leaves there: the head file is older than the records; restore the directory from a backup",
			left.path, head.Seq)
	}
	return nil
}

func hexString(b [32]byte) string { return hex.EncodeToString(b[:]) }
