package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/fleet"
	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// otherReplicas answer what the database would, and note what they were asked.
type otherReplicas struct {
	may   bool // spend ahead
	short int
	wait  time.Duration
	err   error
	ahead int
	asked []string
}

func (o *otherReplicas) Spend(context.Context, *fleet.Bucket, *fleet.Bucket) bool {
	if o.may {
		o.ahead++
	}
	return o.may
}

func (o *otherReplicas) Take(_ context.Context, identity, issuer *fleet.Bucket) (int, time.Duration, error) {
	name := func(b *fleet.Bucket) string {
		if b == nil {
			return "-"
		}
		return b.Name
	}
	o.asked = append(o.asked, name(identity)+"|"+name(issuer))
	return o.short, o.wait, o.err
}

func limiting(shared sharedIssuance, identity, issuer config.Rate) (*issuance, map[httpd.Cause]int) {
	causes := map[httpd.Cause]int{}
	own := func(r config.Rate) *limit.Keyed { return limit.NewKeyed(r.PerSecond, r.Burst, 10, time.Now) }
	return &issuance{
		identities: newBucketOf(own(identity), "identity ", identity), issuers: newBucketOf(own(issuer), "issuer ", issuer),
		shared: shared, refused: func(c httpd.Cause) { causes[c]++ },
	}, causes
}

// slowRate grows nothing during a test.
func slowRate(burst int) config.Rate { return config.Rate{PerSecond: 0.001, Burst: burst} }

// TestIssuanceLimitOfReplicas: what the database said is refused here without asking it
// again, of one bucket and not of the other.
func TestIssuanceLimitOfReplicas(t *testing.T) {
	for _, tt := range []struct {
		short     int
		bucket    string
		cause     httpd.Cause
		otherwise [2]string // issuer and subject with another bucket of that kind
	}{
		{1, "identity i\x00ann", httpd.ByIdentity, [2]string{"i", "bob"}},
		{2, "issuer i", httpd.ByIssuer, [2]string{"j", "ann"}},
	} {
		others := &otherReplicas{}
		l, causes := limiting(others, slowRate(3), slowRate(3))
		if err := l.allow(t.Context(), "i", "ann"); err != nil {
			t.Fatal(err)
		}
		others.short, others.wait = tt.short, time.Minute
		if err := l.allow(t.Context(), "i", "ann"); fault.KindOf(err) != fault.Limited || fault.RetryAfterOf(err) != time.Minute {
			t.Errorf("short of %s: %v, after %v; want a refusal for a minute", tt.bucket, err, fault.RetryAfterOf(err))
		}
		l.learn(tt.bucket, 2*1000*time.Second+time.Minute) // full; a token grows in 1000 s
		for range 4 {
			if err := l.allow(t.Context(), "i", "ann"); fault.KindOf(err) != fault.Limited || fault.RetryAfterOf(err) > time.Minute || fault.RetryAfterOf(err) < 59*time.Second {
				t.Errorf("short of %s: %v, after %v; want a refusal for a minute", tt.bucket, err, fault.RetryAfterOf(err))
			}
		}
		if len(others.asked) != 2 || others.asked[1] != "identity i\x00ann|issuer i" || causes[tt.cause] != 5 {
			t.Errorf("short of %s: asked %q, refused %v, want two questions and five refusals", tt.bucket, others.asked, causes)
		}
		others.short, others.wait = 0, 0
		if err := l.allow(t.Context(), tt.otherwise[0], tt.otherwise[1]); err != nil {
			t.Errorf("short of %s before, %q: %v", tt.bucket, tt.otherwise, err)
		}
	}
}

// TestIssuanceLimitAhead: the database is asked before only where less than half of a
// bucket is left, or where it is the fleet's to say so.
func TestIssuanceLimitAhead(t *testing.T) {
	for _, tt := range []struct{ identity, issuer config.Rate }{{slowRate(10), config.Rate{}}, {slowRate(10), slowRate(1000)}, {slowRate(1000), slowRate(10)}} {
		others := &otherReplicas{may: true}
		l, _ := limiting(others, tt.identity, tt.issuer)
		for range 9 {
			if err := l.allow(t.Context(), "i", "ann"); err != nil {
				t.Fatal(err)
			}
		}
		if others.ahead != 6 || len(others.asked) != 3 { // with five left, but not with four
			t.Errorf("%+v: %d ahead and %d asked, want 6 and 3", tt, others.ahead, len(others.asked))
		}
	}
	others := &otherReplicas{may: true}
	l, _ := limiting(others, slowRate(10), config.Rate{})
	l.learn("identity i\x00ann", 6*1000*time.Second) // other replicas took six
	if err := l.allow(t.Context(), "i", "ann"); err != nil || others.ahead != 0 || len(others.asked) != 1 {
		t.Errorf("%v, %d ahead and %d asked, want to ask where others took more than half", err, others.ahead, len(others.asked))
	}
	others.may = false
	if err := l.allow(t.Context(), "i", "bob"); err != nil || len(others.asked) != 2 {
		t.Errorf("%v, %d asked; want to ask where nothing may be spent ahead", err, len(others.asked))
	}
}

// TestIssuanceLimitFailsClosed: whom the replicas cannot count nobody lets in, and it
// costs no token here.
func TestIssuanceLimitFailsClosed(t *testing.T) {
	others := &otherReplicas{err: errors.New("no connection to 10.0.0.1")}
	l, causes := limiting(others, slowRate(1), config.Rate{})
	for range 3 {
		err := l.allow(t.Context(), "i", "ann")
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(fault.Public(err), "database") || strings.Contains(fault.Public(err), "10.0") {
			t.Errorf("got %v (%q), want unavailable, without the cause", err, fault.Public(err))
		}
		if d, ok := fault.DetailOf(err); !ok || d.Reason != "LIMITS_UNAVAILABLE" {
			t.Errorf("detail %+v", d)
		}
	}
	if len(causes) != 0 {
		t.Errorf("counted as refused for a limit: %v", causes)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.allow(gone, "i", "ann"); fault.KindOf(err) != fault.Canceled {
		t.Errorf("of a client that went away: %v", err)
	}
	others.err = nil
	if err := l.allow(t.Context(), "i", "ann"); err != nil {
		t.Errorf("the database is back: %v", err)
	}
	if got := others.asked[len(others.asked)-1]; got != "identity i\x00ann|-" {
		t.Errorf("asked for %q, want no issuer where there is no limit", got)
	}
}

// TestIssuanceLimitOfOne: without replicas nobody is asked.
func TestIssuanceLimitOfOne(t *testing.T) {
	l, causes := limiting(nil, slowRate(2), slowRate(3))
	for i, want := range []string{"", "", "identity"} {
		if err := l.allow(t.Context(), "i", "ann"); (err == nil) != (want == "") {
			t.Errorf("ann %d: %v", i+1, err)
		}
	}
	for i, want := range []string{"", "issuer"} {
		if err := l.allow(t.Context(), "i", "bob"); (err == nil) != (want == "") {
			t.Errorf("bob %d: %v", i+1, err)
		}
	}
	if causes[httpd.ByIdentity] != 1 || causes[httpd.ByIssuer] != 1 {
		t.Errorf("refused %v", causes)
	}
}
