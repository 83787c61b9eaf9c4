package config

import (
	"regexp"
	"time"
)

// Audit configures the audit record, which is always kept, in audit/ of the data
// directory.
type Audit struct {
	// Key is the name of the key in keys/ that signs the record's heads; ECDSA
	// P-256.
	Key string `yaml:"key"`
	// Chain is the record's id, made at init: a directory with another record, or
	// none, is refused. Without it the record that is there is gone on with, and
	// where there is none one is begun.
	Chain string `yaml:"chain,omitempty"`
	// AnchorEvery is how often the head is entered in the transparency log, as a
	// Go duration of at least 1m. Default: 1h.
	AnchorEvery string `yaml:"anchor_every,omitempty"`
}

// The bounds of AnchorEvery.
const (
	defaultAnchorEvery = time.Hour
	leastAnchorEvery   = time.Minute
	mostAnchorEvery    = 30 * 24 * time.Hour
)

var validChain = regexp.MustCompile(`^([0-9a-f]{64})?$`)

// Interval is AnchorEvery or its default.
func (a *Audit) Interval() time.Duration {
	if d, err := time.ParseDuration(a.AnchorEvery); err == nil {
		return d
	}
	return defaultAnchorEvery
}

func (a *Audit) validate(p *problems) {
	p.key("audit.key", a.Key)
	p.check(validChain.MatchString(a.Chain), "audit.chain: %q is not the id of a record, 64 hex digits", a.Chain)
	if a.AnchorEvery == "" {
		return
	}
	d, err := time.ParseDuration(a.AnchorEvery)
	p.check(err == nil && d >= leastAnchorEvery && d <= mostAnchorEvery,
		"audit.anchor_every: %q, want a duration from 1m to 720h, such as 1h", a.AnchorEvery)
}
