package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// IssuersName is the kit's file about token issuers.
const IssuersName = "issuers.json"

// Issuers is what a kit tells of the issuers whose tokens the stack trades for
// certificates.
type Issuers struct {
	// LocallyBacked are URLs of issuers whose keys come from the stack's operator and
	// not from whom the URL names. Certificates that name one are worth what this
	// stack's word is.
	LocallyBacked []string `json:"locally_backed"`
}

// Encode renders i for ParseIssuers, in one order.
func (i Issuers) Encode() ([]byte, error) {
	sorted := slices.Sorted(slices.Values(i.LocallyBacked))
	if sorted == nil {
		sorted = []string{}
	}
	return indent(Issuers{slices.Compact(sorted)})
}

// ParseIssuers is the inverse of Encode, and strict: a mark must not be missed.
func ParseIssuers(data []byte) (Issuers, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var i Issuers
	if err := dec.Decode(&i); err != nil {
		return Issuers{}, fmt.Errorf("parse %s: %w", IssuersName, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Issuers{}, fmt.Errorf("parse %s: more than one document", IssuersName)
	}
	if i.LocallyBacked == nil {
		return Issuers{}, fmt.Errorf("parse %s: there is no locally_backed", IssuersName)
	}
	return i, nil
}
