// Package fsck checks a stopped log directory from its stored bytes up, every file of
// the database, every row, every head, and logs in a database of their own; and it
// makes again what services keep of entries. It never changes what it checks. Which
// rows a service keeps of an entry is told by who calls; the layout of rows in a
// directory is pebblelog's.
package fsck

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// Kind says what is wrong with a row or a file.
type Kind string

// The kinds of problems.
const (
	Missing    Kind = "missing"
	Differs    Kind = "differs"
	Extra      Kind = "extra"      // nothing leads to it
	Unreadable Kind = "unreadable" // the disk's or the database's own checks refuse it
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind Kind `json:"kind"`
	// What it is: leaf, node, identity, leaf hash, search, attestation, root, tree,
	// layout, checkpoint file, wal, table, manifest, options, file, ...
	What string `json:"what"`
	Log  string `json:"log,omitempty"` // the tree's name
	// Index is the entry's in its tree, if it is about one.
	Index *uint64 `json:"index,omitempty"`
	Field string  `json:"field,omitempty"`
	File  string  `json:"file,omitempty"`
	// Where is the row's key, or the range of keys.
	Where  string `json:"where,omitempty"`
	Detail string `json:"detail"`
}

func (p Problem) String() string {
	s := string(p.Kind) + ": "
	if p.Log != "" {
		s += p.Log + ": "
	}
	s += p.What
	if p.Index != nil {
		s += fmt.Sprintf(" of entry %d", *p.Index)
	}
	if p.File != "" {
		s += " " + p.File
	}
	if p.Where != "" {
		s += " (" + p.Where + ")"
	}
	if p.Field != "" {
		s += ", " + p.Field
	}
	return s + ": " + p.Detail
}

// Row is a row that an entry must have beside its leaf.
type Row struct {
	merkle.Row
	// Shared rows may be of several entries; their value is Service.Sound's to
	// judge. Optional ones need not be there.
	Shared, Optional bool
}

// Service tells what rows belong to an entry.
type Service struct {
	// What names the rows with a key, such as search.
	What func(key []byte) string
	// Rows returns the rows of an entry; none twice. It may be called by several
	// goroutines at once.
	Rows func(e merkle.Entry) ([]Row, error)
	// Shared tells rows that several entries may have by their key.
	Shared func(key []byte) bool
	// Sound judges the value of a shared row.
	Sound func(key, value []byte) error
}

// Tree is a tree that has to be in the directory.
type Tree struct {
	Name string
	ID   int64
	// HeadFile is where its newest head is kept outside the database.
	HeadFile string
	// FinalHead is a file beside HeadFile that the tree has if its service keeps the
	// last head as it was signed; "": none. It is not looked into.
	FinalHead string
	// Refreshed trees get new roots without new entries.
	Refreshed bool
	// Service is whose entries they are; nil: no row beside the leaves.
	Service *Service
}

// Config of a check.
type Config struct {
	// Dir is the database's directory. Nobody may have it open.
	Dir string
	FS  vfs.FS // nil: the operating system's
	// Heads is the directory that holds the head files and nothing else.
	Heads string
	Trees []Tree
	// Prepared are trees that may be there too, without an entry; of each Name and ID
	// alone count.
	Prepared []Tree
	// Limit is how many problems are reported one by one. Zero: 1000.
	Limit int
	// Progress is called now and then with how far a step is; nil: nobody asks.
	Progress func(step string, done, total uint64)
}

const defaultLimit = 1000

// TreeReport is what a check found in a tree.
type TreeReport struct {
	Name string `json:"log"`
	ID   int64  `json:"tree_id,string"`
	Size uint64 `json:"entries"`
	Root string `json:"root"` // hex, over all entries
	Rows uint64 `json:"rows"` // all but the leaves
}

// Report is what a check found.
type Report struct {
	Trees    []TreeReport `json:"logs"`
	Files    int          `json:"files"` // of the database, looked at byte by byte
	Problems []Problem    `json:"problems"`
	// Count is how many there are, those left out included.
	Count uint64 `json:"count"`
	// Notes are what is no damage but worth knowing.
	Notes []string `json:"notes"`
}

// Run checks a directory. What is wrong is in the report; the error says why it
// could not be looked at.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	k := newChecker(c)
	if err := k.run(ctx); err != nil {
		return nil, fmt.Errorf("check %s: %w", c.Dir, err)
	}
	return k.report, nil
}

type checker struct {
	Config
	report  *Report
	lengths map[string]int64 // up to where files of records can be read
	damaged []keyRange       // that no table can be read in, in order
	view    *pebblelog.View
}

func newChecker(c Config) *checker {
	if c.Limit == 0 {
		c.Limit = defaultLimit
	}
	if c.Progress == nil {
		c.Progress = func(string, uint64, uint64) {}
	}
	return &checker{Config: c, report: &Report{Problems: []Problem{}, Notes: []string{}, Trees: []TreeReport{}}}
}

func (k *checker) problem(p Problem) {
	k.report.Count++
	if len(k.report.Problems) < k.Limit {
		k.report.Problems = append(k.report.Problems, p)
	}
}

func (k *checker) note(format string, args ...any) {
	k.report.Notes = append(k.report.Notes, fmt.Sprintf(format, args...))
}

func (k *checker) run(ctx context.Context) error {
	readable, err := k.checkFiles(ctx)
	if err != nil || !readable {
		return err
	}
	store, err := pebblelog.OpenReadOnly(k.Dir, pebblelog.ReadOptions{FS: k.FS, Lengths: k.lengths})
	if err != nil {
		k.problem(Problem{Kind: Unreadable, What: "database", File: filepath.Base(k.Dir), Detail: err.Error() + "; no row of it was checked"})
		return k.checkHeadsDir(nil)
	}
	if err := k.checkTables(ctx, store); err != nil {
		return errors.Join(err, store.Close())
	}
	k.view, err = store.View()
	if err == nil {
		err = errors.Join(k.checkRows(ctx), k.view.Close())
	}
	return errors.Join(err, store.Close())
}

func (k *checker) checkRows(ctx context.Context) error {
	if err := k.checkTreeRows(ctx); err != nil {
		return err
	}
	for _, t := range k.Trees {
		if err := newTreeChecker(k, t).run(ctx); err != nil {
			return err
		}
	}
	return k.checkHeadsDir(k.Trees)
}

// sharedID is a short name of a key.
func sharedID(key []byte) [16]byte {
	sum := sha256.Sum256(key)
	return [16]byte(sum[:16])
}
