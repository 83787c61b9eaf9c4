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
	Path  string // ca.key: the names of sections and of the setting, by dots
	Value string // text of one line
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
// alone, and for a symbolic link: what put that there would replace it again.
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
		out = append(out, f.Path+": "+f.Value)
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
		if err := setIn(want, strings.Split(f.Path, "."), f.Value); err != nil {
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

func setIn(section map[string]any, path []string, value string) error {
	for ; len(path) > 1; path = path[1:] {
		below, ok := section[path[0]].(map[string]any)
		if !ok {
			return fmt.Errorf("there is no section %s", path[0])
		}
		section = below
	}
	section[path[0]] = value
	return nil
}

// withField replaces the text of one value, or adds a line for it at the head of its
// section.
func withField(data []byte, f Field) ([]byte, error) {
	at, problem := document(data)
	if problem != nil {
		return nil, errors.New(problem.Message)
	}
	text, err := scalar(f.Value)
	if err != nil {
		return nil, err
	}
	names := strings.Split(f.Path, ".")
	for i, name := range names {
		if at.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s is no section", strings.Join(names[:i], "."))
		}
		value := member(at, name)
		switch last := i == len(names)-1; {
		case value == nil && last:
			return insert(data, at, name+": "+text)
		case value == nil:
			return nil, fmt.Errorf("there is no section %s", strings.Join(names[:i+1], "."))
		}
		at = value
	}
	return replace(data, at, text)
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

// insert adds a line before the first setting of a section.
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
