// Package rotate runs rotations: named steps in their order, some of which have to
// wait for their time, each noted durably before and after it, so that a rotation that
// was interrupted anywhere is gone on with. It knows nothing of keys, services and
// clients; what a step does is its caller's.
package rotate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Facts are what steps leave for later ones, and for a later process: names, digests,
// times; never a secret. A step may add to them.
type Facts map[string]string

// SetTime keeps a time to the second, rounded up, so that nothing which has to wait
// for it is early.
func (f Facts) SetTime(name string, t time.Time) {
	f[name] = t.Add(time.Second - 1).Truncate(time.Second).UTC().Format(time.RFC3339)
}

// Time returns a time that SetTime kept; the zero time if there is none of that name.
func (f Facts) Time(name string) (time.Time, error) {
	text, ok := f[name]
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("fact %s: %w", name, err)
	}
	return t, nil
}

// Step is one act of a rotation.
type Step struct {
	Name string // one word, or several joined by dashes; once in a rotation
	Does string // in a sentence, for people
	// From returns when the step may run at the earliest; the zero time, and a nil
	// From, are at once.
	From func(Facts) (time.Time, error)
	// Did reports whether the step has been done, and adds its facts: by a process that
	// was interrupted before it could note that, or by an operator. It is asked just
	// before Do. nil: Do can be repeated without harm.
	Did func(context.Context, Facts) (bool, error)
	// Do does it.
	Do func(context.Context, Facts) error
}

// from is when the step may run by those facts.
func (s Step) from(facts Facts) (time.Time, error) {
	if s.From == nil {
		return time.Time{}, nil
	}
	t, err := s.From(facts)
	if err != nil {
		return t, fmt.Errorf("time of step %s: %w", s.Name, err)
	}
	return t, nil
}

// Rotation is what is rotated, and its steps in their order.
type Rotation struct {
	What  string // as Step.Name; of its journal too
	Steps []Step
}

// word is what rotations, steps and facts are called.
var word = regexp.MustCompile(`^[a-z][a-z0-9]*([-_][a-z0-9]+)*$`)

const maxWord = 64 // bytes

func isWord(s string) bool { return len(s) <= maxWord && word.MatchString(s) }

func (r Rotation) check() error {
	if !isWord(r.What) || len(r.Steps) == 0 {
		return fmt.Errorf("rotation %q: no name, or no steps", r.What)
	}
	seen := map[string]bool{}
	for _, s := range r.Steps {
		if !isWord(s.Name) || seen[s.Name] || s.Do == nil {
			return fmt.Errorf("rotation %s: step %q has no name of its own, or does nothing", r.What, s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// ErrOtherSteps is matched by the error of a rotation whose journal is of other steps:
// another version of the program began it.
var ErrOtherSteps = errors.New("it was begun with other steps")

// goesOnWith refuses a journal of other steps.
func (r Rotation) goesOnWith(j *Journal) error {
	same := j.What == r.What && len(j.Steps) == len(r.Steps)
	for i := range j.Steps {
		same = same && j.Steps[i].Name == r.Steps[i].Name
	}
	if !same {
		return fmt.Errorf("rotation of %s: %w: finish it with the version of the program that began it", r.What, ErrOtherSteps)
	}
	return nil
}

// Planned is a step as it lies ahead, or behind.
type Planned struct {
	Name string    `json:"name"`
	Does string    `json:"does"`
	From time.Time `json:"from,omitzero"` // not before, nor any step before it; zero: at once
	Done time.Time `json:"done,omitzero"` // zero: not yet
}

// Plan tells of each step when it was done or can run, by the journal, nil for none,
// and by the facts that are expected of steps to come.
func (r Rotation) Plan(j *Journal, expected Facts) ([]Planned, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	facts := Facts{}
	for name, value := range expected {
		facts[name] = value
	}
	if j != nil {
		if err := r.goesOnWith(j); err != nil {
			return nil, err
		}
		for name, value := range j.Facts {
			facts[name] = value
		}
	}
	var out []Planned
	for i, s := range r.Steps {
		p := Planned{Name: s.Name, Does: s.Does}
		if j != nil {
			p.Done = j.Steps[i].Done
		}
		if p.Done.IsZero() {
			var err error
			if p.From, err = s.from(facts); err != nil {
				return nil, err
			}
			if i > 0 && p.From.Before(out[i-1].From) {
				p.From = out[i-1].From
			}
		}
		out = append(out, p)
	}
	return out, nil
}
