package stack

import (
	"context"
	"errors"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/fleet"
	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// issuance limits certificates by issuer, and by issuer and subject. A request is
// counted for both or for neither, so that one identity over its limit does not use up
// its issuer's.
type issuance struct {
	// What this process knows of each bucket: all that it took, and of replicas what the
	// database last told of it.
	identities, issuers bucketOf
	shared              sharedIssuance // nil: there are no replicas
	refused             func(httpd.Cause)
}

// sharedIssuance counts for all replicas. nil is a bucket without end.
type sharedIssuance interface {
	// Spend takes a token of both buckets, and tells the others afterwards. It returns
	// false, and takes nothing, where that would be too much or they cannot be told.
	Spend(ctx context.Context, identity, issuer *fleet.Bucket) bool
	// Take takes a token of both, or none and returns which, 1 or 2, has none and for
	// how long. After an error it is not known whether tokens were taken.
	Take(ctx context.Context, identity, issuer *fleet.Bucket) (short int, wait time.Duration, err error)
}

// bucketOf is a limit as this process counts it, and what it is to all replicas.
type bucketOf struct {
	own      *limit.Keyed
	kind     string // before each name
	interval time.Duration
	burst    int
}

func newBucketOf(own *limit.Keyed, kind string, r config.Rate) bucketOf {
	b := bucketOf{own: own, kind: kind}
	if own != nil {
		b.interval, b.burst = limit.Interval(r.PerSecond, r.Burst), r.Burst
	}
	return b
}

// plenty reports whether half of a bucket is left, as far as this process knows.
func (b bucketOf) plenty(key string) bool { return b.own.Left(key) >= (b.burst+1)/2 }

// of is the shared bucket of a key, nil where there is no limit.
func (b bucketOf) of(key string) *fleet.Bucket {
	if b.own == nil {
		return nil
	}
	return &fleet.Bucket{Name: b.kind + key, Interval: b.interval, Burst: b.burst}
}

// issuanceLimit is what the authority asks before it does anything for a caller.
func (b *builder) issuanceLimit() func(ctx context.Context, issuer, subject string) error {
	conf := b.conf.Limits
	l := &issuance{
		identities: newBucketOf(b.keyed(conf.Identity, maxIdentities), "identity ", conf.Identity),
		issuers:    newBucketOf(b.keyed(conf.Issuer, maxIssuers), "issuer ", conf.Issuer),
		refused:    b.mux.Refused,
	}
	if m := b.opts.member; m != nil {
		shared := m.fleet.Issuances(l.learn)
		b.onClose(shared.Close)
		l.shared = shared
	}
	return l.allow
}

// learn notes what the database says of a bucket.
func (l *issuance) learn(name string, fullIn time.Duration) {
	for _, b := range []bucketOf{l.identities, l.issuers} {
		if key, ok := strings.CutPrefix(name, b.kind); ok {
			b.own.Raise(key, fullIn)
		}
	}
}

// allow refuses who is over a limit.
func (l *issuance) allow(ctx context.Context, issuer, subject string) error {
	identity := issuer + "\x00" + subject
	if l.shared != nil {
		return l.allowAmongOthers(ctx, identity, issuer)
	}
	if ok, after := l.identities.own.Allow(identity); !ok {
		return l.overIdentity(after)
	}
	if ok, after := l.issuers.own.Allow(issuer); !ok {
		l.identities.own.Refund(identity)
		return l.overIssuer(after)
	}
	return nil
}

// allowAmongOthers asks the database only where the answer may be no: not where it
// refused and the time it said is not over, nor where plenty is left.
func (l *issuance) allowAmongOthers(ctx context.Context, identity, issuer string) error {
	if ok, after := l.identities.own.Peek(identity); !ok {
		return l.overIdentity(after)
	}
	if ok, after := l.issuers.own.Peek(issuer); !ok {
		return l.overIssuer(after)
	}
	if l.identities.plenty(identity) && l.issuers.plenty(issuer) && l.shared.Spend(ctx, l.identities.of(identity), l.issuers.of(issuer)) {
		l.identities.own.Spend(identity)
		l.issuers.own.Spend(issuer)
		return nil
	}
	short, wait, err := l.shared.Take(ctx, l.identities.of(identity), l.issuers.of(issuer))
	switch {
	case err != nil:
		return uncounted(ctx, err)
	case short == 1:
		return l.overIdentity(wait)
	case short == 2:
		return l.overIssuer(wait)
	}
	return nil
}

func (l *issuance) overIdentity(after time.Duration) error {
	l.refused(httpd.ByIdentity)
	return tooMany(after, "identity", "too many certificates for this identity, try again later")
}

func (l *issuance) overIssuer(after time.Duration) error {
	l.refused(httpd.ByIssuer)
	return tooMany(after, "issuer", "too many certificates for this token's issuer, try again later")
}

// uncounted refuses whom the other replicas cannot be told of: a limit that lets pass
// what it cannot count is none.
func uncounted(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Wrap(fault.Canceled, err, "the client went away")
	}
	const public = "certificates cannot be counted at present, since the database does not answer: try again in a moment"
	return fault.Because(fault.Wrap(fault.Unavailable, err, public), fault.Detail{Reason: "LIMITS_UNAVAILABLE"})
}
