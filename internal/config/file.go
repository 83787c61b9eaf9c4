package config

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// File is what a configuration file says, and where it says it.
type File struct {
	Path string
	// Config is what could be understood. It is valid, with its defaults, if there
	// is no problem.
	Config *Config
	// Problems of the file by itself, warnings too, in the order of its lines.
	Problems []Problem

	where map[string]*yaml.Node // by field
	start *yaml.Node            // of the document
}

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Load reads, defaults and validates the file at path. The error is *Invalid, with
// every problem and its line, unless the file cannot be read.
func Load(path string) (*Config, error) {
	f, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return f.valid()
}

// Parse is Load for bytes.
func Parse(data []byte) (*Config, error) { return Read("", data).valid() }

func (f *File) valid() (*Config, error) {
	if err := f.Err(); err != nil {
		return nil, err
	}
	return f.Config, nil
}

// ReadFile reads what is at path; an error means that it could not be read at all.
func ReadFile(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	return Read(path, data), nil
}

// Read is ReadFile for the bytes of a file, which path names in messages.
func Read(path string, data []byte) *File {
	f := &File{Path: path, Config: &Config{}, where: map[string]*yaml.Node{}}
	if len(data) > maxFile {
		f.Problems = []Problem{{Line: 1, Message: fmt.Sprintf("the file has more than %d bytes", maxFile)}}
		return f
	}
	doc, problem := document(data)
	if problem != nil {
		f.Problems = []Problem{*problem}
		return f
	}
	f.start = doc
	r := &reader{where: f.where}
	cleaned := r.read(doc, reflect.TypeFor[Config](), "")
	f.Problems = r.problems
	if err := decode(cleaned, f.Config); err != nil && len(r.problems) == 0 {
		f.Add(Problem{Message: err.Error()})
	}
	f.Config.setDefaults()
	f.validate(r.broken)
	return f
}

func decode(n *yaml.Node, into *Config) error {
	if n == nil {
		return nil
	}
	return n.Decode(into)
}

// validate adds what Validate finds, but for fields that could not be read.
func (f *File) validate(broken []string) {
	var p problems
	f.Config.validate(&p)
	p.list = append(p.list, f.Config.Warnings()...)
	f.Add(slices.DeleteFunc(p.list, func(p Problem) bool {
		return slices.ContainsFunc(broken, func(path string) bool { return below(p.Field, path) })
	})...)
}

// Add adds problems that others found in the configuration, at the lines of their
// fields.
func (f *File) Add(list ...Problem) {
	for _, p := range list {
		f.Problems = append(f.Problems, f.locate(p))
	}
	f.Problems = sorted(f.Problems)
}

// locate finds the line of p's field, or of the section that it is missing in.
func (f *File) locate(p Problem) Problem {
	at := f.start
	for path := p.Field; path != ""; path = parent(path) {
		if n, ok := f.where[path]; ok {
			at = n
			break
		}
	}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	return p
}

// Understood reports whether the file is YAML with settings. If not, that is the one
// problem it has.
func (f *File) Understood() bool { return len(f.where) > 0 }

// Err returns *Invalid if there are problems besides warnings.
func (f *File) Err() error { return invalid(f.Path, f.Problems) }
