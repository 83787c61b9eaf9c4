// Package template fills the templates of CI metadata with claims (contract:
// ca.md §5, ci-provider). It takes the part of text/template that cannot run long
// or grow: no loops, no nested templates, no function that joins its arguments.
// What claims and results mean is left to the package identity.
package template

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"sigstack/internal/fault"
)

// MaxText bounds a template and MaxResult what it gives, both in bytes.
const (
	MaxText   = 4096
	MaxResult = 4096
)

// Lookup returns a claim's text, false if there is none. Its errors are
// fault.Invalid.
type Lookup func(name string) (text string, ok bool, err error)

// Template is safe for concurrent use.
type Template struct {
	key    string // the only claim's name; "" with parsed
	parsed *template.Template
	names  []string // of all claims that parsed mentions, sorted
}

// Compile reads a template. Without `{{` the text is the name of one claim. With
// it, `.name`, `$.name` and `index . "name"` stand for claims, within the actions
// if, with and their else, and the functions and, eq, ge, gt, index, le, len, lt,
// ne, not, or, slice and urlquery. As in upstream, an index of a claim that is
// not there is empty; strict makes that an error, as it is for `.name`.
func Compile(text string, strict bool) (*Template, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("template is empty")
	case len(text) > MaxText:
		return nil, fmt.Errorf("template is over %d bytes", MaxText)
	case !strings.Contains(text, "{{"):
		return &Template{key: text}, nil
	}
	parsed, err := template.New("").Option("missingkey=error").Funcs(functions(strict)).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	names, err := check(parsed)
	if err != nil {
		return nil, err
	}
	return &Template{parsed: parsed, names: slices.Sorted(maps.Keys(names))}, nil
}

// functions replace the builtin ones of the same name, which take any number of
// arguments of any kind.
func functions(strict bool) template.FuncMap {
	return template.FuncMap{
		"index": func(claims map[string]string, name string) (string, error) {
			text, ok := claims[name]
			if !ok && strict {
				return "", fmt.Errorf("claim %s is missing", name)
			}
			return text, nil
		},
		"urlquery": func(text string) (string, error) {
			escaped := url.QueryEscape(text)
			if len(escaped) > MaxResult {
				return "", errTooLong
			}
			return escaped, nil
		},
	}
}

var errTooLong = fmt.Errorf("result is over %d bytes", MaxResult)

// Apply fills the template. Errors are fault.Invalid; their public sentence names
// claims and never has their text.
func (t *Template) Apply(lookup Lookup) (string, error) {
	if t.parsed == nil {
		text, ok, err := lookup(t.key)
		if err == nil && !ok {
			err = missing(t.key)
		}
		return text, err
	}
	claims := make(map[string]string, len(t.names))
	var absent []string
	for _, name := range t.names {
		text, ok, err := lookup(name)
		switch {
		case err != nil:
			return "", err
		case ok:
			claims[name] = text
		default:
			absent = append(absent, name)
		}
	}
	var out result
	if err := t.parsed.Execute(&out, claims); err != nil {
		return "", refused(err, absent)
	}
	return string(out), nil
}

func missing(names ...string) error {
	return fault.Newf(fault.Invalid, "claim %s is missing", strings.Join(names, " or "))
}

// refused says what strangers may know of a failed execution. Without a claim
// missing it is the template that does not fit the claims.
func refused(err error, absent []string) error {
	switch {
	case errors.Is(err, errTooLong):
		return fault.Wrap(fault.Invalid, err, errTooLong.Error())
	case len(absent) > 0:
		return fault.Wrap(fault.Invalid, err, fault.Public(missing(absent...)))
	default:
		return fault.Wrap(fault.Invalid, err, "the template does not fit the claims")
	}
}

// result is a writer that takes no more than MaxResult bytes.
type result []byte

func (r *result) Write(p []byte) (int, error) {
	if len(*r)+len(p) > MaxResult {
		return 0, errTooLong
	}
	*r = append(*r, p...)
	return len(p), nil
}
