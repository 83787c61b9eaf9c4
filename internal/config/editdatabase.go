package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// SetDatabase gives the configuration at path a section database, in place of one that
// it may have, or takes it away, if that is nil. Every other byte is left as it is, and
// what was there before is kept beside it, as SetFields does.
func SetDatabase(path string, d *Database) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("change configuration: %s is a link, so that something else keeps it: let that change section database", path)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("change configuration: %w", err)
	}
	after, err := withDatabase(before, d)
	if err != nil {
		return fmt.Errorf("change configuration %s: %w; change section database by hand", path, err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	if err := replaceAs(info, path+KeptSuffix, before); err != nil {
		return err
	}
	return replaceAs(info, path, after)
}

// withDatabase returns data with the section, and nothing else changed.
func withDatabase(data []byte, d *Database) ([]byte, error) {
	want, err := settings(data)
	if err != nil {
		return nil, err
	}
	out, err := withoutSection(data, "database")
	if err != nil {
		return nil, err
	}
	delete(want, "database")
	if d != nil {
		section, err := d.lines()
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n")) {
			out = append(out, '\n')
		}
		out = append(out, section...)
		var set map[string]any
		if err := yaml.Unmarshal(section, &set); err != nil {
			return nil, err
		}
		want["database"] = set["database"]
	}
	got, err := settings(out)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(got, want) {
		return nil, errors.New("its form is one that a program cannot change a single section of")
	}
	_, err = Parse(out)
	return out, err
}

// lines are the section.
func (d *Database) lines() ([]byte, error) {
	out := []byte("database:\n")
	for _, s := range []struct{ name, value string }{{"url_file", d.URLFile}, {"schema", d.Schema}} {
		if s.value == "" {
			continue
		}
		text, err := scalar(s.value)
		if err != nil {
			return nil, fmt.Errorf("database.%s: %w", s.name, err)
		}
		out = append(out, "  "+s.name+": "+text+"\n"...)
	}
	if d.Connections != 0 {
		out = append(out, "  connections: "+strconv.Itoa(d.Connections)+"\n"...)
	}
	return out, nil
}

// withoutSection returns a copy of data without the lines of a section; comments behind
// its last setting are the next one's.
func withoutSection(data []byte, name string) ([]byte, error) {
	doc, problem := document(data)
	if problem != nil {
		return nil, errors.New(problem.Message)
	}
	for i := 0; i+1 < len(doc.Content); i += 2 {
		key, value := doc.Content[i], doc.Content[i+1]
		if key.Value != name {
			continue
		}
		from, to := offset(data, key.Line, 1), offset(data, lastLine(value)+1, 1)
		if from < 0 || key.Column != 1 {
			return nil, errors.New("its section cannot be found")
		}
		if to < 0 {
			to = len(data)
		}
		return append(bytes.Clone(data[:from]), data[to:]...), nil
	}
	return bytes.Clone(data), nil
}
