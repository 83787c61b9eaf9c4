package rotate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigstack/internal/durable"
)

// journalVersion is that of the file's format.
const journalVersion = 1

// Bounds of a journal.
const (
	maxJournal = 1 << 20 // bytes
	maxFact    = 64 << 10
)

// Journal is how far a rotation has come.
type Journal struct {
	Version  int       `json:"version"`
	What     string    `json:"what"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"` // zero: not yet
	Steps    []Record  `json:"steps"`             // all of them, in their order
	Facts    Facts     `json:"facts"`
}

// Record is one step of a journal.
type Record struct {
	Name string `json:"name"`
	// From is the time that the step waits for, or waited for; zero: none.
	From time.Time `json:"from,omitzero"`
	// Begun is when it was last begun. A step that is begun and not done may or may
	// not have happened.
	Begun time.Time `json:"begun,omitzero"`
	Done  time.Time `json:"done,omitzero"`
	// Failure is why it could not be done when it was tried last.
	Failure string `json:"failure,omitempty"`
}

// Next returns the index of the first step that is not done, the number of steps if
// all are.
func (j *Journal) Next() int {
	i := slices.IndexFunc(j.Steps, func(r Record) bool { return r.Done.IsZero() })
	if i < 0 {
		return len(j.Steps)
	}
	return i
}

// Decode reads a journal and accepts nothing that is not whole.
func Decode(data []byte) (*Journal, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var j Journal
	if err := dec.Decode(&j); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	return &j, j.check()
}

func (j *Journal) check() error {
	switch {
	case j.Version != journalVersion:
		return fmt.Errorf("version %d, this program reads %d", j.Version, journalVersion)
	case !isWord(j.What):
		return fmt.Errorf("it is of %q, which is nothing that is rotated", j.What)
	case len(j.Steps) == 0:
		return errors.New("no step is in it")
	case j.Started.IsZero():
		return errors.New("it was never started")
	}
	next, seen := j.Next(), map[string]bool{}
	for i, r := range j.Steps {
		switch {
		case !isWord(r.Name) || seen[r.Name]:
			return fmt.Errorf("step %d has no name of its own", i+1)
		case i > next && r != Record{Name: r.Name}:
			return fmt.Errorf("step %s comes before one that is not done", r.Name)
		case !r.Done.IsZero() && (r.Begun.IsZero() || r.Failure != ""):
			return fmt.Errorf("step %s is done, and was never begun or failed", r.Name)
		case r.Failure != "" && r.Begun.IsZero():
			return fmt.Errorf("step %s failed, and was never begun", r.Name)
		}
		seen[r.Name] = true
	}
	if !j.Finished.IsZero() && next < len(j.Steps) {
		return errors.New("it is finished, and a step is not done")
	}
	for name, value := range j.Facts {
		if !isWord(name) || len(value) > maxFact {
			return fmt.Errorf("fact %.70q has no name, or is too long", name)
		}
	}
	return nil
}

func (j *Journal) encode() ([]byte, error) {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode journal: %w", err)
	}
	return append(data, '\n'), nil
}

// File is the journal of a rotation that is not finished, in the directory of all of
// them.
func File(dir, what string) string { return filepath.Join(dir, what+".json") }

// doneDir holds the journals of finished rotations.
func doneDir(dir string) string { return filepath.Join(dir, "done") }

// Read reads the journal of a rotation that is under way; nil if there is none. One
// that is finished is there if its process was interrupted at the very end.
func Read(dir, what string) (*Journal, error) {
	path := File(dir, what)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(file, maxJournal+1))
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	if len(data) > maxJournal {
		return nil, fmt.Errorf("read journal %s: it has more than %d bytes", path, maxJournal)
	}
	j, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	if j.What != what {
		return nil, fmt.Errorf("read journal %s: it is of %s", path, j.What)
	}
	return j, nil
}

// List reads the journals of all rotations, those under way first, then the finished
// ones, the latest first.
func List(dir string) (out []*Journal, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list rotations: %w", err)
	}
	for _, e := range entries {
		if what, ok := strings.CutSuffix(e.Name(), ".json"); ok && isWord(what) {
			j, err := Read(dir, what)
			if err != nil {
				return nil, err
			}
			out = append(out, j)
		}
	}
	done, err := os.ReadDir(doneDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list rotations: %w", err)
	}
	finished := []*Journal{}
	for _, e := range done {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(doneDir(dir), e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list rotations: %w", err)
		}
		j, err := Decode(data)
		if err != nil {
			return nil, fmt.Errorf("read journal %s: %w", e.Name(), err)
		}
		finished = append(finished, j)
	}
	slices.SortStableFunc(finished, func(a, b *Journal) int { return b.Started.Compare(a.Started) })
	return append(out, finished...), nil
}

// writer writes the journal of one rotation.
type writer struct {
	dir   string
	point func() error // as Runner's
	kept  func() error // as Runner's
}

// between does a change of a file, with the points before and after it.
func (w writer) between(change func() error) error {
	if err := w.point(); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return w.point()
}

func (w writer) write(j *Journal) error {
	data, err := j.encode()
	if err != nil {
		return err
	}
	if len(data) > maxJournal {
		return fmt.Errorf("write journal of %s: it has more than %d bytes", j.What, maxJournal)
	}
	if err := w.between(func() error { return durable.WriteFile(File(w.dir, j.What), data, 0o600) }); err != nil {
		return err
	}
	return w.kept()
}

// archive moves the journal of a finished rotation to those. The name tells when it
// was started, which no other of its kind was.
func (w writer) archive(j *Journal) error {
	if err := durable.MkdirAll(doneDir(w.dir), 0o700); err != nil {
		return err
	}
	name := j.What + "-" + j.Started.UTC().Format("20060102T150405.000000000Z") + ".json"
	err := w.between(func() error { return os.Rename(File(w.dir, j.What), filepath.Join(doneDir(w.dir), name)) })
	if err != nil {
		return fmt.Errorf("keep the journal of %s: %w", j.What, err)
	}
	if err := errors.Join(durable.SyncDir(doneDir(w.dir)), durable.SyncDir(w.dir)); err != nil {
		return err
	}
	if err := w.kept(); err != nil {
		return fmt.Errorf("the rotation of %s is finished here: %w", j.What, err)
	}
	return nil
}
