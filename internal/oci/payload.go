package oci

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/internal/signing"
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

// readPayload decodes a payload as strictly as signing reads statements: each
// member is there once and spelt as it should be. Unknown ones are errors, except
// among the signer's own under "optional".
func readPayload(data []byte) (in payloadJSON, err error) {
	if err := signing.CheckUnique(data); err != nil {
		return in, err
	}
	var top struct {
		Critical json.RawMessage `json:"critical"`
		Optional map[string]any  `json:"optional"`
	}
	if err := signing.DecodeExact(data, &top, "critical", "optional"); err != nil {
		return in, err
	}
	var critical struct {
		Identity json.RawMessage `json:"identity"`
		Image    json.RawMessage `json:"image"`
		Type     string          `json:"type"`
	}
	if err := signing.DecodeExact(top.Critical, &critical, "identity", "image", "type"); err != nil {
		return in, fmt.Errorf("critical: %w", err)
	}
	if err := signing.DecodeExact(critical.Identity, &in.Critical.Identity, "docker-reference"); err != nil {
		return in, fmt.Errorf("critical.identity: %w", err)
	}
	if err := signing.DecodeExact(critical.Image, &in.Critical.Image, "docker-manifest-digest"); err != nil {
		return in, fmt.Errorf("critical.image: %w", err)
	}
	in.Critical.Type, in.Optional = critical.Type, top.Optional
	return in, nil
}

// decodePayload reads a payload.
func decodePayload(data []byte) (payload, error) {
	in, err := readPayload(data)
	if err != nil {
		return payload{}, fmt.Errorf("read signature payload: %w", err)
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
