// Package look is the product's face in a browser: one style sheet and one mark,
// for the pages of the issuer, of the start page and of a client that waits for a
// login. What the pages say is left to those who serve them.
package look

import (
	"crypto/sha256"
	_ "embed" // the files below
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"strings"
)

var (
	//go:embed style.css
	style string
	//go:embed mark.svg
	mark string
)

// Style returns the style sheet, to be served as a file or inlined whole.
func Style() template.CSS { return template.CSS(style) } //nolint:gosec // G203: our own file, compiled in

// StyleSource is Style, inlined whole, as a Content-Security-Policy names it
// (CSP3 §2.3.1, hash-source).
func StyleSource() string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Version changes with the files, so that caches need not ask again.
func Version() string {
	sum := sha256.Sum256([]byte(style + mark))
	return hex.EncodeToString(sum[:6])
}

// Mark returns the mark as inline SVG, in the color of the text around it.
func Mark() template.HTML { return template.HTML(mark) } //nolint:gosec // G203: our own file, compiled in

// Icon returns the mark as an SVG file for a browser's tab, in a color that
// shows on light and on dark.
func Icon() []byte {
	return []byte(strings.Replace(mark, "currentColor", "#3f8fc9", 1))
}
