package stack

import (
	"context"
	"time"

	"sigstack/internal/config"
	tufroot "sigstack/tuf-root"
)

// repository names the directory's TUF repository, with the lifetimes that conf has
// for what is signed from now on.
func (l Layout) repository(conf *config.Config, now func() time.Time) tufroot.Config {
	return tufroot.Config{Dir: l.TUF(), Lifetimes: tufroot.Lifetimes(conf.TUF.Lives()), Now: now}
}

// testRootLife is how long nobody has to sign anything for a test stack.
const testRootLife = "1825d"

// tuf is the section of a new stack.
func (cfg InitConfig) tuf() *config.TUF {
	t := &config.TUF{SnapshotKey: keyTUFSnapshot, TimestampKey: keyTUFTimestamp, Profile: cfg.TUFProfile}
	if cfg.Profile == config.ProfileUp && cfg.TUFProfile == "" {
		t.Lifetimes = config.TUFLifetimes{Root: testRootLife, Targets: testRootLife}
	}
	return t
}

// signAgain signs the snapshot and the timestamp, by the service if it is there, which
// counts and remembers how that went.
func (s *Stack) signAgain(ctx context.Context) error {
	if s.services.tuf != nil {
		return s.services.tuf.RefreshNow(ctx)
	}
	return s.repo.Resign(s.online)
}
