package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Profiles of the trust root: how long its metadata lives.
const (
	TUFConnected = "connected" // clients reach the stack: days, and a year for what people sign
	TUFAirGap    = "airgap"    // a courier carries the repository to clients: months
	TUFTest      = "test"      // tests that wait for what was published to spread: seconds
)

// TUFProfiles are the values of TUF.Profile; the first is the default.
var TUFProfiles = []string{TUFConnected, TUFAirGap, TUFTest}

// TUF configures the served trust root.
type TUF struct {
	// SnapshotKey and TimestampKey are names of keys in keys/.
	SnapshotKey  string `yaml:"snapshot_key"`
	TimestampKey string `yaml:"timestamp_key"`
	// Profile is one of TUFProfiles; docs/operations/expiry.md has the lives of each.
	// Default: connected.
	Profile string `yaml:"profile,omitempty"`
	// Lifetimes that differ from those of the profile.
	Lifetimes TUFLifetimes `yaml:"lifetimes,omitempty"`
}

// TUFLifetimes are how long the metadata of a role lives from its signing, each a
// Go duration such as 36h, or whole days such as 90d, from 3 seconds to 20 years.
// Empty: that of the profile. Metadata that is signed already keeps its end; what
// the process signs by itself is signed anew when it would live longer than this.
type TUFLifetimes struct {
	// Root and Targets are signed by people, with keys that are offline.
	Root    string `yaml:"root,omitempty"`
	Targets string `yaml:"targets,omitempty"`
	// Snapshot and Timestamp are signed by the process, again after a third of their
	// life. A stack that is stopped for two thirds of the timestamp's may be refused by
	// clients until it is back; what is published takes the whole of it to spread.
	Snapshot  string `yaml:"snapshot,omitempty"`
	Timestamp string `yaml:"timestamp,omitempty"`
}

// TUFLives are lifetimes that are decided.
type TUFLives struct{ Root, Targets, Snapshot, Timestamp time.Duration }

const day = 24 * time.Hour

// The bounds of a life, and from where on it is one for tests.
const (
	leastLife  = 3 * time.Second
	mostLife   = 20 * 365 * day
	servedLife = time.Hour
)

// profileLives are those of a profile, of the default for an unknown one.
func profileLives(profile string) TUFLives {
	switch profile {
	case TUFAirGap:
		return TUFLives{Root: 3 * 365 * day, Targets: 3 * 365 * day, Snapshot: 180 * day, Timestamp: 90 * day}
	case TUFTest:
		return TUFLives{Root: 30 * day, Targets: 30 * day, Snapshot: time.Minute, Timestamp: 20 * time.Second}
	default:
		return TUFLives{Root: 365 * day, Targets: 365 * day, Snapshot: 7 * day, Timestamp: day}
	}
}

// Lives are the profile's, where Lifetimes does not say otherwise. Those of nil are
// the default ones.
func (t *TUF) Lives() TUFLives {
	if t == nil {
		return profileLives("")
	}
	lives := profileLives(t.Profile)
	for _, l := range t.Lifetimes.settings() {
		if life, err := parseLife(l.value); err == nil {
			*l.of(&lives) = life
		}
	}
	return lives
}

// lifeSetting is one of TUFLifetimes.
type lifeSetting struct {
	field, value string
	of           func(*TUFLives) *time.Duration
}

// settings are those that are set.
func (l TUFLifetimes) settings() []lifeSetting {
	all := []lifeSetting{
		{"tuf.lifetimes.root", l.Root, func(t *TUFLives) *time.Duration { return &t.Root }},
		{"tuf.lifetimes.targets", l.Targets, func(t *TUFLives) *time.Duration { return &t.Targets }},
		{"tuf.lifetimes.snapshot", l.Snapshot, func(t *TUFLives) *time.Duration { return &t.Snapshot }},
		{"tuf.lifetimes.timestamp", l.Timestamp, func(t *TUFLives) *time.Duration { return &t.Timestamp }},
	}
	return slices.DeleteFunc(all, func(s lifeSetting) bool { return s.value == "" })
}

// parseLife reads a Go duration, or whole days.
func parseLife(s string) (time.Duration, error) {
	life, err := time.ParseDuration(s)
	if number, ok := strings.CutSuffix(s, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(number, 10, 16)
		life = time.Duration(days) * day
	}
	if err != nil || life < leastLife || life > mostLife {
		return 0, fmt.Errorf("%q, want a duration from 3s to 7300d, such as 36h or 90d", s)
	}
	return life, nil
}

// CheckTUFProfile refuses the name of no profile. Empty is the default.
func CheckTUFProfile(name string) error {
	if name == "" || slices.Contains(TUFProfiles, name) {
		return nil
	}
	return fmt.Errorf("%q, want %s", name, strings.Join(TUFProfiles, ", "))
}

func (t *TUF) validate(p *problems) {
	p.key("tuf.snapshot_key", t.SnapshotKey)
	p.key("tuf.timestamp_key", t.TimestampKey)
	p.err("tuf.profile", CheckTUFProfile(t.Profile))
	wrong := false
	for _, l := range t.Lifetimes.settings() {
		_, err := parseLife(l.value)
		p.err(l.field, err)
		wrong = wrong || err != nil
	}
	if lives := t.Lives(); !wrong {
		p.check(lives.Timestamp <= lives.Snapshot, "tuf.lifetimes: the timestamp would live for %s, longer than the snapshot that it vouches for, with %s", lives.Timestamp, lives.Snapshot)
		p.check(lives.Snapshot <= min(lives.Root, lives.Targets), "tuf.lifetimes: the snapshot would live for %s, longer than the root or the targets, with %s", lives.Snapshot, min(lives.Root, lives.Targets))
	}
}

// warnTUF is about lives that only a test wants, or nobody.
func (c *Config) warnTUF(w *problems) {
	if c.TUF == nil {
		return
	}
	lives := c.TUF.Lives()
	if c.Profile != ProfileUp && lives.Timestamp < servedLife {
		w.add("tuf: clients refuse this stack when it stands still for %s: only a test wants a timestamp that lives for %s", (lives.Timestamp / 3 * 2).Round(time.Second), lives.Timestamp)
	}
	if least := min(lives.Root, lives.Targets); c.Profile != ProfileUp && c.TUF.Profile != TUFTest && least < 30*day {
		w.add("tuf.lifetimes: people are to sign the root or the targets again every %s", least)
	}
	if most := 30 * day; c.TUF.Profile != TUFAirGap && lives.Timestamp > most {
		w.add("tuf.lifetimes.timestamp: a client may be kept from what is published for %s: such a life is for profile airgap", lives.Timestamp)
	}
}
