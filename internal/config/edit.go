package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"sigstack/internal/durable"
)

// ErrChanged is matched by the error of SetFields for a file that is not as it was
// when the change was planned.
var ErrChanged = errors.New("it was changed since")

// KeptSuffix ends the name of the file beside config.yaml that has its content from
// before the latest SetFields.
const KeptSuffix = ".old"

// Field is a setting, and the value that it is to have.
type Field struct {
	// Path is the names of sections and of the setting, by dots: ca.key. An item of a
	// list has its number for a name, from 0 on: ctlog.shards.0.state.
	Path   string
	Value  string  // text of one line
	Number int64   // instead of Value, if it is not 0
	Item   []Field // instead of Value: the settings of one more item of the list at Path
}

// Digest is the SHA-256 of a file's content, in hex, for SetFields.
func Digest(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	return digest(data), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// SetFields sets fields of the configuration at path and leaves every other byte of it
// as it is, comments too. The file is replaced durably, by the same owner's with the
// same mode, after its content was kept beside it (KeptSuffix). Refused, with an error
// that matches ErrChanged, unless the content has that digest; "" takes any. Refused
// too if the result would not be a valid configuration that differs in these fields
// alone, and for a symbolic link: what put that there would replace it again. A file
// that the same change has been made to, by a process that did not come to tell, is as
// it should be.
func SetFields(path, was string, fields ...Field) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("change configuration: %s is a link, so that something else keeps it: let that set %s", path, list(fields))
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	if was != "" && digest(before) != was {
		if isMade(path, was, before, fields) {
			return nil
		}
		return fmt.Errorf("change configuration %s: %w", path, ErrChanged)
	}
	after, err := withFields(before, fields)
	if err != nil {
		return fmt.Errorf("change configuration %s: %w; set it by hand: %s", path, err, list(fields))
	}
	if bytes.Equal(before, after) {
		return nil
	}
	if err := replaceAs(info, path+KeptSuffix, before); err != nil {
		return err
	}
	return replaceAs(info, path, after)
}

// isMade reports whether now is what the change made of the content with that digest,
// which is kept then.
func isMade(path, was string, now []byte, fields []Field) bool {
	kept, err := os.ReadFile(path + KeptSuffix)
	if err != nil || digest(kept) != was {
		return false
	}
	made, err := withFields(kept, fields)
	return err == nil && bytes.Equal(made, now)
}

// replaceAs replaces a file by one of the mode and owner of another.
func replaceAs(like fs.FileInfo, path string, data []byte) error {
	if err := durable.WriteFile(path, data, like.Mode().Perm()); err != nil {
		return err
	}
	owner, ok := like.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("give %s to its owner: %w", path, err)
	}
	return nil
}

func list(fields []Field) string {
	var out []string
	for _, f := range fields {
		words := f.Path + ": " + fmt.Sprint(f.value())
		if f.Item != nil {
			words = "one more of " + f.Path + ", with " + list(f.Item)
		}
		out = append(out, words)
	}
	return strings.Join(out, ", ")
}

// withFields returns data with fields set, and nothing else changed.
func withFields(data []byte, fields []Field) ([]byte, error) {
	want, err := settings(data)
	if err != nil {
		return nil, err
	}
	out := data
	for _, f := range fields {
		if out, err = withField(out, f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := setIn(want, strings.Split(f.Path, "."), f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	got, err := settings(out)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(got, want) {
		return nil, errors.New("its form is one that a program cannot change a single setting of")
	}
	_, err = Parse(out)
	return out, err
}

// settings are what a file says, by names.
func settings(data []byte) (map[string]any, error) {
	doc, problem := document(data)
	if problem != nil {
		return nil, errors.New(problem.Message)
	}
	var out map[string]any
	return out, doc.Decode(&out)
}

// withField replaces the text of one value, or adds a line for it at the head of its
// section.
func withField(data []byte, f Field) ([]byte, error) {
	at, problem := document(data)
	if problem != nil {
		return nil, errors.New(problem.Message)
	}
	names := strings.Split(f.Path, ".")
	for i, name := range names {
		value, ok := within(at, name)
		last := i == len(names)-1
		switch {
		case !ok:
			return nil, fmt.Errorf("%s is no section", strings.Join(names[:i], "."))
		case last && f.Item != nil:
			return withItem(data, at, value, name, f)
		case value == nil && last:
			return withSetting(data, at, name, f)
		case value == nil:
			return nil, fmt.Errorf("there is no section %s", strings.Join(names[:i+1], "."))
		}
		at = value
	}
	text, err := f.text()
	if err != nil {
		return nil, err
	}
	return replace(data, at, text)
}

func withSetting(data []byte, section *yaml.Node, name string, f Field) ([]byte, error) {
	text, err := f.text()
	if err != nil {
		return nil, err
	}
	return insert(data, section, name+": "+text)
}

func member(section *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(section.Content); i += 2 {
		if section.Content[i].Value == name {
			return section.Content[i+1]
		}
	}
	return nil
}

// scalar is how YAML says a text.
func scalar(value string) (string, error) {
	text, err := yaml.Marshal(value)
	out := strings.TrimSuffix(string(text), "\n")
	if err == nil && (value == "" || strings.Contains(out, "\n")) {
		err = fmt.Errorf("%q is not a text of one line", value)
	}
	return out, err
}

// replace puts text in place of a scalar.
func replace(data []byte, n *yaml.Node, text string) ([]byte, error) {
	from := offset(data, n.Line, n.Column)
	if n.Kind != yaml.ScalarNode || from < 0 || n.Anchor != "" || n.Style&^(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return nil, errors.New("its value is not plain")
	}
	line, _, _ := bytes.Cut(data[from:], []byte("\n"))
	for to := 1; to <= len(line); to++ {
		var word yaml.Node
		if yaml.Unmarshal(line[:to], &word) != nil || len(word.Content) != 1 {
			continue
		}
		if w := word.Content[0]; w.Kind == yaml.ScalarNode && w.Value == n.Value && ends(line[to:], n.Style) {
			return bytes.Join([][]byte{data[:from], []byte(text), data[from+to:]}, nil), nil
		}
	}
	return nil, errors.New("its value has more than one line")
}

// ends reports whether a scalar can end before rest of its line.
func ends(rest []byte, style yaml.Style) bool {
	trimmed := bytes.TrimLeft(bytes.TrimRight(rest, "\r"), " \t")
	return len(trimmed) == 0 || style != 0 || bytes.ContainsAny(trimmed[:1], ",}") || trimmed[0] == '#' && len(trimmed) < len(rest)
}

// insert adds a line before the first setting of a section, and behind that of an item
// of a list.
func insert(data []byte, section *yaml.Node, line string) ([]byte, error) {
	if section.Style&yaml.FlowStyle != 0 || len(section.Content) == 0 {
		return nil, errors.New("its section is not one setting a line")
	}
	first := section.Content[0]
	at := offset(data, first.Line, 1)
	if at < 0 {
		return nil, errors.New("its section cannot be found")
	}
	indent := strings.Repeat(" ", cmp.Or(first.Column, 1)-1)
	if lead, _, _ := bytes.Cut(data[at:], []byte("\n")); !bytes.HasPrefix(lead, []byte(indent)) { // the dash of an item
		value := section.Content[1]
		at = offset(data, first.Line+1, 1)
		if at < 0 || value.Kind != yaml.ScalarNode || value.Line != first.Line {
			return nil, errors.New("the first setting of its item has more than one line")
		}
	}
	return bytes.Join([][]byte{data[:at], []byte(indent + line + "\n"), data[at:]}, nil), nil
}

// offset is where a line and column of YAML, both from 1 on, are in data; -1 if
// nowhere. Columns count characters.
func offset(data []byte, line, column int) int {
	at := 0
	for range line - 1 {
		next := bytes.IndexByte(data[at:], '\n')
		if next < 0 {
			return -1
		}
		at += next + 1
	}
	for i := range string(data[at:]) {
		if column--; column == 0 {
			return at + i
		}
	}
	return -1
}
