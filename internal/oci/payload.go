package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// payloadType is critical.type of every payload (contract release-artifacts B1).
const payloadType = "cosign container image signature"

// payload is what a signature stored by tag is over: "simple signing".
type payload struct {
	Reference   string            // the repository as the signer knew it; anybody may copy it elsewhere
	Digest      string            // "sha256:<hex>" of the signed manifest
	Annotations map[string]string // those that are strings
}

// payloadJSON is a payload's form on the wire, in the order that cosign writes.
type payloadJSON struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// encode renders the payload; equal payloads give equal bytes.
func (p payload) encode() ([]byte, error) {
	var out payloadJSON
	out.Critical.Identity.Reference = p.Reference
	out.Critical.Image.Digest = p.Digest
	out.Critical.Type = payloadType
	for key, value := range p.Annotations {
		if out.Optional == nil {
			out.Optional = map[string]any{}
		}
		out.Optional[key] = value
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode signature payload: %w", err)
	}
	return data, nil
}

// decodePayload reads a payload; unknown members are errors, except among the
// signer's own under "optional".
func decodePayload(data []byte) (payload, error) {
	var in payloadJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return payload{}, fmt.Errorf("read signature payload: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return payload{}, errors.New("read signature payload: there is something after it")
	}
	if in.Critical.Type != payloadType {
		return payload{}, fmt.Errorf("read signature payload: type %q is not %q", in.Critical.Type, payloadType)
	}
	if _, err := v1.NewHash(in.Critical.Image.Digest); err != nil {
		return payload{}, fmt.Errorf("read signature payload: %w", err)
	}
	p := payload{Reference: in.Critical.Identity.Reference, Digest: in.Critical.Image.Digest}
	for key, value := range in.Optional {
		text, ok := value.(string)
		if !ok {
			continue // cosign signs annotations of any type; only strings can be asked for
		}
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[key] = text
	}
	return p, nil
}

// lacking returns an error unless have holds every pair of want.
func lacking(want, have map[string]string) error {
	for _, key := range sortedKeys(want) {
		value, ok := have[key]
		switch {
		case !ok:
			return fmt.Errorf("it has no annotation %s", key)
		case value != want[key]:
			return fmt.Errorf("its annotation %s is %q, want %q", key, value, want[key])
		}
	}
	return nil
}
