package look_test

import (
	"encoding/hex"
	"encoding/xml"
	"math"
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

// TestContrast: text can be read by weak eyes, in light and dark (WCAG 2.2 §1.4.3:
// 4.5 to 1; §1.4.11: 3 to 1 for what is not text).
func TestContrast(t *testing.T) {
	variable := regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)
	light, dark, ok := strings.Cut(string(look.Style()), "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("the sheet knows no dark")
	}
	pairs := []struct {
		text, ground string
		least        float64
	}{
		{"text", "ground", 4.5},
		{"text", "sheet", 4.5},
		{"quiet", "ground", 4.5},
		{"quiet", "sheet", 4.5},
		{"accent", "sheet", 4.5},
		{"on-accent", "accent", 4.5},
		{"on-accent", "accent-deep", 4.5},
		{"bad", "bad-ground", 4.5},
		{"good", "good-ground", 4.5},
		{"test", "test-ground", 4.5},
		{"field", "sheet", 3},
	}
	for scheme, part := range map[string]string{"light": light, "dark": dark} {
		colors := map[string]string{}
		for _, m := range variable.FindAllStringSubmatch(part, -1) {
			colors[m[1]] = m[2]
		}
		for _, p := range pairs {
			a, b := luminance(t, colors[p.text]), luminance(t, colors[p.ground])
			if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, p.text, p.ground, got, p.least)
			}
		}
	}
}

// luminance is WCAG's relative one of an sRGB color.
func luminance(t *testing.T, color string) float64 {
	t.Helper()
	rgb, err := hex.DecodeString(color)
	if err != nil || len(rgb) != 3 {
		t.Fatalf("color %q: %v", color, err)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(rgb[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
