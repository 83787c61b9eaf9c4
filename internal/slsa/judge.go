package slsa

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Signer is who signed a provenance, as it was verified.
type Signer struct{ Identity, Issuer string }

// Check is one question to a provenance, with its answer.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Want  string `json:"want"`
}

// Verdict is what a policy says of a provenance.
type Verdict struct {
	// About begins the error of what did not pass; "": it is a policy's.
	About  string `json:"-"`
	Passed bool   `json:"passed"`
	// Level is the build level that was shown, 0 if a check failed.
	Level  int     `json:"level"`
	Checks []Check `json:"checks"` // all, in the order of the contract
}

// Judge holds a provenance against a policy (release-artifacts.md C1). All checks are
// made, so that whoever is refused sees everything at once.
func (p Policy) Judge(v Provenance, by Signer) Verdict {
	var out Verdict
	add := func(name string, ok bool, found, want string) {
		out.Checks = append(out.Checks, Check{name, ok, found, want})
	}
	builder, ok := p.builder(v.BuilderID, by)
	add("builder", ok, v.BuilderID+" signed by "+by.Identity+" ("+by.Issuer+")", p.pairs())
	add("build type", slices.Contains(p.BuildTypes, v.BuildType), v.BuildType, strings.Join(p.BuildTypes, " or "))
	out.Checks = append(out.Checks, p.parameters(v)...)
	out.Checks = append(out.Checks, p.source(v)...)
	out.Checks = append(out.Checks, run(v)...)
	add("level", builder.Level >= p.Level, fmt.Sprintf("SLSA_BUILD_LEVEL_%d", builder.Level), fmt.Sprintf("SLSA_BUILD_LEVEL_%d", p.Level))
	out.Passed = !slices.ContainsFunc(out.Checks, func(c Check) bool { return !c.OK })
	if out.Passed {
		out.Level = builder.Level
	}
	return out
}

// Err is nil if all checks passed, and names those that did not.
func (v Verdict) Err() error {
	var failed []string
	for _, c := range v.Checks {
		if !c.OK {
			failed = append(failed, fmt.Sprintf("%s: it is %s, want %s", c.Name, c.Found, c.Want))
		}
	}
	if len(failed) == 0 && v.Passed {
		return nil
	}
	return fmt.Errorf("%s: %s", cmp.Or(v.About, "the policy refuses the provenance"), strings.Join(failed, "; "))
}

func (p Policy) builder(id string, by Signer) (Builder, bool) {
	i := slices.IndexFunc(p.Builders, func(b Builder) bool { return b.ID == id && b.Identity == by.Identity && b.Issuer == by.Issuer })
	if i < 0 {
		return Builder{}, false
	}
	return p.Builders[i], true
}

func (p Policy) pairs() string {
	var out []string
	for _, b := range p.Builders {
		out = append(out, b.ID+" signed by "+b.Identity+" ("+b.Issuer+")")
	}
	return strings.Join(out, " or ")
}

const (
	missing    = "missing"
	unexpected = "not there: parameters that the policy does not list are refused"
)

// parameters demands that each has the value of the policy, and that there are no
// others.
func (p Policy) parameters(v Provenance) (out []Check) {
	for _, name := range slices.Sorted(maps.Keys(p.Parameters)) {
		want, err := json.Marshal(p.Parameters[name])
		if err != nil {
			want = []byte(err.Error()) // check has seen to it that there is none
		}
		c := Check{Name: "parameter " + name, Found: missing, Want: string(want)}
		if found, ok := v.Parameters[name]; ok {
			c.Found, c.OK = compact(found), sameJSON(found, want)
		}
		out = append(out, c)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Parameters)) {
		if _, ok := p.Parameters[name]; !ok {
			out = append(out, Check{"parameter " + name, false, compact(v.Parameters[name]), unexpected})
		}
	}
	return out
}

// source demands exactly one dependency on the repository, with its commit.
func (p Policy) source(v Provenance) []Check {
	var found []Resource
	for _, d := range v.Dependencies {
		if repository, _, ok := d.Source(); ok && repository == p.Source.URI {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return []Check{{"source", false, fmt.Sprintf("in %d of %d dependencies", len(found), len(v.Dependencies)), p.Source.URI + " in one"}}
	}
	_, ref, _ := found[0].Source()
	commit := found[0].Commit()
	out := []Check{{"source", true, p.Source.URI, p.Source.URI}}
	if p.Source.Ref != "" {
		out = append(out, Check{"source ref", ref == p.Source.Ref, orMissing(ref), p.Source.Ref})
	}
	want, ok := "a commit in hex", commitPattern.MatchString(commit)
	if p.Source.Commit != "" {
		want, ok = p.Source.Commit, commit == p.Source.Commit
	}
	return append(out, Check{"source commit", ok, orMissing(commit), want})
}

// run demands what tells one run of a builder from another.
func run(v Provenance) []Check {
	out := []Check{{"invocation", v.InvocationID != "", orMissing(v.InvocationID), "an id"}}
	times := Check{Name: "times", Found: missing, Want: "a start, and an end that is not before it"}
	if !v.Started.IsZero() && !v.Finished.IsZero() {
		times.Found, times.OK = fmt.Sprintf("%s to %s", v.Started.UTC(), v.Finished.UTC()), !v.Finished.Before(v.Started)
	}
	return append(out, times)
}

func orMissing(s string) string {
	if s == "" {
		return missing
	}
	return s
}

func compact(data json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return string(data)
	}
	return b.String()
}

// sameJSON compares two values; numbers by their text, so that none is rounded.
func sameJSON(a, b []byte) bool {
	x, errX := canonical(a)
	y, errY := canonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// canonical sorts members and drops white space.
func canonical(data []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
