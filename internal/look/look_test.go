package look_test

import (
	"encoding/xml"
	"regexp"
	"strings"
	"testing"

	"sigstack/internal/look"
)

// TestNothingComesFromOutside: an air-gapped browser must not notice a difference,
// and no page may tell anybody else that it was opened.
func TestNothingComesFromOutside(t *testing.T) {
	for name, text := range map[string]string{
		"style": string(look.Style()), "icon": strings.ReplaceAll(string(look.Icon()), "http://www.w3.org/2000/svg", ""),
	} {
		if got := regexp.MustCompile(`@import|url\(|https?:|//[a-z]`).FindString(text); got != "" {
			t.Errorf("%s holds %q", name, got)
		}
	}
}

func TestIconIsXML(t *testing.T) {
	var icon struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		Stroke  string   `xml:"stroke,attr"`
	}
	if err := xml.Unmarshal(look.Icon(), &icon); err != nil || !strings.HasPrefix(icon.Stroke, "#") {
		t.Errorf("icon of stroke %q, %v, want SVG in a color of its own", icon.Stroke, err)
	}
}

// TestStyleIsClosed: the sheet is inlined into pages, where "</style" would end it.
func TestStyleIsClosed(t *testing.T) {
	if strings.Contains(string(look.Style()), "<") {
		t.Error("the style sheet holds a <")
	}
	if !strings.HasPrefix(look.StyleSource(), "'sha256-") || len(look.Version()) != 12 {
		t.Errorf("source %s, version %s", look.StyleSource(), look.Version())
	}
}
