package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"sigstack/internal/durable"
)

// Names in the folder. Only the plan, signatures and transcript are this package's
// own; the rest is listed in the plan with its digest.
const (
	planFile        = "ceremony.json"
	transcriptFile  = "transcript.jsonl"
	draftRoot       = "root.draft.json"
	draftTargets    = "targets.draft.json"
	currentRoot     = "current/root.json"
	currentTargets  = "current/targets.json"
	dirFiles        = "files/"
	dirCurrentFiles = "current/files/"
	dirSignatures   = "signatures"
)

// format is the plan's first word: another one is another program's folder.
const format = "sigstack-tuf-ceremony-v1"

// Limits keep a foreign medium from filling the memory.
const (
	maxFile  = 16 << 20 // bytes
	maxFiles = 1000
	maxText  = 200 // characters of a title or a name
)

var (
	listedName = regexp.MustCompile(`^(root\.draft\.json|targets\.draft\.json|current/(root|targets)\.json|(current/)?files/[A-Za-z0-9][A-Za-z0-9._-]{0,127})$`)
	hexDigest  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// plan is the content of planFile, whose digest is the ceremony's ID.
type plan struct {
	Format  string    `json:"format"`
	Title   string    `json:"title"`
	Started time.Time `json:"started"`
	Until   time.Time `json:"until"` // nobody signs after it
	Files   []listed  `json:"files"` // by name
}

// listed is a file of the folder.
type listed struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

func newPlan(title string, started, until time.Time, files map[string][]byte) plan {
	p := plan{Format: format, Title: title, Started: wholeSeconds(started), Until: wholeSeconds(until)}
	for name, data := range files {
		p.Files = append(p.Files, listed{name, digest(data)})
	}
	slices.SortFunc(p.Files, func(a, b listed) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func parsePlan(data []byte) (plan, error) {
	p, err := decode[plan](data)
	if err != nil {
		return plan{}, err
	}
	return p, p.check()
}

func (p plan) check() error {
	switch {
	case p.Format != format:
		return fmt.Errorf("format %q is not %s", p.Format, format)
	case p.Started.IsZero() || !p.Until.After(p.Started):
		return errors.New("it ends before it starts")
	case len(p.Files) == 0 || len(p.Files) > maxFiles:
		return fmt.Errorf("it lists %d files", len(p.Files))
	}
	if err := plainText(p.Title); err != nil {
		return fmt.Errorf("title: %w", err)
	}
	for i, f := range p.Files {
		switch {
		case !listedName.MatchString(f.Name):
			return fmt.Errorf("it lists %q, which is no file of a ceremony", f.Name)
		case i > 0 && p.Files[i-1].Name >= f.Name:
			return fmt.Errorf("it lists %s out of order", f.Name)
		case !hexDigest.MatchString(f.SHA256):
			return fmt.Errorf("digest %q of %s is none", f.SHA256, f.Name)
		}
	}
	return nil
}

// decode reads JSON that encode has written, and no other spelling of it.
func decode[T any](data []byte) (T, error) {
	var v, none T
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return none, fmt.Errorf("not as this program writes it: %w", err)
	}
	again, err := encode(v)
	if err != nil {
		return none, err
	}
	if !bytes.Equal(again, data) {
		return none, fmt.Errorf("not as this program writes it: %w", ErrChanged)
	}
	return v, nil
}

// encode writes one line of JSON, with its end.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(data, '\n'), nil
}

// plainText demands a line that a terminal shows as it is.
func plainText(s string) error {
	runes := []rune(s)
	if strings.TrimSpace(s) == "" || len(runes) > maxText || strings.ContainsRune(s, unicode.ReplacementChar) || !all(runes, unicode.IsPrint) {
		return fmt.Errorf("%q is no line of 1 to %d printable characters", s, maxText)
	}
	return nil
}

func all(runes []rune, is func(rune) bool) bool {
	return !slices.ContainsFunc(runes, func(r rune) bool { return !is(r) })
}

// changed makes sure that an error matches ErrChanged, or says what else it is.
func changed(err error) error {
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrWrongKey) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrChanged)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// folder reads files that lie in a directory, and none that a link leads to.
type folder struct{ *os.Root }

func openFolder(dir string) (folder, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return folder{}, fmt.Errorf("open folder: %w", err)
	}
	return folder{r}, nil
}

func (f folder) read(name string) (data []byte, err error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("read %s: not a file of at most %d MiB", name, maxFile>>20)
	}
	if data, err = io.ReadAll(io.LimitReader(file, maxFile)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// names lists a directory, without the hidden files that systems leave on media;
// interrupted writes leave such ones, too.
func (f folder) names(dir string) ([]string, error) {
	entries, err := fs.ReadDir(f.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("list %s: it holds more than %d files", dir, maxFiles)
	}
	return names, nil
}

// vacant demands a folder in which a ceremony can start.
func vacant(dir string) error {
	r, err := openFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	switch _, err := r.Lstat(planFile); {
	case err == nil:
		return fmt.Errorf("%s: %w; go on with it, or take another folder", dir, ErrExists)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look into folder: %w", err)
	}
	names, err := r.names(dirSignatures)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%s holds signatures of another ceremony: take an empty folder", dir)
	}
	return err
}

// write writes the plan last: without it there is no ceremony.
func (c *Ceremony) write() error {
	data, err := encode(c.plan)
	if err != nil {
		return err
	}
	c.id = digest(data)
	if err := durable.MkdirAll(filepath.Join(c.folder, dirSignatures), 0o755); err != nil {
		return err
	}
	for _, f := range c.plan.Files {
		if err := c.put(f.Name, c.files[f.Name]); err != nil {
			return err
		}
	}
	if err := c.writeLines([]Line{{What: WhatStart, At: c.plan.Started, Ceremony: c.id}}); err != nil {
		return err
	}
	return c.put(planFile, data)
}

// put replaces a file. Media with FAT know no hard links, so no file is created in
// the way that fails when its name is taken.
func (c *Ceremony) put(name string, data []byte) error {
	path := filepath.Join(c.folder, filepath.FromSlash(name))
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return c.disk()(path, data, 0o644)
}
