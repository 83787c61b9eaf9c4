package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/tlsconf"
)

// door is the public server of a replica. It outlives the Stack that is opened anew
// behind it: connections stay, and requests wait for the next Stack.
type door struct {
	server *http.Server
	conns  *httpd.Conns
	tls    atomic.Pointer[tlsconf.Source] // of the Stack that was let in last; nil: plaintext
	served chan error                     // holds one: why the server ended

	mu     sync.Mutex
	visit  *visit        // guarded by mu; nil: shut
	opened chan struct{} // guarded by mu; closed when there is a visit again
}

// visit is the time of one Stack behind a door.
type visit struct {
	handler http.Handler
	guests  sync.WaitGroup     // requests under way
	late    context.Context    // ends when they have had their time
	hurry   context.CancelFunc // ends late
}

// Who waits at a door, and for how long requests whose time is over may take to notice.
const (
	waitAtDoor = 20 * time.Second
	leaveLate  = time.Second
)

// attend serves s at the door, which the first Stack makes. It returns the component.
func (m *member) attend(s *Stack) (func(context.Context) error, error) {
	_, face := s.face()
	if m.door != nil && (m.door.tls.Load() == nil) != (s.tls == nil) { // clients have to connect anew
		if err := m.door.server.Close(); err != nil {
			return nil, err
		}
		m.door = nil
	}
	if m.door == nil {
		if err := m.makeDoor(s); err != nil {
			return nil, err
		}
	} else {
		m.door.conns.Adopt(s.mostConnections(), s.mux)
	}
	d := m.door
	s.conns = d.conns
	d.tls.Store(s.tls)
	v := d.open(s.farewell(face))
	return func(ctx context.Context) error {
		select {
		case err := <-d.served:
			return err
		case <-ctx.Done():
		}
		if s.anew.Load() {
			d.shut(v, s.drainTimeout)
			return nil
		}
		// Nobody connects from now on, to whichever descriptor of the socket.
		err := errors.Join(m.listener.Close(), s.listener.Close())
		m.door, m.listener = nil, nil
		err = errors.Join(err, s.drain(context.WithoutCancel(ctx), d.server))
		if serveErr := <-d.served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}, nil
}

// makeDoor starts a server for s and the Stacks after it.
func (m *member) makeDoor(s *Stack) error {
	l, err := m.lend()
	if err != nil {
		return err
	}
	d := &door{conns: httpd.NewConns(s.mostConnections(), s.mux), served: make(chan error, 1), opened: make(chan struct{})}
	s.conns = d.conns // which the server below asks
	d.server = s.newServer(d)
	bounded := d.conns.Listener(l)
	serve := func() error { return d.server.Serve(bounded) }
	if s.tls != nil {
		d.tls.Store(s.tls)
		d.server.TLSConfig = s.tls.ServerConfig()
		d.server.TLSConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return d.tls.Load().ServerConfig().GetConfigForClient(hello)
		}
		serve = func() error { return d.server.ServeTLS(bounded, "", "") }
	}
	go func() { d.served <- serve() }()
	m.door = d
	return nil
}

// open lets requests in.
func (d *door) open(h http.Handler) *visit {
	v := &visit{handler: h}
	v.late, v.hurry = context.WithCancel(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.visit = v
	close(d.opened)
	return v
}

// shut lets no more requests in, and waits for those under way, for limit at most.
func (d *door) shut(v *visit, limit time.Duration) {
	d.mu.Lock()
	d.visit, d.opened = nil, make(chan struct{})
	d.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		v.guests.Wait()
		close(gone)
	}()
	defer v.hurry()
	for _, limit := range []time.Duration{limit, leaveLate} {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-gone:
			return
		case <-timer.C:
			v.hurry()
		}
	}
}

// enter waits until there is a Stack.
func (d *door) enter(ctx context.Context) *visit {
	limit := time.NewTimer(waitAtDoor)
	defer limit.Stop()
	for {
		d.mu.Lock()
		v, opened := d.visit, d.opened
		if v != nil {
			v.guests.Add(1)
		}
		d.mu.Unlock()
		if v != nil {
			return v
		}
		select {
		case <-opened:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// ServeHTTP passes a request on to the Stack.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := d.enter(r.Context())
	if v == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "this replica is being opened anew: try again in a moment", http.StatusServiceUnavailable)
		return
	}
	defer v.guests.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(v.late, func() {
		cancel()
		past := time.Unix(1, 0)
		out := http.NewResponseController(w)
		_, _ = out.SetReadDeadline(past), out.SetWriteDeadline(past) // or it is over already
	})()
	v.handler.ServeHTTP(w, r.WithContext(ctx))
}
