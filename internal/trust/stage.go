package trust

import "time"

// Stage is how near the end of something is that has to be renewed.
type Stage int

// The stages, in their order.
const (
	Fresh   Stage = iota
	Ageing        // at most a third of its life is left
	Ending        // at most a tenth
	Expired       // nothing
)

// String returns the word for people.
func (s Stage) String() string {
	return [...]string{"fresh", "ageing", "ending", "expired"}[s]
}

// StageOf tells the stage of what lives for life and has left of it. A life that is
// not known, 0, has no stages but the first and the last.
func StageOf(life, left time.Duration) Stage {
	switch {
	case left <= 0:
		return Expired
	case left <= life/10:
		return Ending
	case left <= life/3:
		return Ageing
	default:
		return Fresh
	}
}
