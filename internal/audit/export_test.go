package audit

import "time"

// WithoutPause makes Verify wait for a writer no longer than it takes to look.
func (c VerifyConfig) WithoutPause() VerifyConfig {
	c.settlePause = time.Microsecond
	return c
}
