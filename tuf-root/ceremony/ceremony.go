// Package ceremony owns the folder on removable media in which the drafts of a TUF
// root and targets go from signer to signer: what is in it, who has signed, and a
// hash-chained transcript of it. Nothing in the folder is believed: all of it is
// checked when it is opened and before each signature. Drafts and what becomes of
// them belong to package tufroot; keys, questions and printing to the command.
package ceremony

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// What the errors of this package match; each says what to do next.
var (
	// ErrExists: the folder holds a ceremony already.
	ErrExists = errors.New("the folder holds a ceremony already")
	// ErrChanged: what is in the folder is not what the ceremony began with.
	ErrChanged = errors.New("the folder of the ceremony was changed")
	// ErrExpired: the ceremony, or a draft, is too old to be signed.
	ErrExpired = errors.New("the ceremony has expired")
	// ErrStale: what is published is no longer what the drafts follow upon.
	ErrStale = errors.New("the drafts are overtaken")
	// ErrWrongKey: no role asks for the key.
	ErrWrongKey = errors.New("this key is not asked for")
	// ErrSigned: the key has signed all that it can.
	ErrSigned = errors.New("this key has signed already")
	// ErrTooFew: a role has fewer signatures than it needs.
	ErrTooFew = errors.New("signatures are missing")
)

// life of a ceremony whose proposal says nothing else.
const life = 30 * 24 * time.Hour

// skew is how far a signer's clock may be behind the one that started the ceremony.
const skew = 24 * time.Hour

// Proposal is what is to be signed.
type Proposal struct {
	Title string // one line, for the signers
	// Root and Targets are unsigned drafts; one of them may be nil. Targets alone need
	// CurrentRoot.
	Root, Targets []byte
	// CurrentRoot and CurrentTargets are the published metadata, nil when the ceremony
	// makes the first. The drafts must follow upon them.
	CurrentRoot, CurrentTargets []byte
	// Files are those that Targets names. CurrentFiles are those of CurrentTargets, so
	// that signers are told in words what changes; without them they are told digests.
	Files, CurrentFiles []trust.Target
	Now                 time.Time
	Until               time.Time // nobody signs after it; the zero time is 30 days from Now
}

// Ceremony is an open folder. It is not for concurrent use.
type Ceremony struct {
	folder string
	plan   plan
	id     string
	files  map[string][]byte // of plan.Files, by name

	root, targets               *tufroot.Document // drafts, nil without
	currentRoot, currentTargets *tufroot.Document // nil without

	needs      []need
	signatures []signature // valid ones, each in a file
	lines      []Line

	writeFile func(path string, data []byte, perm fs.FileMode) error // nil: durably
}

// ID names the ceremony: it is the digest, in hex, of all that is proposed. Signers
// who compare it by another way know that they sign the same.
func (c *Ceremony) ID() string { return c.id }

// Title returns the proposal's title.
func (c *Ceremony) Title() string { return c.plan.Title }

// Files returns the files that the draft of targets names, with their custom metadata.
func (c *Ceremony) Files() []trust.Target { return c.targetFiles(c.targets, dirFiles) }

// CurrentRoot returns the published root that the drafts follow upon, nil when they
// are the first.
func (c *Ceremony) CurrentRoot() []byte { return c.files[currentRoot] }

// Start checks a proposal and writes it to folder, which is made if it is missing.
// The error matches ErrExists, and nothing is touched, if it holds a ceremony. An
// interrupted Start leaves none, and can be repeated.
func Start(folder string, p Proposal) (*Ceremony, error) {
	if err := vacant(folder); err != nil {
		return nil, fmt.Errorf("start ceremony: %w", err)
	}
	c, err := propose(folder, p)
	if err != nil {
		return nil, fmt.Errorf("start ceremony: %w", err)
	}
	if err := c.write(); err != nil {
		return nil, fmt.Errorf("start ceremony: %w", err)
	}
	return Open(folder)
}

func propose(folder string, p Proposal) (*Ceremony, error) {
	c := &Ceremony{folder: folder, files: p.contents()}
	until := p.Until
	if until.IsZero() {
		until = p.Now.Add(life)
	}
	c.plan = newPlan(p.Title, p.Now, until, c.files)
	if err := c.plan.check(); err != nil {
		return nil, err
	}
	if err := c.parse(); err != nil {
		return nil, err
	}
	for _, d := range []*tufroot.Document{c.root, c.targets} {
		if d != nil && !d.Expires.After(p.Now) {
			return nil, fmt.Errorf("the draft of %s expired at %s: draft it anew", d.Role, moment(d.Expires))
		}
	}
	return c, nil
}

// contents are the files of the folder that the plan lists.
func (p Proposal) contents() map[string][]byte {
	files := map[string][]byte{}
	for name, data := range map[string][]byte{
		draftRoot: p.Root, draftTargets: p.Targets, currentRoot: p.CurrentRoot, currentTargets: p.CurrentTargets,
	} {
		if data != nil {
			files[name] = data
		}
	}
	for _, t := range p.Files {
		files[dirFiles+t.Name] = t.Data
	}
	for _, t := range p.CurrentFiles {
		files[dirCurrentFiles+t.Name] = t.Data
	}
	return files
}

// Open reads a folder and checks all that is in it. The error matches fs.ErrNotExist
// when it holds no ceremony, and ErrChanged when something is not as it was.
func Open(folder string) (*Ceremony, error) {
	c, err := open(folder)
	if err != nil {
		return nil, fmt.Errorf("open ceremony in %s: %w", folder, err)
	}
	return c, nil
}

func open(folder string) (*Ceremony, error) {
	r, err := openFolder(folder)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	c := &Ceremony{folder: folder, files: map[string][]byte{}}
	data, err := r.read(planFile)
	if err != nil {
		return nil, err
	}
	if c.plan, err = parsePlan(data); err != nil {
		return nil, fmt.Errorf("%s: %w", planFile, changed(err))
	}
	c.id = digest(data)
	for _, f := range c.plan.Files {
		data, err := r.read(f.Name)
		if err != nil {
			return nil, fmt.Errorf("%v: %w; copy the folder anew from the one who started it", err, ErrChanged) //nolint:errorlint // a missing part is no missing ceremony
		}
		if digest(data) != f.SHA256 {
			return nil, fmt.Errorf("%s is not the one that the ceremony began with: %w; copy the folder anew from the one who started it, or start another ceremony", f.Name, ErrChanged)
		}
		c.files[f.Name] = data
	}
	if err := c.parse(); err != nil {
		return nil, err
	}
	return c, c.readSigned(r)
}

// parse reads the documents and checks that they belong together.
func (c *Ceremony) parse() error {
	for _, d := range []struct {
		name, role string
		to         **tufroot.Document
	}{
		{draftRoot, "root", &c.root},
		{draftTargets, "targets", &c.targets},
		{currentRoot, "root", &c.currentRoot},
		{currentTargets, "targets", &c.currentTargets},
	} {
		data, ok := c.files[d.name]
		if !ok {
			continue
		}
		doc, err := tufroot.ParseDocument(data)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if doc.Role != d.role {
			return fmt.Errorf("%s: it is a document of %s, not of %s", d.name, doc.Role, d.role)
		}
		*d.to = doc
	}
	if err := c.checkDocuments(); err != nil {
		return err
	}
	if err := c.checkFiles(); err != nil {
		return err
	}
	c.needs = c.needed()
	return nil
}

// Current compares the ceremony with what is published now, nil for nothing. The
// error matches ErrStale when its drafts no longer follow upon that; drafts that are
// published already are no error.
func (c *Ceremony) Current(root, targets []byte) error {
	for _, now := range []struct {
		role          string
		data          []byte
		before, draft *tufroot.Document
	}{
		{"root", root, c.currentRoot, c.root},
		{"targets", targets, c.currentTargets, c.targets},
	} {
		if now.draft == nil {
			continue
		}
		if err := follows(now.role, now.data, now.before, now.draft); err != nil {
			return err
		}
	}
	return nil
}

func follows(role string, published []byte, before, draft *tufroot.Document) error {
	if published == nil {
		if before == nil {
			return nil
		}
		return fmt.Errorf("the ceremony follows upon %s version %d, but nothing is published: %w; start another ceremony", role, before.Version, ErrStale)
	}
	doc, err := tufroot.ParseDocument(published)
	if err != nil {
		return fmt.Errorf("read the published %s: %w", role, err)
	}
	if bytes.Equal(doc.Payload, draft.Payload) || (before != nil && bytes.Equal(doc.Payload, before.Payload)) {
		return nil
	}
	return fmt.Errorf("%s version %d is published, which the draft of version %d does not follow upon: %w; start another ceremony", role, doc.Version, draft.Version, ErrStale)
}
