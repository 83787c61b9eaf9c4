package ceremony

import (
	"errors"
	"io/fs"

	"sigstack/internal/durable"
)

// ErrCrash is what an injected write fails with.
var ErrCrash = errors.New("injected crash")

// Break makes the n-th write from now fail, counted from 0, as do all after it. If
// done, that write takes place all the same.
func (c *Ceremony) Break(n int, done bool) {
	c.writeFile = broken(n, done)
}

func broken(left int, done bool) func(string, []byte, fs.FileMode) error {
	return func(path string, data []byte, perm fs.FileMode) error {
		left--
		switch {
		case left >= 0:
			return durable.WriteFile(path, data, perm)
		case left == -1 && done:
			return errors.Join(durable.WriteFile(path, data, perm), ErrCrash)
		}
		return ErrCrash
	}
}

// StartBroken is Start with failing writes.
func StartBroken(folder string, p Proposal, n int, done bool) error {
	if err := vacant(folder); err != nil {
		return err
	}
	c, err := propose(folder, p)
	if err != nil {
		return err
	}
	c.writeFile = broken(n, done)
	return c.write()
}

// The decoders of the folder's files; each writes again what it accepts.

// ParsePlan is the decoder of ceremony.json.
func ParsePlan(data []byte) (again []byte, names []string, err error) {
	p, err := parsePlan(data)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range p.Files {
		names = append(names, f.Name)
	}
	again, err = encode(p)
	return again, names, err
}

// ParseSignature is the decoder of signature files.
func ParseSignature(data []byte) (again []byte, file string, err error) {
	s, err := parseSignature(data)
	if err != nil {
		return nil, "", err
	}
	again, err = encode(s)
	return again, s.file(), err
}

// ParseTranscript is the decoder of transcript.jsonl.
func ParseTranscript(data []byte) ([]Line, error) { return parseTranscript(data) }
