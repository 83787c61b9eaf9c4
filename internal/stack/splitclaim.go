package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigstack/internal/durable"
)

// splitUnfinished marks a process's directory that is not complete, so that nobody
// takes it for one. It says which directory is split there: that one may start over
// or, once it bears its mark, finish, and no other may clear what lies there, which
// may be all that can be served of the first.
func (l Layout) splitUnfinished() string { return filepath.Join(l.Dir, "split-unfinished") }

// splitFrom returns the directory whose split into l is unfinished; unfinished is
// false if there is no such split.
func (l Layout) splitFrom() (dir string, unfinished bool, err error) {
	data, err := os.ReadFile(l.splitUnfinished())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look for an interrupted split: %w", err)
	}
	return strings.TrimSuffix(string(data), "\n"), true, nil
}

// claim keeps two splits from one directory: at the same time, by a lock that is held
// until release, and one after the other, by what lies there. Nothing is changed.
func (p *splitPlan) claim() (release func() error, err error) {
	if err := durable.MkdirAll(p.into, 0o700); err != nil {
		return nil, err
	}
	release = func() error { return nil }
	if p.into != p.source {
		lock, err := durable.LockDir(p.into)
		if err != nil {
			return nil, fmt.Errorf("split: %w", err)
		}
		release = lock.Unlock
	}
	for _, d := range division {
		if err := p.mayTake(Layout{filepath.Join(p.into, d.name)}); err != nil {
			return nil, errors.Join(err, release())
		}
	}
	return release, nil
}

// mayTake refuses the directory of a process of another split.
func (p *splitPlan) mayTake(l Layout) error {
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	if done {
		return fmt.Errorf("%s: %w; name another directory to split into", l.Dir, ErrInitialized)
	}
	from, unfinished, err := l.splitFrom()
	switch {
	case err != nil:
		return err
	case unfinished && from == "":
		return fmt.Errorf("%s is of an unfinished split that does not say of what: name another directory to split into", l.Dir)
	case unfinished && from != p.source:
		return fmt.Errorf("%s is of the unfinished split of %s: finish that one by splitting it again, or name another directory to split into", l.Dir, from)
	}
	return nil
}
