package slsa

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxPolicy bounds a policy file, in bytes.
const maxPolicy = 1 << 20

// Policy says which builds are trusted. What it does not allow is refused.
type Policy struct {
	// Builders are those whose word counts, each with who signs for it.
	Builders []Builder `yaml:"builders"`
	// BuildTypes are those whose parameters are understood.
	BuildTypes []string `yaml:"build_types"`
	Source     Source   `yaml:"source"`
	// Parameters are all external ones, with the value that each must have; one that is
	// not listed is refused, and one that is listed must be there.
	Parameters map[string]any `yaml:"parameters"`
	// Level is the least build level, 1 to 3.
	Level int `yaml:"level"`
}

// Builder is a build platform that is trusted up to a level.
type Builder struct {
	ID       string `yaml:"id"`       // builder.id
	Identity string `yaml:"identity"` // of the signer's certificate, or "key sha256:…" of a key pair
	Issuer   string `yaml:"issuer"`   // that vouched for it; "" for a key pair
	// Level that the platform reaches: 2 where what is built could reach the signing
	// identity, 3 where it cannot and parameters are complete (slsa.dev/spec/v1.0/levels).
	Level int `yaml:"level"`
}

// Source is where the sources must come from.
type Source struct {
	URI    string `yaml:"uri"`    // git+https://…, without ref
	Ref    string `yaml:"ref"`    // such as refs/tags/v1.2.3; "": any
	Commit string `yaml:"commit"` // hex; "": any
}

// byKey reports whether a key pair signs, without a certificate.
func (b Builder) byKey() bool { return strings.HasPrefix(b.Identity, "key sha256:") }

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// ParsePolicy reads a policy in YAML, and refuses members that it does not know and
// policies that would trust everything.
func ParsePolicy(data []byte) (Policy, error) {
	if len(data) > maxPolicy {
		return Policy{}, fmt.Errorf("policy has %d bytes, more than %d", len(data), maxPolicy)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var p Policy
	if err := dec.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Policy{}, errors.New("read policy: there is more than one document")
	}
	if err := p.check(); err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	return p, nil
}

func (p Policy) check() error {
	switch {
	case len(p.Builders) == 0:
		return errors.New("builders: name whose word counts")
	case len(p.BuildTypes) == 0:
		return errors.New("build_types: name those whose parameters are understood")
	case !strings.HasPrefix(p.Source.URI, "git+"):
		return fmt.Errorf("source.uri %q is not that of a git repository: git+https://HOST/PATH", p.Source.URI)
	case p.Source.Commit != "" && !commitPattern.MatchString(p.Source.Commit):
		return fmt.Errorf("source.commit %q is not a commit in hex", p.Source.Commit)
	case p.Level < 1 || p.Level > 3:
		return fmt.Errorf("level %d: want 1, 2 or 3", p.Level)
	}
	if _, ref, _ := (Resource{URI: p.Source.URI}).Source(); ref != "" {
		return fmt.Errorf("source.uri has a ref in it: say ref: %s", ref)
	}
	for i, b := range p.Builders {
		switch {
		case b.ID == "" || b.Identity == "" || b.Issuer == "" && !b.byKey():
			return fmt.Errorf("builders[%d]: id, identity and issuer are needed; of a key pair id, and identity: key sha256:…", i)
		case b.Issuer != "" && b.byKey():
			return fmt.Errorf("builders[%d]: a key pair has no issuer", i)
		case b.Level < 1 || b.Level > 3:
			return fmt.Errorf("builders[%d]: level %d: want 1, 2 or 3", i, b.Level)
		}
	}
	for name, value := range p.Parameters {
		if _, err := json.Marshal(value); err != nil {
			return fmt.Errorf("parameters.%s: %w", name, err)
		}
	}
	return nil
}
