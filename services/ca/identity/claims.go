package identity

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	// Unlike encoding/json, go-jose's fork matches names exactly and refuses
	// duplicates: a token with both "sub" and "Sub" has one meaning only.
	"github.com/go-jose/go-jose/v4/json"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity/jsonpath"
)

// maxClaim bounds a claim's text in bytes: it ends up in certificates, and those
// in a log for ever.
const maxClaim = 4096

// maxTime is the last second of the year 9999, the end of X.509 time.
const maxTime = 253402300799

// Claims is the payload of an ID token. Until its token has been verified, it is
// what a stranger says.
type Claims struct {
	Issuer  string // `iss`
	Subject string // `sub`

	members map[string]json.RawMessage
}

// ParseClaims reads a token's payload: a JSON object without duplicate names
// that has an issuer and a subject (OpenID Connect Core 1.0 §2). Errors are
// fault.Invalid.
func ParseClaims(payload []byte) (Claims, error) {
	var c Claims
	if err := json.Unmarshal(payload, &c.members); err != nil {
		return Claims{}, fault.Wrap(fault.Invalid, err, "the payload is not a JSON object")
	}
	var err error
	// The issuer's look does not matter: it is a trusted one byte for byte, or refused.
	if c.Issuer, err = c.decoded("iss"); err != nil {
		return Claims{}, err
	}
	if c.Issuer == "" {
		return Claims{}, missing("iss")
	}
	if c.Subject, err = c.Text("sub"); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// Text returns a claim that must be a string of 1 to 4096 bytes without control
// characters, which no identity needs and which forge the look of what displays it.
func (c Claims) Text(name string) (string, error) {
	text, err := c.optionalText(name)
	if err == nil && text == "" {
		err = missing(name)
	}
	return text, err
}

func missing(name string) error {
	return ofClaim(name, "CLAIM_MISSING", fault.Newf(fault.Invalid, "claim %s is missing", name))
}

// wrong is the error for a claim that cannot be what it should; why follows its
// name in the sentence.
func wrong(name, why string, err error) error {
	return ofClaim(name, "CLAIM_INVALID", fault.Wrap(fault.Invalid, err, "claim "+name+" "+why))
}

// ofClaim tells programs which claim an error is about: its name is one that this
// program or its configuration asks for.
func ofClaim(name, reason string, err error) error {
	return fault.Because(err, fault.Detail{Reason: reason, Metadata: map[string]string{"claim": name}})
}

// optionalText is Text for a claim that may be absent or empty.
func (c Claims) optionalText(name string) (string, error) {
	text, err := c.decoded(name)
	if err != nil {
		return "", err
	}
	return text, checkText(name, text)
}

// decoded returns a claim that must be a string of at most 4096 bytes if it is
// there.
func (c Claims) decoded(name string) (string, error) {
	var text *string
	if raw, ok := c.members[name]; ok {
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", wrong(name, "is not a string", err)
		}
	}
	if text == nil {
		return "", nil
	}
	return *text, checkLength(name, *text)
}

func checkLength(name, text string) error {
	if len(text) > maxClaim {
		return wrong(name, fmt.Sprintf("is over %d bytes", maxClaim), nil)
	}
	return nil
}

func checkText(name, text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return wrong(name, "has control characters", nil)
	}
	return checkLength(name, text)
}

// scalar returns a claim's text for templates: whole numbers in plain decimal,
// other numbers in the shortest decimal without exponent, booleans as true and
// false. False if it is absent or null; an array or an object is an error.
func (c Claims) scalar(name string) (string, bool, error) {
	raw := c.members[name]
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", false, nil
	case raw[0] == '"':
		text, err := c.optionalText(name)
		return text, true, err
	case raw[0] == '{' || raw[0] == '[':
		return "", false, notScalar(name)
	case raw[0] == 't' || raw[0] == 'f':
		return string(raw), true, nil
	default:
		text, err := decimal(name, string(raw))
		return text, true, err
	}
}

func notScalar(name string) error {
	return wrong(name, "is not a string, number or boolean", nil)
}

// decimal writes a JSON number without exponent. One that is written as a whole
// number keeps every digit.
func decimal(name, number string) (string, error) {
	if !strings.ContainsAny(number, ".eE") {
		return number, checkText(name, number)
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return "", wrong(name, "is not a number within bounds", nil)
	}
	return strconv.FormatFloat(f, 'f', -1, 64), nil
}

// at is scalar for a value within a claim.
func (c Claims) at(path jsonpath.Path) (string, bool, error) {
	values, err := c.Values()
	if err != nil {
		return "", false, err
	}
	value, ok := path.Find(values)
	if !ok || value == nil {
		return "", false, nil
	}
	const name = "of the issuer"
	switch v := value.(type) {
	case string:
		return v, true, checkText(name, v)
	case bool:
		return strconv.FormatBool(v), true, nil
	case json.Number:
		text, err := decimal(name, v.String())
		return text, true, err
	default:
		return "", false, notScalar(name)
	}
}

// Audience returns `aud`, which is one string or an array of strings.
func (c Claims) Audience() ([]string, error) {
	raw, ok := c.members["aud"]
	if !ok {
		return nil, missing("aud")
	}
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return nil, wrong("aud", "is neither a string nor an array of strings", err)
	}
	return many, nil
}

// Time returns a claim holding seconds since 1970, fractions allowed; false if
// there is none.
func (c Claims) Time(name string) (time.Time, bool, error) {
	raw, ok := c.members[name]
	if !ok || string(raw) == "null" {
		return time.Time{}, false, nil
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 0 || seconds > maxTime {
		return time.Time{}, false, wrong(name, "is not a time in seconds", nil)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// Values returns every claim as Go values: string, bool, nil, json.Number of
// go-jose, []any and map[string]any. The error is fault.Invalid: an object in it
// has a name twice.
func (c Claims) Values() (map[string]any, error) {
	// One array of all, since a decoder for each would cost more than the decoding.
	names, array := make([]string, 0, len(c.members)), []byte("[null")
	for name, raw := range c.members {
		names = append(names, name)
		array = append(append(array, ','), raw...)
	}
	dec := json.NewDecoder(bytes.NewReader(append(array, ']')))
	dec.SetNumberType(json.UnmarshalJSONNumber)
	var list []any
	if err := dec.Decode(&list); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "a claim is not JSON without duplicate names")
	}
	values := make(map[string]any, len(names))
	for i, name := range names {
		values[name] = list[i+1]
	}
	return values, nil
}

// flag reports whether a claim is true: the boolean, or one of the two strings
// that some providers send for it.
func (c Claims) flag(name string) bool {
	switch string(c.members[name]) {
	case `true`, `"true"`, `"True"`:
		return true
	default:
		return false
	}
}
