// Package settings finds everything that is wrong with a connector's settings at
// once, in the words of a configuration file. What settings there are is Dex's:
// the Go type that they are decoded into.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxProblems bounds how many are looked for.
const maxProblems = 50

// Problems decodes data, a JSON object, into what target returns a pointer to, and
// returns "path: message" for each setting that does not belong there or has
// another type than it needs.
func Problems(data []byte, target func() any) []string {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // or large numbers would be written differently
	if err := dec.Decode(&tree); err != nil {
		return []string{"it cannot be read as settings"}
	}
	var out []string
	for len(out) < maxProblems {
		err := decode(tree, target())
		if err == nil {
			return out
		}
		path, message := explain(tree, target, err)
		if path == nil {
			return append(out, message)
		}
		out = append(out, dotted(path)+": "+message)
		tree = without(tree, path)
	}
	return out
}

func decode(tree, into any) error {
	data, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

var unknownField = regexp.MustCompile(`unknown field ("(?:[^"\\]|\\.)*")`)

// explain returns where err comes from, nil if that is not known.
func explain(tree any, target func() any, err error) (path []string, message string) {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		if path = find(tree, strings.Split(wrong.Field, ".")); path != nil {
			return path, "want " + kind(wrong) + ", not " + value(wrong.Value)
		}
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		name, unquoteErr := strconv.Unquote(m[1])
		for _, path := range named(tree, name, nil) {
			// The one without which the error is another.
			if after := decode(without(tree, path), target()); unquoteErr == nil && (after == nil || after.Error() != err.Error()) {
				return path, "not known"
			}
		}
		for _, path := range named(tree, name, nil) { // more than one place
			return path, "not known"
		}
	}
	return nil, "settings: " + strings.TrimPrefix(err.Error(), "json: ")
}

func kind(wrong *json.UnmarshalTypeError) string {
	switch k := wrong.Type.Kind().String(); {
	case k == "bool":
		return "true or false"
	case strings.HasPrefix(k, "int"), strings.HasPrefix(k, "uint"):
		return "a whole number"
	case strings.HasPrefix(k, "float"):
		return "a number"
	case k == "slice":
		return "a list"
	case k == "struct", k == "map":
		return "settings (name: value)"
	default:
		return "text"
	}
}

func value(json string) string {
	switch json {
	case "string":
		return "text"
	case "bool":
		return "true or false"
	case "array":
		return "a list"
	case "object":
		return "settings"
	default:
		return "a number"
	}
}

// find returns path as it is written in tree, where case may differ; nil if it is
// not there. Where decoding was inside a list, the list is meant.
func find(tree any, path []string) []string {
	var out []string
	for _, name := range path {
		object, ok := tree.(map[string]any)
		if !ok {
			break
		}
		i := slices.IndexFunc(slices.Sorted(maps.Keys(object)), func(key string) bool { return strings.EqualFold(key, name) })
		if i < 0 {
			break
		}
		key := slices.Sorted(maps.Keys(object))[i]
		out, tree = append(out, key), object[key]
	}
	return out
}

// named returns the paths of every setting of that name below tree.
func named(tree any, name string, prefix []string) (out [][]string) {
	switch tree := tree.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			path := append(slices.Clone(prefix), key)
			if key == name {
				out = append(out, path)
			}
			out = append(out, named(tree[key], name, path)...)
		}
	case []any:
		for i, item := range tree {
			out = append(out, named(item, name, append(slices.Clone(prefix), "["+strconv.Itoa(i)+"]"))...)
		}
	}
	return out
}

// without returns tree without the setting at path.
func without(tree any, path []string) any {
	switch tree := tree.(type) {
	case map[string]any:
		out := maps.Clone(tree)
		if len(path) == 1 {
			delete(out, path[0])
		} else {
			out[path[0]] = without(tree[path[0]], path[1:])
		}
		return out
	case []any:
		out := slices.Clone(tree)
		var i int
		if _, err := fmt.Sscanf(path[0], "[%d]", &i); err == nil && i < len(out) && len(path) > 1 {
			out[i] = without(out[i], path[1:])
		}
		return out
	}
	return tree
}

// dotted returns path as the configuration's other paths are written.
func dotted(path []string) string {
	return strings.ReplaceAll(strings.Join(path, "."), ".[", "[")
}
