// Package token uses keys that live in PKCS#11 tokens, named by RFC 7512 URIs.
// Without cgo and the build tag pkcs11 it only reads the URIs, and Open says how
// to get the other program. What a key is called and trusted for is internal/keys'.
package token

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Scheme is how the URIs of this package begin.
const Scheme = "pkcs11:"

// URI names one private key (RFC 7512). Its own text never holds a PIN.
type URI struct {
	Token, Serial, Manufacturer, Model string // of the token; empty: any
	Object                             string // the key's label; empty: any
	ID                                 string // the key's CKA_ID, raw bytes; empty: any
	Module                             string // absolute path of the token's library
	PINFile                            string // absolute path; empty: the token asks for none
}

// attributes are those that a URI may have, in the order in which String writes
// them: path attributes, then query attributes (RFC 7512 §2.3).
func (u *URI) attributes() (path, query []attribute) {
	path = []attribute{
		{"token", &u.Token},
		{"manufacturer", &u.Manufacturer},
		{"serial", &u.Serial},
		{"model", &u.Model},
		{"object", &u.Object},
		{"id", &u.ID},
	}
	query = []attribute{
		{"module-path", &u.Module},
		{"pin-source", &u.PINFile},
	}
	return path, query
}

type attribute struct {
	name  string
	value *string
}

// ParseURI reads a URI strictly: an attribute that would be passed over, is there
// twice, or holds a PIN is an error, and so is a URI that does not name a token,
// a key and a library.
func ParseURI(s string) (URI, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return URI{}, fmt.Errorf("not a %s URI", Scheme)
	}
	pathPart, queryPart, hasQuery := strings.Cut(rest, "?")
	var u URI
	path, query := u.attributes()
	if err := readAttributes(pathPart, ";", append(path, attribute{"type", new(string)})); err != nil {
		return URI{}, err
	}
	if hasQuery {
		if err := readAttributes(queryPart, "&", query); err != nil {
			return URI{}, err
		}
	}
	u.PINFile = strings.TrimPrefix(u.PINFile, "file:")
	if strings.HasPrefix(u.PINFile, "///") { // file://, and no host
		u.PINFile = u.PINFile[2:]
	}
	return u, u.check()
}

func readAttributes(part, separator string, known []attribute) error {
	var seen []string
	for pair := range strings.SplitSeq(part, separator) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("attribute %.40q has no value", name)
		}
		if name == "pin-value" {
			return errors.New("attribute pin-value would put the PIN where everybody reads it: put it into a file and name that with pin-source=file:/PATH")
		}
		at := slices.IndexFunc(known, func(a attribute) bool { return a.name == name })
		if at < 0 {
			return fmt.Errorf("attribute %.40q is not known here", name)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("attribute %s is there twice", name)
		}
		seen = append(seen, name)
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if name == "type" && decoded != "private" {
			return fmt.Errorf("attribute type: %.40q, want private or none", decoded)
		}
		if decoded == "" {
			return fmt.Errorf("attribute %s is empty", name)
		}
		*known[at].value = decoded
	}
	return nil
}

func (u URI) check() error {
	switch {
	case u.Token == "" && u.Serial == "":
		return errors.New("it names no token: add token=LABEL or serial=NUMBER")
	case u.Object == "" && u.ID == "":
		return errors.New("it names no key: add object=LABEL or id=BYTES")
	case u.Module == "":
		return errors.New("it names no library: add ?module-path=/PATH/TO/LIBRARY.so")
	case !filepath.IsAbs(u.Module) || strings.ContainsRune(u.Module, 0):
		return fmt.Errorf("module-path: %q is not an absolute path", u.Module)
	case strings.HasPrefix(u.PINFile, "|"):
		return errors.New("pin-source: commands are not run: name a file")
	case u.PINFile != "" && (!filepath.IsAbs(u.PINFile) || strings.HasPrefix(u.PINFile, "//") || strings.ContainsRune(u.PINFile, 0)):
		return fmt.Errorf("pin-source: %q is not an absolute path", u.PINFile)
	}
	return nil
}

// String returns the URI in its one form, which ParseURI reads back to the same.
func (u URI) String() string {
	path, query := u.attributes()
	pathText, queryText := joinAttributes(path, ";"), joinAttributes(query, "&")
	if queryText == "" {
		return Scheme + pathText
	}
	return Scheme + pathText + "?" + queryText
}

func joinAttributes(list []attribute, separator string) string {
	var out []string
	for _, a := range list {
		value := *a.value
		if value == "" {
			continue
		}
		prefix := ""
		if a.name == "pin-source" {
			prefix = "file:"
		}
		out = append(out, a.name+"="+prefix+escape(value, a.name))
	}
	return strings.Join(out, separator)
}

// escape leaves unreserved characters, and the slashes of paths, and writes
// every byte of an ID in hexadecimal (RFC 7512 §2.4 recommends both).
func escape(s, name string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 ||
			c == '/' && (name == "module-path" || name == "pin-source")
		if plain && name != "id" {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
