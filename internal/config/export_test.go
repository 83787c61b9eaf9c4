package config

import (
	"reflect"
	"regexp"
	"strings"
)

var pathParts = regexp.MustCompile(`[^.\[\]]+|\[\d+\]`)

// Known reports whether the schema has a field of that path. Inside a connector's
// settings every name is one.
func Known(path string) bool {
	t := reflect.TypeFor[Config]()
	for _, part := range pathParts.FindAllString(path, -1) {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch isIndex := strings.HasPrefix(part, "["); {
		case t.Kind() == reflect.Interface:
			return true
		case t.Kind() == reflect.Map && !isIndex, t.Kind() == reflect.Slice && isIndex:
			t = t.Elem()
		case t.Kind() == reflect.Struct && fieldsOf(t)[part] != nil:
			t = fieldsOf(t)[part]
		default:
			return false
		}
	}
	return true
}

// Complete is a configuration with every section that there is, and nothing in
// any of them: nearly everything is wrong with it.
func Complete() *Config {
	c := new(Config)
	fill(reflect.ValueOf(c).Elem())
	return c
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("!")
	case reflect.Int, reflect.Int64:
		v.SetInt(-1)
	case reflect.Float64:
		v.SetFloat(-1)
	}
}
