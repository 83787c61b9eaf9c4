package httpd

import (
	"container/heap"
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// patience is how long a connection is waited for at least, be it for a request
// or until what a handler has answered is sent.
const patience = 250 * time.Millisecond

// Conns bounds the connections of a server. At the bound a new one takes the
// place of one that the server waits for: that has not sent a request, or not all
// of it, or is slow to take a large answer. Of these it is one from the address
// that holds most, the one that has been waited for the longest. So no number of
// half-open connections keeps others from being served. While every connection
// has a request under way a new one waits.
type Conns struct {
	now func() time.Time

	mu      sync.Mutex
	max     int                // guarded by mu
	refused func(Cause)        // guarded by mu
	freed   *sync.Cond         // that room was made, or may now be made
	total   int                // guarded by mu
	waiting int                // guarded by mu
	turn    uint64             // of waiting, counted up; guarded by mu
	holders map[string]*holder // by AddressKey; guarded by mu
	ranking holderHeap         // of holders with waiting connections; guarded by mu
}

// holder is an address with connections; Conns.mu guards it.
type holder struct {
	key     string
	conns   int
	waiting list.List // of *conn, the longest waiting first
	rank    int       // in the ranking; -1: not there
}

// conn is one connection. It waits for its client when each of its requests
// does, and when it has none.
type conn struct {
	net.Conn
	owner *Conns
	by    *holder

	requests int           // under way; Conns.mu guards this and what follows
	blocked  int           // of requests, those that wait for the client
	since    time.Time     // when it began to wait
	turn     uint64        // of waiting
	place    *list.Element // in by.waiting; nil: does not wait
	closed   bool
}

// NewConns returns a bound of max connections; m counts those that had to go.
func NewConns(max int, m *Mux) *Conns {
	c := &Conns{now: m.cfg.Now, holders: map[string]*holder{}}
	c.freed = sync.NewCond(&c.mu)
	c.Adopt(max, m)
	return c
}

// Adopt has another Mux count from now on, and bounds the connections anew. Those
// that are open stay.
func (c *Conns) Adopt(max int, m *Mux) {
	for state, count := range map[string]func() int{
		"waiting": func() int { return c.waiting },
		"busy":    func() int { return c.total - c.waiting },
	} {
		m.cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "sigstack_connections",
			Help:        "Open connections, by whether their clients are waited for.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return float64(count())
		}))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max, c.refused = max, m.Refused
	c.freed.Broadcast()
}

// Count returns how many connections are open, and how many may be.
func (c *Conns) Count() (open, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, c.max
}

// Listener bounds the connections that l accepts. It belongs below TLS: what has
// not shaken hands yet counts.
func (c *Conns) Listener(l net.Listener) net.Listener {
	return &connListener{Listener: l, conns: c, done: make(chan struct{})}
}

// Context is the server's ConnContext: by it requests find their connection.
func (c *Conns) Context(ctx context.Context, nc net.Conn) context.Context {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn() // below TLS
	}
	if own, ok := nc.(*conn); ok {
		return context.WithValue(ctx, connKey, own)
	}
	return ctx
}

type connListener struct {
	net.Listener
	conns *Conns
	once  sync.Once
	done  chan struct{} // closed with the listener
}

// Accept waits for a connection and for room for it.
func (l *connListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.conns.add(nc, l.done)
}

// Close closes the listener; connections stay.
func (l *connListener) Close() error {
	l.once.Do(func() {
		l.conns.mu.Lock()
		defer l.conns.mu.Unlock()
		close(l.done)
		l.conns.freed.Broadcast()
	})
	return l.Listener.Close()
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// add makes room for a connection and takes it in, unless done is closed first.
func (c *Conns) add(nc net.Conn, done <-chan struct{}) (net.Conn, error) {
	own := &conn{Conn: nc, owner: c}
	key := ""
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		key = AddressKey(a.Addr())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.total >= c.max {
		if isClosed(done) {
			_ = nc.Close() // nobody will serve it
			return nil, net.ErrClosed
		}
		c.makeRoom()
	}
	h := c.holders[key]
	if h == nil {
		h = &holder{key: key, rank: -1}
		c.holders[key] = h
	}
	own.by = h
	h.conns++
	c.total++
	c.settle(own, true)
	return own, nil
}

// makeRoom closes a connection that waits, or waits itself until there may be
// room; c.mu is held.
func (c *Conns) makeRoom() {
	if len(c.ranking) == 0 {
		c.freed.Wait()
		return
	}
	own := c.ranking[0].waiting.Front().Value.(*conn)
	if waited := c.now().Sub(own.since); waited >= 0 && waited < patience {
		again := time.AfterFunc(patience-waited, func() {
			c.mu.Lock() // not before the wait below has begun
			defer c.mu.Unlock()
			c.freed.Broadcast()
		})
		defer again.Stop()
		c.freed.Wait()
		return
	}
	c.remove(own)
	c.refused(ByConnection)
	_ = own.Conn.Close() // the server's reads fail, and it forgets the connection
}

// remove forgets a connection; c.mu is held.
func (c *Conns) remove(own *conn) {
	if own.closed {
		return
	}
	own.closed = true
	own.by.conns--
	c.total--
	c.settle(own, false)
	if own.by.conns == 0 {
		delete(c.holders, own.by.key)
	}
	c.freed.Signal()
}

// settle puts a connection in or out of the queue of those that wait, after it
// has changed; anew puts one that waits at the end of the queue. c.mu is held.
func (c *Conns) settle(own *conn, anew bool) {
	waits := !own.closed && own.requests == own.blocked
	if own.place != nil && (!waits || anew) {
		own.by.waiting.Remove(own.place)
		own.place = nil
		c.waiting--
	}
	if waits && own.place == nil {
		c.turn++
		own.turn, own.since = c.turn, c.now()
		own.place = own.by.waiting.PushBack(own)
		c.waiting++
		c.freed.Signal()
	}
	c.rank(own.by)
}

// rank puts a holder where it belongs; c.mu is held.
func (c *Conns) rank(h *holder) {
	switch waits := h.waiting.Len() > 0; {
	case waits && h.rank < 0:
		heap.Push(&c.ranking, h)
	case waits:
		heap.Fix(&c.ranking, h.rank)
	case h.rank >= 0:
		heap.Remove(&c.ranking, h.rank)
	}
}

// Close closes the connection; more than once is once.
func (own *conn) Close() error {
	own.owner.mu.Lock()
	own.owner.remove(own)
	own.owner.mu.Unlock()
	return own.Conn.Close()
}

// change counts requests that begin and end, and those of them that begin and
// cease to wait for the client. A nil conn is not tracked.
func (own *conn) change(requests, blocked int) {
	if own == nil {
		return
	}
	own.owner.mu.Lock()
	defer own.owner.mu.Unlock()
	own.requests += requests
	own.blocked += blocked
	own.owner.settle(own, requests > 0) // that a head came shows that it is alive
}

func connOf(ctx context.Context) *conn {
	own, _ := ctx.Value(connKey).(*conn)
	return own
}

// holderHeap ranks holders: most connections first, then who waits the longest.
type holderHeap []*holder

func (h holderHeap) Len() int { return len(h) }

func (h holderHeap) Less(i, j int) bool {
	if h[i].conns != h[j].conns {
		return h[i].conns > h[j].conns
	}
	return h[i].longest() < h[j].longest()
}

func (h holderHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i, j
}

// Push is for package heap.
func (h *holderHeap) Push(x any) {
	x.(*holder).rank = len(*h)
	*h = append(*h, x.(*holder))
}

// Pop is for package heap.
func (h *holderHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	last.rank = -1
	return last
}

func (h *holder) longest() uint64 { return h.waiting.Front().Value.(*conn).turn }
