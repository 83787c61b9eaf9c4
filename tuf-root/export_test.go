package tufroot

import (
	"errors"
	"io/fs"

	"sigstack/internal/trust"
)

// ErrCrash is what an injected write fails with.
var ErrCrash = errors.New("injected crash")

// Crash makes the n-th write from now fail, counted from 0, as do all after it.
// If done, that write takes place all the same before it is reported as failed.
type Crash struct {
	N    int
	Done bool
}

func (c Crash) disk() disk {
	real := durableDisk()
	left := c.N
	wrap := func(write func(string, []byte, fs.FileMode) error) func(string, []byte, fs.FileMode) error {
		return func(path string, data []byte, perm fs.FileMode) error {
			left--
			switch {
			case left >= 0:
				return write(path, data, perm)
			case left == -1 && c.Done:
				return errors.Join(write(path, data, perm), ErrCrash)
			}
			return ErrCrash
		}
	}
	return disk{create: wrap(real.create), replace: wrap(real.replace)}
}

// Break makes the repository's writes fail.
func (r *Repository) Break(c Crash) { r.disk = c.disk() }

// Heal ends what Break began.
func (r *Repository) Heal() { r.disk = durableDisk() }

// CreateBroken is Create with failing writes.
func CreateBroken(cfg Config, keys Keys, targets []trust.Target, c Crash) (*Repository, error) {
	return create(cfg, keys, targets, c.disk())
}

// CreateSignedBroken is CreateSigned with failing writes.
func CreateSignedBroken(cfg Config, root, targetsRole []byte, targets []trust.Target, online Online, c Crash) (*Repository, error) {
	return createSigned(cfg, root, targetsRole, targets, online, c.disk())
}

// ParseRecord reads a record of publications and writes it again.
func ParseRecord(data []byte) (again []byte, err error) {
	rec, err := parseRecord(data)
	if err != nil {
		return nil, err
	}
	return rec.encode()
}
