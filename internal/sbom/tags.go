package sbom

import (
	"errors"
	"fmt"
	"strings"
)

// parseTags reads SPDX 2 as tags and values (spdx.github.io/spdx-spec/v2.3 §4.4).
func parseTags(data []byte) (Document, error) {
	r := tagReader{rest: string(data)}
	for {
		tag, value, ok, err := r.next()
		if err != nil {
			return Document{}, err
		}
		if !ok {
			break
		}
		if err := r.take(tag, value); err != nil {
			return Document{}, err
		}
	}
	if err := r.close(); err != nil {
		return Document{}, err
	}
	if r.doc.Format == "" {
		return Document{}, errors.New("it has no SPDXVersion")
	}
	return r.doc, nil
}

// tagReader goes through a document pair by pair.
type tagReader struct {
	rest string // what is not read yet
	line int
	doc  Document
	open *Component // whose tags are being read; nil: the document's, or another element's
}

// next returns the next pair; of a value between <text> and </text>, which may have
// several lines, the text.
func (r *tagReader) next() (tag, value string, ok bool, err error) {
	for r.rest != "" {
		line := r.cut("\n")
		r.line++
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		tag, value, ok = strings.Cut(line, ":")
		tag, value = strings.TrimSpace(tag), strings.TrimSpace(value)
		if !ok || tag == "" || strings.ContainsAny(tag, " \t<>") {
			return "", "", false, fmt.Errorf("line %d is no tag with a value", r.line)
		}
		if text, begins := strings.CutPrefix(value, "<text>"); begins {
			if value, err = r.text(text); err != nil {
				return "", "", false, err
			}
		}
		return tag, value, true, nil
	}
	return "", "", false, nil
}

// text returns what is before </text>, which may lines later than the beginning.
func (r *tagReader) text(begin string) (string, error) {
	if text, after, ends := strings.Cut(begin, "</text>"); ends {
		if strings.TrimSpace(after) != "" {
			return "", fmt.Errorf("line %d goes on after </text>", r.line)
		}
		return text, nil
	}
	at := strings.Index(r.rest, "</text>")
	if at < 0 {
		return "", fmt.Errorf("line %d begins a text that does not end", r.line)
	}
	text := r.rest[:at]
	r.rest = r.rest[at+len("</text>"):]
	r.line += strings.Count(text, "\n")
	if after := r.cut("\n"); strings.TrimSpace(after) != "" {
		return "", fmt.Errorf("line %d goes on after </text>", r.line+1)
	}
	r.line++
	return begin + "\n" + text, nil
}

func (r *tagReader) cut(sep string) string {
	line, rest, _ := strings.Cut(r.rest, sep)
	r.rest = rest
	return line
}

// take puts a pair where it belongs. Tags that say nothing of components or checksums
// are passed over.
func (r *tagReader) take(tag, value string) error {
	switch tag {
	case "SPDXVersion":
		if r.doc.Format != "" || !strings.HasPrefix(value, "SPDX-2.") {
			return fmt.Errorf("line %d: SPDXVersion %.40q: want SPDX-2.x, once", r.line, value)
		}
		r.doc.Format = value
	case "DocumentName":
		r.doc.Name = value
	case "PackageName", "FileName":
		return r.begin(tag, value)
	case "SnippetSPDXID", "LicenseID", "Relationship", "Annotator", "Reviewer":
		return r.close() // the tags after it are of something else
	case "PackageVersion", "PackageFileName", "PackageChecksum", "FileChecksum":
		return r.detail(tag, value)
	}
	return nil
}

func (r *tagReader) begin(tag, value string) error {
	if err := r.close(); err != nil {
		return err
	}
	if value == "" {
		return fmt.Errorf("line %d: %s is empty", r.line, tag)
	}
	r.open = &Component{Name: value}
	if tag == "FileName" {
		r.open.Path = value
	}
	return nil
}

func (r *tagReader) detail(tag, value string) error {
	if r.open == nil {
		return fmt.Errorf("line %d: %s is of no package or file", r.line, tag)
	}
	switch tag {
	case "PackageVersion":
		r.open.Version = value
	case "PackageFileName":
		r.open.Path = value
	default:
		algorithm, hex, ok := strings.Cut(value, ":")
		if !ok {
			return fmt.Errorf("line %d: %s has no algorithm", r.line, tag)
		}
		if err := r.open.checksum(strings.TrimSpace(algorithm), strings.TrimSpace(hex)); err != nil {
			return fmt.Errorf("line %d: %w", r.line, err)
		}
	}
	return nil
}

// close ends the component whose tags were read.
func (r *tagReader) close() error {
	if r.open == nil {
		return nil
	}
	c := *r.open
	r.open = nil
	return r.doc.add(c)
}
