package release

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
)

// sumsSpec is one of the two checksum files of a tree.
type sumsSpec struct {
	name   string // of the file
	suffix string // of the checksum beside each file
	size   int    // of a digest, in bytes
	of     func(digests) []byte
}

func sumsSpecs() [2]sumsSpec {
	return [2]sumsSpec{
		{SHA256Sums, sha256Suffix, sha256.Size, func(d digests) []byte { return d.sha256[:] }},
		{SHA512Sums, sha512Suffix, sha512.Size, func(d digests) []byte { return d.sha512[:] }},
	}
}

// sumsFile is a checksum file as found: without entries if it is missing or
// malformed, which has been reported.
type sumsFile struct {
	sumsSpec
	usable  bool
	order   []string
	digests map[string][]byte
}

func (v *verification) loadSums(spec sumsSpec) *sumsFile {
	s := &sumsFile{sumsSpec: spec, digests: map[string][]byte{}}
	if !v.present[spec.name] {
		v.problem(spec.name, Missing, "the checksum file is missing")
		return s
	}
	data, err := v.tree.read(spec.name, maxSums)
	if err != nil {
		v.problem(spec.name, Unreadable, err.Error())
		return s
	}
	sums, err := ParseSums(data, spec.size)
	if err != nil {
		v.problem(spec.name, Checksum, err.Error())
		return s
	}
	s.usable = true
	for _, sum := range sums {
		if bundleOnly(sum.Path) {
			v.problem(spec.name, Checksum, fmt.Sprintf("it lists %s, whose content cannot be known beforehand", sum.Path))
			continue
		}
		s.order = append(s.order, sum.Path)
		s.digests[sum.Path] = sum.Digest
	}
	return s
}

// missing reports the listed files that are not in the tree.
func (s *sumsFile) missing(present map[string]bool) []Problem {
	var out []Problem
	for _, name := range s.order {
		if !present[name] {
			out = append(out, Problem{Path: name, Kind: Missing, Detail: "listed in " + s.name})
		}
	}
	return out
}

// checkSums compares a file's digests with both checksum files and with the two
// checksums beside it.
func (v *verification) checkSums(r *FileReport, d digests) {
	for _, s := range v.sums {
		got := s.of(d)
		want, listed := s.digests[r.Path]
		switch {
		case listed && !bytes.Equal(got, want):
			r.add(Checksum, fmt.Sprintf("%s says %x, the file has %x", s.name, want, got))
		case !listed && s.usable && !unlistable(r.Path):
			r.add(Checksum, "not listed in "+s.name)
		}
		v.checkOwnSum(r, s.sumsSpec, got)
	}
}

// checkOwnSum checks the checksum beside a file: bare hex, no newline (A1).
// What arrives after the checksums were made may lack it.
func (v *verification) checkOwnSum(r *FileReport, spec sumsSpec, got []byte) {
	data, err := v.sidecar(r, spec.suffix)
	if err != nil {
		return // reported by sidecar
	}
	if data == nil {
		if bundleOnly(r.Path) || !unlistable(r.Path) {
			r.add(Checksum, "no "+spec.suffix)
		}
		return
	}
	want, err := parseDigest(string(data), spec.size)
	if err != nil {
		r.add(Checksum, fmt.Sprintf("%s: %v", spec.suffix, err))
		return
	}
	if !bytes.Equal(got, want) {
		r.add(Checksum, fmt.Sprintf("%s says %x, the file has %x", spec.suffix, want, got))
	}
}
