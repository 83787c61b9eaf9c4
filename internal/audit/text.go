package audit

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	cutMark    = "…[cut]"
	tokenMark  = "[token]"
	maxName    = 64 // bytes of a detail's name
	maxAddress = 64
)

// tokens matches what starts as every JWT does: base64url of `{"`.
var tokens = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)*`)

// clean returns e fit for a line; e itself is left as it is.
func (e Event) clean() Event {
	for _, f := range []struct {
		text *string
		most int
	}{
		{&e.Action, maxName},
		{&e.Outcome, maxName},
		{&e.Service, maxName},
		{&e.RequestID, MaxText},
		{&e.Address, maxAddress},
		{&e.Issuer, MaxText},
		{&e.Subject, MaxText},
	} {
		*f.text = cleanText(*f.text, f.most)
	}
	e.Detail = cleanDetail(e.Detail)
	return e
}

// cleanDetail keeps the first MaxDetail entries in the order of their names, and
// leaves out empty ones.
func cleanDetail(detail map[string]string) map[string]string {
	if len(detail) == 0 {
		return nil
	}
	kept := make(map[string]string, len(detail))
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		if len(kept) == MaxDetail {
			break
		}
		if detail[name] != "" {
			kept[cleanText(name, maxName)] = cleanText(detail[name], MaxText)
		}
	}
	return kept
}

// cleanText returns text without tokens, and with each rune that cannot be seen
// replaced, in at most most bytes.
func cleanText(text string, most int) string {
	if len(text) > 4*most { // before the rest of the work is done on it
		text = text[:4*most]
	}
	if strings.Contains(text, "eyJ") {
		text = tokens.ReplaceAllString(text, tokenMark)
	}
	text = strings.Map(visible, text)
	if len(text) <= most {
		return text
	}
	end := most - len(cutMark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cutMark
}

// visible replaces control and format characters (those that turn the direction
// of text, too), line separators and what is not UTF-8.
func visible(r rune) rune {
	if !unicode.IsGraphic(r) {
		return utf8.RuneError
	}
	return r
}

// printable reports whether text is free of what would act on a terminal or break
// a line. It is what readers of a line demand, and does not change with the tables
// of Unicode.
func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return true
}
