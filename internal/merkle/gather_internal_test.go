package merkle

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gatherer is a batcher with room for leaves, and with one of them in hand.
func gatherer(company int) *Tree {
	return &Tree{
		queue:     make(chan *pending, 100),
		closing:   make(chan struct{}),
		cfg:       Config{QueueBytes: defaultQueueBytes},
		gathering: gathering{company: company, enough: make(chan struct{}, 1)},
	}
}

func TestGatherWaitsForCompanyOnly(t *testing.T) {
	for _, test := range []struct {
		name      string
		company   int // lately
		before    int // leaves queued already
		come      int // one a millisecond
		leafBytes int
		want      time.Duration
	}{
		{name: "new tree", want: 0},
		{name: "alone", company: 1, want: 0},
		{name: "all are there", company: 4, before: 3, want: 0},
		{name: "more are there", company: 4, before: 30, want: 0},
		{name: "one comes back", company: 2, come: 3, want: time.Millisecond},
		{name: "all come back", company: 4, before: 1, come: 3, want: 2 * time.Millisecond},
		{name: "nobody comes back", company: 4, want: gatherFor},
		{name: "too few come back", company: 40, before: 3, come: 3, want: gatherFor},
		{name: "more than the queue takes", company: 1000, before: 99, want: 0},
		{name: "a batch in bytes", company: 4, before: 1, leafBytes: maxBatchBytes, want: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tree := gatherer(test.company)
				add := func() {
					p := &pending{ctx: t.Context(), leaf: Leaf{Value: make([]byte, test.leafBytes)}}
					if err := tree.enqueue(p); err != nil {
						t.Error(err)
					}
				}
				for range test.before {
					add()
				}
				var coming sync.WaitGroup
				coming.Go(func() {
					for range test.come {
						time.Sleep(time.Millisecond)
						add()
					}
				})
				defer coming.Wait()
				start := time.Now()
				tree.gather(t.Context())
				if got := time.Since(start); got != test.want {
					t.Errorf("waited %v, want %v", got, test.want)
				}
				if got := tree.want.Load(); got != 0 {
					t.Errorf("%d leaves are waited for afterwards, want none", got)
				}
			})
		})
	}
}

func TestGatherEndsWithTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		start := time.Now()
		gatherer(9).gather(ctx)
		if got := time.Since(start); got != time.Millisecond {
			t.Errorf("waited %v, want until the tree was told to stop after 1ms", got)
		}
	})
}

// A batcher that was told too late that there are enough waits for the next ones
// all the same.
func TestGatherForgetsWhatItWasToldBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := gatherer(9)
		tree.enough <- struct{}{}
		start := time.Now()
		tree.gather(t.Context())
		if got := time.Since(start); got != gatherFor {
			t.Errorf("waited %v, want %v", got, gatherFor)
		}
	})
}
