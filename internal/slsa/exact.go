package slsa

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// exact decodes JSON that has passed signing.CheckUnique, in which a member that v
// knows must be spelt as there: encoding/json takes "BuildType" for buildType, other
// readers do not. Members that v does not know are left out.
func exact(data []byte, v any) error {
	if err := sameCase(data, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	return dec.Decode(v)
}

func sameCase(data []byte, t reflect.Type) error {
	switch t.Kind() {
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return nil
		}
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			return err
		}
		for _, item := range items {
			if err := sameCase(item, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Struct:
		if t == reflect.TypeFor[moment]() {
			return nil
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			return err
		}
		for i := range t.NumField() {
			want, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			for name, value := range members {
				switch {
				case name == want:
					if err := sameCase(value, t.Field(i).Type); err != nil {
						return fmt.Errorf("%s: %w", want, err)
					}
				case strings.EqualFold(name, want):
					return fmt.Errorf("member %q is spelt otherwise than %s", name, want)
				}
			}
		}
	}
	return nil
}
