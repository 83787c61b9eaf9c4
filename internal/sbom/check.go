package sbom

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// Report is how files compare with a document.
type Report struct {
	Checked int `json:"checked"` // components whose file has the checksums
	// Skipped components name no file: they are parts of something else.
	Skipped  int       `json:"skipped"`
	Problems []Problem `json:"problems"` // in the order of the document
}

// Problem is a component that is not as the document says.
type Problem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Digests tells the digests of a file, hex by algorithm ("sha256", "sha384",
// "sha512"). An error that matches fs.ErrNotExist says that there is none.
type Digests func(path string) (map[string]string, error)

// Check holds files against the document: each component that names a file has to be
// there with all its checksums, one of them at least of the SHA-2 family. A document
// that names none proves nothing, which is a problem too.
func (d Document) Check(digests Digests) Report {
	r := Report{Problems: []Problem{}}
	for _, c := range d.Components {
		if c.Path == "" {
			r.Skipped++
			continue
		}
		if err := c.check(digests); err != nil {
			r.Problems = append(r.Problems, Problem{c.Path, err.Error()})
			continue
		}
		r.Checked++
	}
	if r.Checked == 0 && len(r.Problems) == 0 {
		r.Problems = append(r.Problems, Problem{Reason: fmt.Sprintf("none of its %d components names a file", len(d.Components))})
	}
	return r
}

func (c Component) check(digests Digests) error {
	if !fs.ValidPath(c.Path) {
		return errors.New("its path is not one inside a directory")
	}
	if !c.Strong() {
		return errors.New("it has no SHA-2 checksum, so nothing is known of its content")
	}
	got, err := digests(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is missing")
	}
	if err != nil {
		return err
	}
	for _, algorithm := range slices.Sorted(maps.Keys(c.Checksums)) {
		if want := c.Checksums[algorithm]; digits[algorithm] > 0 && got[algorithm] != want {
			return fmt.Errorf("it was changed: its %s is %s, the SBOM has %s", algorithm, got[algorithm], want)
		}
	}
	return nil
}

// Err is nil without problems, and tells the first of them otherwise.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	first := r.Problems[0]
	if first.Path == "" {
		return fmt.Errorf("the SBOM and the files differ: %s", first.Reason)
	}
	return fmt.Errorf("the SBOM and the files differ in %d component(s): %s: %s", len(r.Problems), first.Path, first.Reason)
}
