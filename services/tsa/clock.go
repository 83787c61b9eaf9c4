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

// clock gives the times of timestamps. They never run backwards within a process,
// whichever chain they are of. It is safe for concurrent use.
type clock struct {
	now    func() time.Time
	newest atomic.Int64 // newest time given out, Unix nanoseconds; 0: none
}

// span is a time, both ends included.
type span struct{ from, to time.Time }

// validity is when every certificate of a chain is valid.
func validity(chain []*x509.Certificate) span {
	v := span{chain[0].NotBefore, chain[0].NotAfter}
	for _, cert := range chain[1:] {
		if cert.NotBefore.After(v.from) {
			v.from = cert.NotBefore
		}
		if cert.NotAfter.Before(v.to) {
			v.to = cert.NotAfter
		}
	}
	return v
}

// read returns the time for a new timestamp, UTC in whole seconds. The error is
// fault.Unavailable when the clock cannot be trusted: it stepped back, or a chain
// that is valid in that span is not at its time, so that no token would verify.
func (c *clock) read(valid span) (time.Time, error) {
	now := c.now().UnixNano()
	for {
		newest := c.newest.Load()
		if now < newest-int64(maxStepBack) {
			return time.Time{}, fault.Newf(fault.Unavailable,
				"clock is not trusted: it is %s behind the newest timestamp", time.Duration(newest-now).Round(time.Second))
		}
		if now <= newest {
			return valid.wholeSecond(newest)
		}
		if c.newest.CompareAndSwap(newest, now) {
			return valid.wholeSecond(now)
		}
	}
}

// wholeSecond drops the fraction, which genTime does not carry.
func (v span) wholeSecond(nanos int64) (time.Time, error) {
	at := time.Unix(0, nanos).UTC().Truncate(time.Second)
	if at.Before(v.from) || at.After(v.to) {
		return time.Time{}, fault.Newf(fault.Unavailable,
			"clock is outside the validity of the timestamp certificates, %s to %s",
			v.from.Format(time.RFC3339), v.to.Format(time.RFC3339))
	}
	return at, nil
}
