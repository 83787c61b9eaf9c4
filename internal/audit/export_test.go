package audit

import (
	"crypto/ecdsa"
	"time"
)

// ParseSlot reads one slot of a head file.
func ParseSlot(slot []byte, key *ecdsa.PublicKey) (Head, error) { return parseSlot(slot, key) }

// WithoutPause makes Verify wait for a writer no longer than it takes to look.
func (c VerifyConfig) WithoutPause() VerifyConfig {
	c.settlePause = time.Microsecond
	return c
}

// Disk is where records lie, File one of its files.
type (
	Disk = disk
	File = file
)

// On puts the record on another disk.
func (o Options) On(d fileSystem) Options {
	o.fs = d
	return o
}
