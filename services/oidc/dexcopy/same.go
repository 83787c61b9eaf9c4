package dexcopy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// same compares two resources. Storages differ in the zone and, below a microsecond, the
// digits of times, and in whether they tell nothing from an empty list. The error shows
// nothing of either, which may be secret.
func same[T any](a, b T) error {
	if !equal(a, b) {
		return errors.New("what was written differs from what is read")
	}
	return nil
}

func equal[T any](a, b T) bool {
	x, err := plain(a)
	if err != nil {
		return false
	}
	y, err := plain(b)
	return err == nil && reflect.DeepEqual(x, y)
}

// plain is a resource without what storages differ in.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return simplified(out), nil
}

func simplified(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			if member = simplified(member); member != nil {
				out[name] = member
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		if len(v) == 0 {
			return nil
		}
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = simplified(member)
		}
		return out
	case string:
		if v == "" {
			return nil
		}
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at.UTC().Round(time.Microsecond)
		}
	}
	return v
}
