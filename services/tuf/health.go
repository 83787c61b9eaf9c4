package tuf

import (
	"fmt"
	"strings"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// offline reports whether the i-th role of Repository.Roles is one that people sign.
func offline(i int) bool { return i < 2 }

// Health rates the state for readiness: never down, because the files are served
// whatever their age, and the rest of the stack needs none of them. The detail is fit
// for strangers.
func (s *Service) Health() (status httpd.Status, detail string) {
	var warnings, until []string
	for _, c := range s.Countdown() {
		if c.Warning != "" {
			warnings = append(warnings, c.Warning)
		}
		until = append(until, c.Role+" until "+stamp(c.Expires))
	}
	if len(warnings) > 0 {
		return httpd.Warn, strings.Join(warnings, "; ")
	}
	return httpd.OK, strings.Join(until, ", ")
}

// Countdown is how long the metadata of a role is good for.
type Countdown struct {
	Role    string // root, targets, snapshot or timestamp
	Expires time.Time
	Life    time.Duration // from its signing
	Stage   trust.Stage
	// Warning for people, if somebody has to do something.
	Warning string
}

// Countdown lists root, targets, snapshot and timestamp, in this order.
func (s *Service) Countdown() []Countdown {
	now := s.cfg.Now()
	s.mu.Lock()
	since := s.failingSince
	s.mu.Unlock()
	out := make([]Countdown, 0, 4)
	for i, r := range s.cfg.Repository.Roles() {
		c := Countdown{Role: r.Role, Expires: r.Expires, Life: r.Life, Stage: trust.StageOf(r.Life, r.Expires.Sub(now))}
		switch {
		case offline(i):
			c.Warning = offlineWarning(c, now)
		case c.Stage == trust.Expired:
			c.Warning = fmt.Sprintf("%s metadata EXPIRED at %s: clients refuse the repository until the stack has signed it again", c.Role, stamp(c.Expires))
		case tooLong(r, since, now):
			c.Warning = fmt.Sprintf("%s metadata expires at %s and could not be signed again since %s: the log says why", c.Role, stamp(c.Expires), stamp(since))
		}
		out = append(out, c)
	}
	return out
}

func offlineWarning(c Countdown, now time.Time) string {
	left := days(c.Expires.Sub(now))
	switch c.Stage {
	case trust.Expired:
		return fmt.Sprintf("%s metadata EXPIRED at %s: clients refuse the repository until it is signed again with its offline keys", c.Role, stamp(c.Expires))
	case trust.Ending:
		return fmt.Sprintf("%s metadata expires at %s, in %s: sign it again with its offline keys NOW, clients refuse it afterwards", c.Role, stamp(c.Expires), left)
	case trust.Ageing:
		return fmt.Sprintf("%s metadata expires at %s, in %s: have it signed again with its offline keys", c.Role, stamp(c.Expires), left)
	default:
		return ""
	}
}

// tooLong reports whether re-signing has failed for so long that somebody should look:
// an hour, or a tenth of a shorter life, or until half of the life is over.
func tooLong(r tufroot.RoleDescription, since, now time.Time) bool {
	return !since.IsZero() && (now.Sub(since) >= min(time.Hour, r.Life/10) || r.Expires.Sub(now) < r.Life/2)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// days words a time that is left.
func days(left time.Duration) string {
	const day = 24 * time.Hour
	if left < 2*day {
		return left.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", left/day)
}
