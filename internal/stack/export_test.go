package stack

import "time"

// SetDrainTimeout shortens how long a stopping stack waits for slow clients.
func (s *Stack) SetDrainTimeout(d time.Duration) { s.drainTimeout = d }
