package sct

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/fault"
)

// TestUse: later precertificates go to the new logs; one under way ends with the logs
// that it began with, and gone tells when the last has; a log that stays is known to
// fail; what is wrong changes nothing.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := newECDSA(t), newECDSA(t)
		p, _ := newPool(t, old.log("old"))
		begun, goOn := make(chan struct{}), make(chan struct{})
		old.do(func(context.Context) ([]byte, error) {
			close(begun)
			<-goOn
			return old.answer(tbs, uint64(time.Now().UnixMilli()), nil), nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if sct, err := p.Get(t.Context(), precert()); err != nil || !idIn(sct, old) {
				t.Errorf("under way: %v, want a timestamp of the log of before", err)
			}
		})
		<-begun
		if _, err := p.Use([]Log{next.log("next"), next.log("again")}); err == nil {
			t.Error("a log that is there twice is taken")
		}
		if err := p.Check(nil); err == nil {
			t.Error("no log at all is taken")
		}
		gone, err := p.Use([]Log{next.log("next")})
		if err != nil {
			t.Fatal(err)
		}
		if sct, err := p.Get(t.Context(), precert()); err != nil || !idIn(sct, next) {
			t.Errorf("after the change: %v, want a timestamp of the new log", err)
		}
		select {
		case <-gone:
			t.Error("the logs of before are said to be given up while one is asked")
		default:
		}
		close(goOn)
		wg.Wait()
		<-gone

		next.do(failing(fault.New(fault.Unavailable, "busy")))
		if _, err := p.Get(t.Context(), precert()); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("failing log: %v", err)
		}
		old.do(nil)
		idle, err := p.Use([]Log{next.log("next"), old.log("old")})
		if err != nil {
			t.Fatal(err)
		}
		<-idle // nobody asks
		asked := next.asked.Load()
		if sct, err := p.Get(t.Context(), precert()); err != nil || !idIn(sct, old) {
			t.Errorf("with both: %v, want a timestamp of the one that is well", err)
		}
		if next.asked.Load() != asked {
			t.Error("a log that fails is asked first again, because the list has changed")
		}
	})
}
