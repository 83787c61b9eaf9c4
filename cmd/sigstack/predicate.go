package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/sbom"
	"sigstack/internal/signing"
	"sigstack/internal/slsa"
)

// maxPredicate is the most bytes of a predicate: its statement has to fit into a
// bundle, in base64.
const maxPredicate = 16 << 20

// cyclonePredicate is the type of CycloneDX documents.
const cyclonePredicate = "https://cyclonedx.org/bom"

// customPredicate is the type of cosign's own wrapper around arbitrary text.
const customPredicate = "https://cosign.sigstore.dev/attestation/v1"

// predicateTypes maps cosign's short names to predicate types. The first is what
// attest writes, all are what verify-attestation takes.
func predicateTypes(name string) ([]string, error) {
	switch name {
	case "slsaprovenance1":
		return []string{"https://slsa.dev/provenance/v1"}, nil
	case "slsaprovenance", "slsaprovenance02":
		return []string{"https://slsa.dev/provenance/v0.2"}, nil
	case "spdx", "spdxjson":
		return signing.SPDXPredicates(), nil
	case "cyclonedx":
		return []string{cyclonePredicate}, nil
	case "vsa":
		return []string{slsa.SummaryV1}, nil
	case "link":
		return []string{"https://in-toto.io/Link/v1"}, nil
	case "vuln":
		return []string{"https://cosign.sigstore.dev/attestation/vuln/v1"}, nil
	case "openvex":
		return []string{"https://openvex.dev/ns"}, nil
	case "custom":
		return []string{customPredicate}, nil
	case "":
		return nil, usagef("--type is needed: %s, or a URI", predicateNames)
	}
	if name == oci.SignaturePredicate {
		return nil, usagef("--type %s is that of an image's signature: use sigstack sign or verify", name)
	}
	if u, err := url.Parse(name); err != nil || u.Scheme == "" {
		return nil, usagef("--type %q: want %s, or a URI", name, predicateNames)
	}
	return []string{name}, nil
}

const predicateNames = "slsaprovenance1, slsaprovenance, vsa, spdx, spdxjson, cyclonedx, vuln, link, openvex, custom"

// encodePredicate turns a file's content into the predicate of a type, the way
// cosign does it: what is custom is wrapped with the time, SPDX as tags and values is
// a string, all else is JSON.
func encodePredicate(predicateType string, content []byte, now time.Time) (json.RawMessage, error) {
	if predicateType == customPredicate {
		return json.Marshal(struct {
			Data      string
			Timestamp string
		}{string(content), now.UTC().Format(time.RFC3339)})
	}
	trimmed := bytes.TrimSpace(content)
	if json.Valid(trimmed) && trimmed[0] == '{' {
		return trimmed, nil
	}
	if !slices.Contains(signing.SPDXPredicates(), predicateType) {
		return nil, usagef("the predicate is not a JSON object")
	}
	if _, err := sbom.Parse(content); err != nil {
		return nil, usagef("the predicate is neither a JSON object nor SPDX as tags and values: %w", err)
	}
	return json.Marshal(string(content))
}
