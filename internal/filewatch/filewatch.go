// Package filewatch tells when a set of files holds something new, whole: files
// that are taken together or not at all. They are told by content, so that a
// symbolic link somewhere on the way, as Kubernetes swaps ..data, is as good as a
// new file. What the contents mean is left to whoever takes them.
package filewatch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFile bounds one file, in bytes.
const maxFile = 1 << 20

// Set is a set of files. It is not safe for concurrent use.
type Set struct {
	// Paths names the files, in the order in which Take gets their contents.
	Paths func() []string
	// Private is that of the paths which strangers must not be able to read, or "".
	Private string
	// Take makes use of the contents; on an error what was taken before stays in use.
	Take func(contents [][]byte) error

	taken, seen [sha256.Size]byte // of the contents in use, and at the last look
	err         error             // why what was seen is not in use
}

// Now takes what the files hold.
func (s *Set) Now() error {
	contents, err := s.read()
	if err == nil {
		err = s.Take(contents)
	}
	if s.err = err; err != nil {
		return err
	}
	s.taken = digest(contents, nil)
	s.seen = s.taken
	return nil
}

// Note says that what the files hold is in use already.
func (s *Set) Note() {
	contents, err := s.read()
	s.taken = digest(contents, err)
	s.seen, s.err = s.taken, nil
}

// Look takes what the files hold if that is new and was there at the last look
// too: between two looks a set of files gets written. It reports whether it took
// any. What was refused is tried again at each look, because time may mend it.
func (s *Set) Look() bool {
	contents, sum, err := s.settled()
	switch {
	case contents == nil && err == nil:
		return false
	case err != nil:
		s.err = err
		return false
	}
	if s.err = s.Take(contents); s.err != nil {
		return false
	}
	s.taken = sum
	return true
}

// Waiting reports whether Look would try to take something, or has to say that it
// cannot be read.
func (s *Set) Waiting() bool {
	contents, _, err := s.settled()
	return contents != nil || err != nil
}

// Err is why what the files hold is not in use; nil if it is, or was not there long
// enough to be looked at.
func (s *Set) Err() error { return s.err }

// settled returns what is new and was there at the last look too: its contents, or
// why they cannot be read.
func (s *Set) settled() ([][]byte, [sha256.Size]byte, error) {
	contents, err := s.read()
	sum := digest(contents, err)
	switch {
	case sum == s.taken:
		s.seen, s.err = sum, nil
		return nil, sum, nil
	case sum != s.seen:
		s.seen = sum
		return nil, sum, nil
	}
	return contents, sum, err
}

func (s *Set) read() ([][]byte, error) {
	contents := [][]byte{}
	for _, path := range s.Paths() {
		data, err := readFile(path, path == s.Private)
		if err != nil {
			return nil, err
		}
		contents = append(contents, data)
	}
	return contents, nil
}

// Read reads one file as a Set does, 1 MiB at most.
func Read(path string) ([]byte, error) { return readFile(path, false) }

func readFile(path string, private bool) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	// The group may read, as of any secret that an operator hands to a process:
	// orchestrators hand files to processes that are not root that way.
	if private && info.Mode().Perm()&0o027 != 0 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("mode is %v, want nothing for other users and no writing for the group: 0640 at most: chmod 600 it", info.Mode())}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("over %d bytes", maxFile)}
	}
	return data, err
}

// digest tells contents, or the failure to read them, from any others.
func digest(contents [][]byte, err error) [sha256.Size]byte {
	var sums []byte
	for _, c := range contents {
		sum := sha256.Sum256(c)
		sums = append(sums, sum[:]...)
	}
	if err != nil {
		sums = append(sums, err.Error()...)
	}
	return sha256.Sum256(sums)
}
