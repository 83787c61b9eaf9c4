package ceremony

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What a line of the transcript is about.
const (
	WhatStart = "start"
	WhatSign  = "sign"
)

// Line is one line of the transcript.
type Line struct {
	// Previous is the SHA-256, in hex, of the line before without its end; empty of the
	// first.
	Previous string    `json:"previous"`
	At       time.Time `json:"at"` // by the clock of who wrote it
	What     string    `json:"what"`
	Ceremony string    `json:"ceremony"`         // ID
	Who      string    `json:"who,omitempty"`    // the rest is of a signature
	Role     string    `json:"role,omitempty"`   // root or targets
	Key      string    `json:"key,omitempty"`    // ID
	Digest   string    `json:"digest,omitempty"` // SHA-256 of what was signed, in hex
}

// hash is what the next line has as Previous.
func (l Line) hash() (string, error) {
	data, err := encode(l)
	return digest(bytes.TrimSuffix(data, []byte("\n"))), err
}

// parseTranscript reads lines that form a chain.
func parseTranscript(data []byte) ([]Line, error) {
	var lines []Line
	previous := ""
	for raw := range bytes.Lines(data) {
		l, err := decode[Line](raw)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		if l.Previous != previous {
			return nil, fmt.Errorf("line %d does not follow upon the one before", len(lines)+1)
		}
		if start := len(lines) == 0; start != (l.What == WhatStart) || !start && l.What != WhatSign {
			return nil, fmt.Errorf("line %d: %q is not what comes here", len(lines)+1, l.What)
		}
		if previous, err = l.hash(); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return nil, errors.New("it is empty")
	}
	return lines, nil
}

// readAgain bounds how often a folder is read in which somebody else is signing.
const readAgain = 20

// readSigned reads signatures and transcript as they were at one time: who signs at
// this moment writes the one and then the other.
func (c *Ceremony) readSigned(r folder) error {
	before, beforeErr := r.read(transcriptFile)
	for again := 0; ; again++ {
		var err error
		if c.signatures, err = c.readSignatures(r); err != nil {
			return err
		}
		after, afterErr := r.read(transcriptFile)
		if again == readAgain || beforeErr != nil || bytes.Equal(before, after) {
			return c.readTranscript(after, afterErr)
		}
		before, beforeErr = after, afterErr
	}
}

// readTranscript holds the transcript, as it was read, against the signatures.
func (c *Ceremony) readTranscript(data []byte, err error) error {
	if err == nil {
		c.lines, err = parseTranscript(data)
	}
	if err == nil {
		err = c.checkLines()
	}
	if err != nil {
		return fmt.Errorf("%s: %v: %w; copy the folder anew from the signer before", transcriptFile, err, ErrChanged) //nolint:errorlint // a missing transcript is no missing ceremony
	}
	return nil
}

func (c *Ceremony) checkLines() error {
	if want := (Line{What: WhatStart, At: c.plan.Started, Ceremony: c.id}); c.lines[0] != want {
		return errors.New("it is not of this ceremony")
	}
	for i, l := range c.lines[1:] {
		j := slices.IndexFunc(c.signatures, func(s signature) bool { return s.line(l.Previous) == l })
		if j < 0 {
			return fmt.Errorf("line %d is of a signature that is not there, or is another (%s, %s key %.16s)", i+2, l.Who, l.Role, l.Key)
		}
		if slices.ContainsFunc(c.lines[1:i+1], func(e Line) bool { return e.Role == l.Role && e.Key == l.Key }) {
			return fmt.Errorf("line %d is there twice", i+2)
		}
	}
	seen := map[string]bool{}
	for _, l := range c.lines {
		h, err := l.hash()
		if err != nil {
			return err
		}
		seen[h] = true
	}
	for _, s := range c.signatures {
		if !seen[s.After] {
			return fmt.Errorf("it lacks a line that %s saw when signing with key %.16s", s.Who, s.Key)
		}
	}
	return nil
}

func (s signature) line(previous string) Line {
	return Line{Previous: previous, At: s.At, What: WhatSign, Ceremony: s.Ceremony, Who: s.Who, Role: s.Role, Key: s.Key, Digest: s.Digest}
}

// unrecorded are signatures without a line: their signer was interrupted, or the
// files came from another copy of the folder.
func (c *Ceremony) unrecorded() []signature {
	var out []signature
	for _, s := range c.signatures {
		if !slices.ContainsFunc(c.lines, func(l Line) bool { return l.Role == s.Role && l.Key == s.Key }) {
			out = append(out, s)
		}
	}
	return out
}

// head is the hash of the last line.
func (c *Ceremony) head() string {
	h, err := c.lines[len(c.lines)-1].hash()
	if err != nil {
		return "" // a line that was read can be encoded
	}
	return h
}

// Record enters signatures in the transcript whose signers were interrupted, or whose
// files were copied here from another copy of the folder. Sign does so, too.
func (c *Ceremony) Record() (err error) {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := c.refresh(); err != nil {
		return err
	}
	return c.record()
}

func (c *Ceremony) record() error {
	missing := c.unrecorded()
	if len(missing) == 0 {
		return nil
	}
	lines := slices.Clone(c.lines)
	for _, s := range missing {
		previous, err := lines[len(lines)-1].hash()
		if err != nil {
			return err
		}
		lines = append(lines, s.line(previous))
	}
	return c.writeLines(lines)
}

func (c *Ceremony) writeLines(lines []Line) error {
	var all []byte
	for _, l := range lines {
		data, err := encode(l)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	if err := c.put(transcriptFile, all); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	c.lines = lines
	return nil
}

// Transcript returns the lines that are there.
func (c *Ceremony) Transcript() ([]Line, error) { return slices.Clone(c.lines), nil }

// Head returns the hash, in hex, of the transcript's last line. Who has noted it can
// tell later whether the lines up to it are still the same.
func (c *Ceremony) Head() string { return c.head() }
