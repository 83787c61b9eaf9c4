// Package slsa reads SLSA provenance (v1, and v0.2 as Kubernetes published it) and
// verification summaries, and judges provenance by a policy (contract:
// release-artifacts.md C1, C3; slsa.dev/spec/v1.0). Whether a statement is genuine
// and about an artifact is found out before, by package signing.
package slsa

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigstack/internal/signing"
)

// Predicate types.
const (
	ProvenanceV1  = "https://slsa.dev/provenance/v1"
	ProvenanceV02 = "https://slsa.dev/provenance/v0.2"
)

// maxPredicate bounds a predicate, in bytes.
const maxPredicate = 16 << 20

// Provenance is what a policy asks about, whichever version said it.
type Provenance struct {
	PredicateType string
	BuilderID     string
	BuildType     string
	// Parameters are the external ones of v1. Of v0.2 they are those of the invocation
	// and, as configSource, where its configuration came from.
	Parameters map[string]json.RawMessage
	// Dependencies are resolvedDependencies of v1, materials of v0.2.
	Dependencies      []Resource
	InvocationID      string
	Started, Finished time.Time // zero: not told
}

// Resource is something that went into a build.
type Resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"` // hex by algorithm; of git commits gitCommit, and sha1 in v0.2
}

// Commit is the git commit of r, "" if it is none.
func (r Resource) Commit() string {
	if c := r.Digest["gitCommit"]; c != "" {
		return c
	}
	return r.Digest["sha1"]
}

// Source splits the URI of a git resource into repository and ref, which may be "".
func (r Resource) Source() (repository, ref string, ok bool) {
	if !strings.HasPrefix(r.URI, "git+") {
		return "", "", false
	}
	// An @ before the host is of a user, not of a ref.
	at := strings.LastIndex(r.URI, "@")
	if at < 0 || strings.Contains(r.URI[at:], "://") || !strings.Contains(r.URI[:at], "://") ||
		!strings.Contains(r.URI[strings.Index(r.URI, "://")+3:at], "/") {
		return r.URI, "", true
	}
	return r.URI[:at], r.URI[at+1:], true
}

// ErrPredicate is matched by the errors of predicates that cannot be read.
var ErrPredicate = errors.New("the predicate is not one of its type")

// ParseProvenance reads a predicate of either type. It refuses one without builder or
// build type, members that are there twice, and other predicate types.
func ParseProvenance(predicateType string, predicate []byte) (Provenance, error) {
	if len(predicate) > maxPredicate {
		return Provenance{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrPredicate, len(predicate), maxPredicate)
	}
	if err := signing.CheckUnique(predicate); err != nil {
		return Provenance{}, fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	var p Provenance
	var err error
	switch predicateType {
	case ProvenanceV1:
		p, err = parseV1(predicate)
	case ProvenanceV02:
		p, err = parseV02(predicate)
	default:
		return Provenance{}, fmt.Errorf("%w: %q is no provenance that this program reads", ErrPredicate, predicateType)
	}
	if err != nil {
		return Provenance{}, fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	p.PredicateType = predicateType
	switch {
	case p.BuilderID == "":
		return Provenance{}, fmt.Errorf("%w: it does not name a builder", ErrPredicate)
	case p.BuildType == "":
		return Provenance{}, fmt.Errorf("%w: it has no build type", ErrPredicate)
	}
	return p, nil
}

func parseV1(predicate []byte) (Provenance, error) {
	var v struct {
		BuildDefinition struct {
			BuildType            string                     `json:"buildType"`
			ExternalParameters   map[string]json.RawMessage `json:"externalParameters"`
			ResolvedDependencies []Resource                 `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
			Metadata struct {
				InvocationID string `json:"invocationId"`
				StartedOn    moment `json:"startedOn"`
				FinishedOn   moment `json:"finishedOn"`
			} `json:"metadata"`
		} `json:"runDetails"`
	}
	if err := signing.DecodeSpelt(predicate, &v); err != nil {
		return Provenance{}, err
	}
	if v.BuildDefinition.ExternalParameters == nil {
		return Provenance{}, errors.New("it has no externalParameters")
	}
	m := v.RunDetails.Metadata
	return Provenance{
		BuilderID: v.RunDetails.Builder.ID, BuildType: v.BuildDefinition.BuildType,
		Parameters: v.BuildDefinition.ExternalParameters, Dependencies: v.BuildDefinition.ResolvedDependencies,
		InvocationID: m.InvocationID, Started: m.StartedOn.Time, Finished: m.FinishedOn.Time,
	}, nil
}

func parseV02(predicate []byte) (Provenance, error) {
	var v struct {
		BuildType string `json:"buildType"`
		Builder   struct {
			ID string `json:"id"`
		} `json:"builder"`
		Invocation struct {
			ConfigSource json.RawMessage            `json:"configSource"`
			Parameters   map[string]json.RawMessage `json:"parameters"`
		} `json:"invocation"`
		Metadata struct {
			BuildInvocationID string `json:"buildInvocationID"`
			BuildStartedOn    moment `json:"buildStartedOn"`
			BuildFinishedOn   moment `json:"buildFinishedOn"`
		} `json:"metadata"`
		Materials []Resource `json:"materials"`
	}
	if err := signing.DecodeSpelt(predicate, &v); err != nil {
		return Provenance{}, err
	}
	parameters := map[string]json.RawMessage{}
	for name, value := range v.Invocation.Parameters {
		parameters[name] = value
	}
	if source := v.Invocation.ConfigSource; len(source) > 0 && string(source) != "{}" && string(source) != "null" {
		if _, taken := parameters["configSource"]; taken {
			return Provenance{}, errors.New("a parameter has the name of the invocation's configSource")
		}
		parameters["configSource"] = source
	}
	return Provenance{
		BuilderID: v.Builder.ID, BuildType: v.BuildType, Parameters: parameters, Dependencies: v.Materials,
		InvocationID: v.Metadata.BuildInvocationID, Started: v.Metadata.BuildStartedOn.Time, Finished: v.Metadata.BuildFinishedOn.Time,
	}, nil
}

// moment is a time of RFC 3339; null and "" are none.
type moment struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (m *moment) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if text == "" {
		return nil
	}
	var err error
	m.Time, err = time.Parse(time.RFC3339, text)
	return err
}
