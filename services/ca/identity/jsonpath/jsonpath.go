// Package jsonpath follows a path such as $.federated_claims.connector_id through
// a JSON value (RFC 9535, singular queries). It has none of the expressions,
// filters and wildcards of the library that upstream uses: no issuer needs them.
package jsonpath

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// The bounds of a path: its bytes and its steps.
const (
	maxText  = 1024
	maxSteps = 32
)

// Path is a parsed path.
type Path struct{ steps []step }

// step is a member's name, or the index of an array's element.
type step struct {
	name    string
	index   int
	element bool
}

// Parse reads `$` and one or more of `.name`, `["name"]`, `['name']` and `[0]`.
// A name after a dot is made of letters, digits and `_`, and begins with no digit.
func Parse(text string) (Path, error) {
	rest, ok := strings.CutPrefix(text, "$")
	if !ok || rest == "" || len(text) > maxText {
		return Path{}, errors.New("path does not begin with $ and a step, as in $.federated_claims.connector_id")
	}
	var p Path
	for rest != "" {
		var s step
		var err error
		if s, rest, err = next(rest); err != nil {
			return Path{}, err
		}
		if p.steps = append(p.steps, s); len(p.steps) > maxSteps {
			return Path{}, fmt.Errorf("path has over %d steps", maxSteps)
		}
	}
	return p, nil
}

func next(text string) (step, string, error) {
	if rest, ok := strings.CutPrefix(text, "."); ok {
		return dotted(rest)
	}
	rest, ok := strings.CutPrefix(text, "[")
	if !ok || rest == "" {
		return step{}, "", fmt.Errorf("%q is not a step of a path", text)
	}
	if rest[0] == '"' || rest[0] == '\'' {
		return quoted(rest)
	}
	digits, rest, ok := strings.Cut(rest, "]")
	index, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return step{}, "", fmt.Errorf("%q is not a step of a path: wildcards, ranges and filters are not supported", text)
	}
	return step{index: int(index), element: true}, rest, nil
}

func dotted(text string) (step, string, error) {
	end := len(text)
	for i, r := range text {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			end = i
			break
		}
	}
	if end == 0 {
		return step{}, "", fmt.Errorf("%q does not begin with a name", text)
	}
	return step{name: text[:end]}, text[end:], nil
}

// quoted reads a name in quotes, without escapes: no claim has a quote or a
// backslash in its name.
func quoted(text string) (step, string, error) {
	name, rest, ok := strings.Cut(text[1:], text[:1])
	rest, closed := strings.CutPrefix(rest, "]")
	if !ok || !closed || strings.Contains(name, `\`) {
		return step{}, "", fmt.Errorf("%q is not a name in quotes and brackets", text)
	}
	return step{name: name}, rest, nil
}

// Find follows the path through a value made of map[string]any and []any; false
// if it leads nowhere.
func (p Path) Find(value any) (any, bool) {
	for _, s := range p.steps {
		switch v := value.(type) {
		case map[string]any:
			member, ok := v[s.name]
			if s.element || !ok {
				return nil, false
			}
			value = member
		case []any:
			if !s.element || s.index >= len(v) {
				return nil, false
			}
			value = v[s.index]
		default:
			return nil, false
		}
	}
	return value, true
}
