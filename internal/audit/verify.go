package audit

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
)

// VerifyConfig says what Verify holds the record against.
type VerifyConfig struct {
	// Dir holds the record: its files and its head. A record that is being written
	// may be verified.
	Dir string
	// Files, instead of Dir: some files, in the order of their records. There is no
	// head then, so that what is missing before and after is not found.
	Files []string
	// Key that heads are signed with; nil: they must not be signed, as in a record
	// without an audit key.
	Key *ecdsa.PublicKey
	// Chain that the record must be, in hex. Empty: any.
	Chain string
	// CheckAnchor checks that bundle proves a log entry over statement, signed with
	// Key. nil: anchors are only compared with the record.
	CheckAnchor func(statement, bundle []byte) (Proof, error)
	// Logged are SHA-256 digests of statements that the log holds, signed with
	// Key: each must be over a head of this record.
	Logged [][32]byte

	settlePause time.Duration // 0: settlePause
}

// Proof is where a statement is in a transparency log.
type Proof struct {
	LogIndex int64
	Time     time.Time // by the log's clock
}

// Report is what Verify found, all of it right.
type Report struct {
	Chain      string    `json:"chain"`
	Files      int       `json:"files"`
	Records    uint64    `json:"records"`
	FirstSeq   uint64    `json:"first_seq"`
	LastSeq    uint64    `json:"last_seq"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Signed     bool      `json:"signed"`      // the head over LastSeq is, by the key
	Anchors    int       `json:"anchors"`     // in the record
	Anchored   uint64    `json:"anchored"`    // the newest record that is covered; 0: none
	AnchoredAt time.Time `json:"anchored_at"` // by the log's clock
	LogIndex   int64     `json:"log_index"`   // of the newest anchor
}

// Verify reads a whole record and checks every line, the chain they make, the
// signed head and each anchor. The error is a *BadLineError for the first line
// that is wrong.
func Verify(ctx context.Context, c VerifyConfig) (Report, error) {
	v := &verifier{cfg: c, wanted: map[uint64][32]byte{}, logged: map[[32]byte]bool{}, seen: map[string]bool{}}
	for _, digest := range c.Logged {
		v.logged[digest] = true
	}
	if c.settlePause == 0 {
		v.cfg.settlePause = settlePause
	}
	var err error
	if c.Chain != "" {
		if v.head.Chain, err = parseHash(c.Chain); err != nil {
			return Report{}, fmt.Errorf("chain %q: %w", c.Chain, err)
		}
	}
	err = v.findAnchors()
	if err == nil {
		err = errors.Join(v.verify(ctx), v.reader.Close())
	}
	if err != nil {
		return Report{}, err
	}
	return v.report, nil
}

type verifier struct {
	cfg    VerifyConfig
	reader reader
	chain  chain
	head   Head                // the newest that was read from disk
	torn   bool                // the last line that was read has no end
	seen   map[string]bool     // files
	wanted map[uint64][32]byte // hashes of records that anchors are over
	logged map[[32]byte]bool   // that no record was found for yet
	report Report
}

// findAnchors notes which records anchors are over. They come before their
// anchors, and no reader could keep the hashes of all.
func (v *verifier) findAnchors() error {
	paths, err := namedFiles(v.cfg.Dir, v.cfg.Files)
	if err != nil {
		return err
	}
	var r reader
	for _, path := range paths {
		if err := v.findIn(&r, path); err != nil {
			return errors.Join(err, r.Close())
		}
	}
	return r.Close()
}

func (v *verifier) findIn(r *reader, path string) error {
	if err := r.open(path); err != nil {
		return err
	}
	for {
		line, err := r.next()
		var bad *BadLineError
		if errors.Is(err, io.EOF) || errors.As(err, &bad) {
			return nil // the second reading judges
		}
		if err != nil {
			return err
		}
		v.findAnchor(line)
	}
}

func (v *verifier) findAnchor(line []byte) {
	if !bytes.Contains(line, []byte(`"`+ActionAnchor+`"`)) {
		return
	}
	if r, err := ParseLine(line); err == nil {
		if a, err := parseAnchor(&r); err == nil {
			v.wanted[a.Seq] = [32]byte{}
		}
	}
}

func (v *verifier) verify(ctx context.Context) error {
	var err error
	if len(v.cfg.Files) > 0 {
		err = v.readNamed(ctx)
	} else {
		err = v.readAll(ctx)
	}
	if err != nil {
		return err
	}
	v.report.Records = v.chain.seq - v.report.FirstSeq + 1
	v.report.LastSeq = v.chain.seq
	for digest := range v.logged {
		return fmt.Errorf("the transparency log holds an anchor that is not of this record (statement sha256:%x): the record was put back, or the audit key is used elsewhere", digest)
	}
	return nil
}

// readNamed reads the named files, which may begin anywhere.
func (v *verifier) readNamed(ctx context.Context) error {
	for _, path := range v.cfg.Files {
		if err := v.reader.open(path); err != nil {
			return err
		}
		v.saw()
		if err := v.rest(ctx, 0); err != nil {
			return err
		}
	}
	if !v.chain.started {
		return errors.New("the files hold no record")
	}
	return nil
}

// readAll reads the directory: all records, to the head.
func (v *verifier) readAll(ctx context.Context) error {
	files, err := listFiles(v.cfg.Dir) // before the head, which is over all of them but the newest
	if err != nil {
		return err
	}
	if v.head, _, err = readHead(v.cfg.Dir, v.cfg.Key); err != nil {
		return fmt.Errorf("%w: without a head that holds nobody can tell whether records are missing", err)
	}
	v.chain = chain{started: true} // record 1 is next
	if found, err := v.reader.follow(v.cfg.Dir, 1); err != nil || !found {
		return errors.Join(err, fmt.Errorf("the first file of records (%s) is gone", fileName(1)))
	}
	v.saw()
	if err := v.readFiles(ctx, 0); err != nil {
		return err
	}
	if err := v.settle(ctx); err != nil {
		return err
	}
	if err := v.noOthers(files); err != nil {
		return err
	}
	v.report.Signed = v.cfg.Key != nil
	return nil
}

// readFiles reads on, from file to file, until there are no more lines or record
// last was read (0: no such limit).
func (v *verifier) readFiles(ctx context.Context, last uint64) error {
	for {
		if err := v.rest(ctx, last); err != nil {
			return err
		}
		if v.torn || last != 0 && v.chain.seq >= last {
			return nil
		}
		found, err := v.reader.follow(v.cfg.Dir, v.chain.seq+1)
		if err != nil || !found {
			return err
		}
		v.saw()
	}
}

// saw notes the file that is read now.
func (v *verifier) saw() {
	v.seen[v.reader.path] = true
	v.report.Files++
}

// rest reads on to the end of the file, or record last.
func (v *verifier) rest(ctx context.Context, last uint64) error {
	for last == 0 || v.chain.seq < last {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := v.reader.next()
		v.torn = errors.Is(err, errCut)
		if errors.Is(err, io.EOF) || v.torn && v.mayGrow() {
			return nil
		}
		if err != nil {
			return err
		}
		if err := v.line(line); err != nil {
			return v.reader.bad(err)
		}
	}
	return nil
}

// mayGrow reports whether what is read may be behind the head: then the writer may
// be at it, and settle waits.
func (v *verifier) mayGrow() bool { return len(v.cfg.Files) == 0 && v.chain.seq >= v.head.Seq }

// line checks the next line.
func (v *verifier) line(line []byte) error {
	r, err := ParseLine(line)
	if err != nil {
		return err
	}
	if err := v.chain.next(&r); err != nil {
		return err
	}
	if r.Seq == 1 {
		if err := v.begin(&r); err != nil {
			return err
		}
	}
	if r.Seq == v.head.Seq && r.Hash != v.head.Hash {
		return fmt.Errorf("record %d is not the one that the signed head is over", r.Seq)
	}
	if v.report.FirstSeq == 0 {
		v.report.FirstSeq, v.report.First = r.Seq, r.Time
	}
	v.report.Last = r.Time
	if _, ok := v.wanted[r.Seq]; ok {
		v.wanted[r.Seq] = r.Hash
	}
	if len(v.logged) > 0 {
		delete(v.logged, sha256.Sum256(v.at(r.Seq, r.Hash).Statement()))
	}
	if r.Action == ActionAnchor {
		return v.anchor(&r)
	}
	return nil
}

// begin checks the record that names the chain.
func (v *verifier) begin(r *Record) error {
	if r.Action != ActionBegin {
		return errors.New("the first record does not begin a chain")
	}
	id, err := parseHash(r.Detail["chain"])
	if err != nil {
		return fmt.Errorf("the first record names no chain: %w", err)
	}
	if len(v.cfg.Files) == 0 && id != v.head.Chain {
		return fmt.Errorf("it begins chain %x, the signed head is of chain %x", id, v.head.Chain)
	}
	if v.cfg.Chain != "" && hexString(id) != v.cfg.Chain {
		return fmt.Errorf("it begins chain %x, wanted is %s", id, v.cfg.Chain)
	}
	v.head.Chain = id
	v.report.Chain = hexString(id)
	return nil
}

// at is the head at a record.
func (v *verifier) at(seq uint64, hash [32]byte) Head {
	return Head{Chain: v.head.Chain, Seq: seq, Hash: hash}
}

// anchor checks an anchor against the record and the log.
func (v *verifier) anchor(r *Record) error {
	a, err := parseAnchor(r)
	if err != nil {
		return err
	}
	v.report.Anchors++
	if a.Seq < v.report.FirstSeq || v.head.Chain == [32]byte{} {
		return nil // of what was not given
	}
	if hash := v.wanted[a.Seq]; hash != a.Hash {
		return fmt.Errorf("it anchors record %d with hash %x, that record's hash is %x", a.Seq, a.Hash, hash)
	}
	if v.cfg.CheckAnchor != nil {
		proof, err := v.cfg.CheckAnchor(v.at(a.Seq, a.Hash).Statement(), a.Bundle)
		if err != nil {
			return fmt.Errorf("the anchor of record %d: %w", a.Seq, err)
		}
		v.report.AnchoredAt, v.report.LogIndex = proof.Time, proof.LogIndex
	}
	v.report.Anchored = a.Seq
	return nil
}

// How long a writer may take between its lines and the head over them.
const (
	settleTries = 40
	settlePause = 50 * time.Millisecond
)

// settle reads on until the records end where the signed head is. While the record
// is written, lines come before their head, and there may always be more: then a
// head that has moved on is the end. Otherwise nothing may be behind it.
func (v *verifier) settle(ctx context.Context) error {
	for range settleTries {
		if v.chain.seq < v.head.Seq {
			return v.missing()
		}
		again, _, err := readHead(v.cfg.Dir, v.cfg.Key)
		if err != nil {
			return err
		}
		if again.Seq < v.head.Seq || again.Chain != v.head.Chain {
			return fmt.Errorf("the head went back from record %d to %d while it was read", v.head.Seq, again.Seq)
		}
		moved := again.Seq > v.head.Seq
		v.head = again
		if whole, err := v.endsAt(ctx, again, moved); err != nil || whole {
			return err
		}
		if err := pause(ctx, v.cfg.settlePause); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s:%d: there is more than the signed head is over, which is at record %d: somebody else wrote it, or a process that was cut off; the next start of the stack tells",
		v.reader.path, v.reader.line, v.head.Seq)
}

// endsAt reports whether the records end with head.
func (v *verifier) endsAt(ctx context.Context, head Head, moved bool) (bool, error) {
	if v.chain.seq < head.Seq {
		if err := v.readFiles(ctx, head.Seq); err != nil {
			return false, err
		}
	}
	if v.chain.seq != head.Seq {
		return false, nil
	}
	if v.chain.hash != head.Hash {
		return false, v.reader.bad(fmt.Errorf("record %d is not the one that the signed head is over", head.Seq))
	}
	if moved {
		return true, nil
	}
	if err := v.readFiles(ctx, 0); err != nil {
		return false, err
	}
	return v.chain.seq == head.Seq && !v.torn, nil
}

func (v *verifier) missing() error {
	return fmt.Errorf("%s:%d: records end with %d, the signed head is over record %d: %s",
		v.reader.path, v.reader.line, v.chain.seq, v.head.Seq, gone(v.chain.seq+1, v.head.Seq))
}

// gone names missing records.
func gone(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("record %d is gone", first)
	}
	return fmt.Sprintf("records %d to %d are gone", first, last)
}

// noOthers refuses a file that no record led to. A writer may have begun more
// files than were there at first.
func (v *verifier) noOthers(files []dataFile) error {
	for _, f := range files {
		if !v.seen[f.path] && f.first != v.chain.seq+1 { // which a writer may have begun just then
			return fmt.Errorf("%s:1: it would be record %d, and the records end with %d", f.path, f.first, v.chain.seq)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
