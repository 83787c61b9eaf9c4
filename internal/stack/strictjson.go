package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// decodeStrict decodes a file of ours: one document, and nothing in it that is not
// known.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}
