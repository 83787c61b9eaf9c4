package signing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// DecodeSpelt decodes JSON that has passed CheckUnique, in which a member that v
// knows must be spelt as there: encoding/json takes "BuildType" for buildType, other
// readers do not. Members that v does not know are left out.
func DecodeSpelt(data []byte, v any) error {
	if err := sameCase(data, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	return dec.Decode(v)
}

func sameCase(data []byte, t reflect.Type) error {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil // it reads itself
	}
	switch t.Kind() {
	case reflect.Slice:
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
