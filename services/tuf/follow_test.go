package tuf_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/services/tuf"
)

// TestOnlyTheLeaderSigns: a process that does not lead leaves signing to the one that
// does, and takes it up when it comes to lead.
func TestOnlyTheLeaderSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		s := newStack(t, time.Now, everyMinute, func(cfg *tuf.Config) { cfg.Leads = leads.Load })
		start(t, s)
		snapshot, timestamp := roleVersions(s)
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if again, then := roleVersions(s); again != snapshot || then != timestamp {
			t.Errorf("versions %d, %d, want %d, %d: it does not lead", again, then, snapshot, timestamp)
		}
		leads.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, then := roleVersions(s); then != timestamp+1 {
			t.Errorf("timestamp %d, want %d", then, timestamp+1)
		}
	})
}
