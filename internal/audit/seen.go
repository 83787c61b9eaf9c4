package audit

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Seen is a head that somebody else keeps, to tell a record that was put back or cut
// off from one that was not.
type Seen struct {
	Head
	Signature string // over the head's statement, in base64 as the head file has it; "none" without a key
}

// Verify reports whether the head is signed with that key, as ErrOtherKey if it is with
// another one. Without a key nothing that is signed is accepted.
func (s Seen) Verify(key *ecdsa.PublicKey) error { return verifyHead(s.Head, s.Signature, key) }

// Seen returns the newest head that is on disk, with its signature.
func (l *Log) Seen() (Seen, error) {
	path := filepath.Join(l.opts.Dir, headName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Seen{}, fmt.Errorf("read audit head %s: %w", path, err)
	}
	var newest Seen
	for len(data) > 0 {
		slot := data[:min(len(data), slotSize)]
		data = data[len(slot):]
		head, err := parseSlot(slot, l.key)
		if err != nil || head.Seq < newest.Seq {
			continue // it is written just now, or older
		}
		_, signature, _ := strings.Cut(string(slot), "\nsignature ")
		newest = Seen{head, strings.TrimRight(signature, " \n")}
	}
	if newest.Seq == 0 {
		return Seen{}, fmt.Errorf("read audit head %s: none is whole", path)
	}
	return newest, nil
}

// Statements returns those of all anchors that the record in a directory names.
func Statements(dir string) (out [][]byte, err error) {
	var id [32]byte
	err = Each(dir, nil, func(r Record) (err error) {
		switch r.Action {
		case ActionBegin:
			if id, err = parseHash(r.Detail["chain"]); err != nil {
				return fmt.Errorf("the first record names no chain: %w", err)
			}
		case ActionAnchor:
			a, err := parseAnchor(&r)
			if err != nil {
				return fmt.Errorf("record %d: %w", r.Seq, err)
			}
			out = append(out, Head{Chain: id, Seq: a.Seq, Hash: a.Hash}.Statement())
		}
		return nil
	})
	return out, err
}

// IsOf reports whether a statement says that it is of a chain, in hex.
func IsOf(statement []byte, chain string) bool {
	return bytes.HasPrefix(statement, []byte(headMagic+"\nchain "+chain+"\n"))
}

// PutBackError says that a record is older than one that was seen, or another one.
type PutBackError struct {
	Seen, Last uint64 // records
	Differs    bool   // it goes as far, with another record there
}

func (e *PutBackError) Error() string {
	if e.Differs {
		return fmt.Sprintf("record %d is not the one that was seen in this chain: the record was written anew from there, or before", e.Seen)
	}
	return fmt.Sprintf("it ends with record %d, and record %d of this chain was seen: %s, cut off or put back", e.Last, e.Seen, gone(e.Last+1, e.Seen))
}

// errFound ends a search.
var errFound = errors.New("found")

// Holds returns a *PutBackError unless the record in a directory, which was verified up
// to record last, holds a head that was seen. It reads one file of the record at most.
func Holds(dir string, last uint64, seen Head) error {
	if seen.Seq > last {
		return &PutBackError{Seen: seen.Seq, Last: last}
	}
	files, err := listFiles(dir)
	if err != nil {
		return err
	}
	at := holding(files, seen.Seq)
	if at < 0 {
		return fmt.Errorf("no file in %s has record %d", dir, seen.Seq)
	}
	err = Each(dir, []string{files[at].path}, func(r Record) error {
		switch {
		case r.Seq != seen.Seq:
			return nil
		case r.Hash != seen.Hash:
			return &PutBackError{Seen: seen.Seq, Last: last, Differs: true}
		}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err == nil:
		return fmt.Errorf("%s has no record %d", files[at].path, seen.Seq)
	}
	return err
}
