package slsa

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigstack/internal/signing"
)

// SummaryV1 is the predicate type of a verification summary (VSA).
const SummaryV1 = "https://slsa.dev/verification_summary/v1"

// Results of a verification.
const (
	Passed = "PASSED"
	Failed = "FAILED"
)

// Summary is what a verifier says of an artifact, so that others need not look at its
// provenance (slsa.dev/spec/v1.0/verification_summary).
type Summary struct {
	Verifier     Verifier   `json:"verifier"`
	TimeVerified *time.Time `json:"timeVerified,omitempty"`
	ResourceURI  string     `json:"resourceUri"`
	Policy       Descriptor `json:"policy"`
	// InputAttestations are all that were looked at, or none.
	InputAttestations []Descriptor   `json:"inputAttestations,omitempty"`
	Result            string         `json:"verificationResult"` // Passed or Failed
	Levels            []string       `json:"verifiedLevels"`     // one of each track, such as SLSA_BUILD_LEVEL_3
	DependencyLevels  map[string]int `json:"dependencyLevels,omitempty"`
	SLSAVersion       string         `json:"slsaVersion,omitempty"`
}

// Verifier is who verified.
type Verifier struct {
	ID string `json:"id"`
}

// Descriptor names a document and says what it was.
type Descriptor struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"` // hex by algorithm
}

var (
	levelPattern = regexp.MustCompile(`^(SLSA_[A-Z]+)_LEVEL_([0-4]|UNEVALUATED)$`)
	otherLevel   = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// Predicate encodes s for a statement, after the checks of ParseSummary.
func (s Summary) Predicate() (json.RawMessage, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode verification summary: %w", err)
	}
	if _, err := ParseSummary(data); err != nil {
		return nil, fmt.Errorf("make verification summary: %w", err)
	}
	return data, nil
}

// ParseSummary reads a predicate of SummaryV1. Its error matches ErrPredicate.
func ParseSummary(predicate []byte) (Summary, error) {
	if len(predicate) > maxPredicate {
		return Summary{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrPredicate, len(predicate), maxPredicate)
	}
	if err := signing.CheckUnique(predicate); err != nil {
		return Summary{}, fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	var s Summary
	if err := signing.DecodeSpelt(predicate, &s); err != nil {
		return Summary{}, fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	if err := s.check(); err != nil {
		return Summary{}, fmt.Errorf("%w: %w", ErrPredicate, err)
	}
	return s, nil
}

func (s Summary) check() error {
	switch {
	case s.Verifier.ID == "":
		return errors.New("it has no verifier.id")
	case s.ResourceURI == "":
		return errors.New("it has no resourceUri")
	case s.Policy.URI == "":
		return errors.New("it has no policy.uri")
	case s.Result != Passed && s.Result != Failed:
		return fmt.Errorf("verificationResult %q is neither %s nor %s", s.Result, Passed, Failed)
	case len(s.Levels) == 0:
		return errors.New("it has no verifiedLevels")
	}
	tracks := map[string]bool{}
	for _, l := range s.Levels {
		track := l
		if m := levelPattern.FindStringSubmatch(l); m != nil {
			track = m[1]
		} else if strings.HasPrefix(l, "SLSA_") || !otherLevel.MatchString(l) {
			return fmt.Errorf("verifiedLevels: %q is none", l)
		}
		if tracks[track] {
			return fmt.Errorf("verifiedLevels has two of track %s", track)
		}
		tracks[track] = true
	}
	return nil
}

// Expectation is what a consumer asks of a summary.
type Expectation struct {
	VerifierID  string
	Signer      Signer // who signs for that verifier
	ResourceURI string
	Level       int // least build level, 0 to 3
}

// Judge holds a summary against an expectation (release-artifacts.md C3); by is who
// signed it.
func (e Expectation) Judge(s Summary, by Signer) Verdict {
	level := -1
	for _, l := range s.Levels {
		if n, ok := strings.CutPrefix(l, "SLSA_BUILD_LEVEL_"); ok && len(n) == 1 && n[0] >= '0' && n[0] <= '9' {
			level = int(n[0] - '0')
		}
	}
	who := func(id string, s Signer) string { return id + " signed by " + s.Identity + " (" + s.Issuer + ")" }
	out := Verdict{Checks: []Check{
		{"verifier", s.Verifier.ID == e.VerifierID && by == e.Signer, who(s.Verifier.ID, by), who(e.VerifierID, e.Signer)},
		{"resource", s.ResourceURI == e.ResourceURI, s.ResourceURI, e.ResourceURI},
		{"result", s.Result == Passed, s.Result, Passed},
		{"level", level >= e.Level, strings.Join(s.Levels, ", "), fmt.Sprintf("SLSA_BUILD_LEVEL_%d", e.Level)},
	}}
	out.Passed = !slices.ContainsFunc(out.Checks, func(c Check) bool { return !c.OK })
	if out.Passed {
		out.Level = level
	}
	return out
}
