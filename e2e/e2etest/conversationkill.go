package e2etest

import (
	"errors"
	"os"
)

// Kill ends the program as a crash would.
func (c *Conversation) Kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatalf("kill: %v", err)
	}
}
