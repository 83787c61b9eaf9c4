package rotate

// WithPoint is the runner with a hook before and after each change of a file. What it
// returns ends the run as the end of the process would.
func (r Runner) WithPoint(point func() error) Runner {
	r.point = point
	return r
}

// Encode writes a journal.
func Encode(j *Journal) ([]byte, error) { return j.encode() }
