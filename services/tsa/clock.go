package tsa

import (
	"crypto/x509"
	"sync/atomic"
	"time"

	"sigstack/internal/fault"
)

// maxStepBack is how far the clock may fall behind the newest issued time
// before no timestamp is given any more. Smaller steps are what NTP does; they
// are bridged by repeating the newest time.
const maxStepBack = 5 * time.Second

// clock gives the times of timestamps. They never run backwards within a
// process. It is safe for concurrent use.
type clock struct {
	now                 func() time.Time
	notBefore, notAfter time.Time    // in which every certificate of the chain is valid
	newest              atomic.Int64 // newest time given out, Unix nanoseconds; 0: none
}

func newClock(now func() time.Time, chain []*x509.Certificate) *clock {
	c := &clock{now: now, notBefore: chain[0].NotBefore, notAfter: chain[0].NotAfter}
	for _, cert := range chain[1:] {
		if cert.NotBefore.After(c.notBefore) {
			c.notBefore = cert.NotBefore
		}
		if cert.NotAfter.Before(c.notAfter) {
			c.notAfter = cert.NotAfter
		}
	}
	return c
}

// read returns the time for a new timestamp, UTC in whole seconds. The error is
// fault.Unavailable when the clock cannot be trusted: it stepped back, or the
// chain is not valid at its time, so that no token would verify.
func (c *clock) read() (time.Time, error) {
	now := c.now().UnixNano()
	for {
		newest := c.newest.Load()
		if now < newest-int64(maxStepBack) {
			return time.Time{}, fault.Newf(fault.Unavailable,
				"clock is not trusted: it is %s behind the newest timestamp", time.Duration(newest-now).Round(time.Second))
		}
		if now <= newest {
			return c.wholeSecond(newest)
		}
		if c.newest.CompareAndSwap(newest, now) {
			return c.wholeSecond(now)
		}
	}
}

// wholeSecond drops the fraction, which genTime does not carry.
func (c *clock) wholeSecond(nanos int64) (time.Time, error) {
	at := time.Unix(0, nanos).UTC().Truncate(time.Second)
	if at.Before(c.notBefore) || at.After(c.notAfter) {
		return time.Time{}, fault.Newf(fault.Unavailable,
			"clock is outside the validity of the timestamp certificates, %s to %s",
			c.notBefore.Format(time.RFC3339), c.notAfter.Format(time.RFC3339))
	}
	return at, nil
}
