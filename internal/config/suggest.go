package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldsOf returns the types of t's settings by the name they have in the file.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			maps.Copy(out, fieldsOf(f.Type))
		case name == "":
			out[strings.ToLower(f.Name)] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

// unknown reports a setting that a section of type t does not have, and what may
// have been meant.
func (r *reader) unknown(key *yaml.Node, t reflect.Type, path string) {
	r.add(key, join(path, key.Value), "not known%s", r.hint(key.Value, t, path))
}

func (r *reader) hint(name string, t reflect.Type, path string) string {
	known := slices.Sorted(maps.Keys(fieldsOf(t)))
	if near := nearest(name, known); near != "" {
		r.broken = append(r.broken, join(path, near)) // missing, but that has been said
		return ", did you mean " + near + "?"
	}
	if places := sectionsWith(name, reflect.TypeFor[Config](), ""); len(places) > 0 {
		return ": it belongs to " + strings.Join(places, " or ")
	}
	if path == "" {
		return ": want one of " + strings.Join(known, ", ")
	}
	return ": " + path + " has " + strings.Join(known, ", ")
}

// sectionsWith returns the paths of all sections below t that know name.
func sectionsWith(name string, t reflect.Type, path string) (out []string) {
	suffix := ""
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			suffix = "[…]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	path += suffix
	fields := fieldsOf(t)
	if _, ok := fields[name]; ok {
		if path == "" {
			path = "the top of the file"
		}
		return []string{path}
	}
	for _, sub := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, sectionsWith(name, fields[sub], join(path, sub))...)
	}
	return out
}

// nearest returns the name among known that a slip of the keyboard turns into
// name, empty if there is none.
func nearest(name string, known []string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	best, least := "", min(len(name)/3, 3)+1
	for _, k := range known {
		if d := distance(plain(name), plain(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove or change that makes b of a.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a) // no slip: and strangers' names are not worth the time
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
