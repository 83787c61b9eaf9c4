package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/fleet"
	"sigstack/internal/merkle"
	"sigstack/internal/peer"
)

// Where a replica takes leaves for its trees from the others, and the header of an
// answer that says which kind of fault it is.
const (
	forwardPath = "/replica/v2/trees/"
	headerFault = "Sigstack-Fault"
)

// maxBundle bounds what goes to the leader at once, and its answer, in bytes: the
// largest body that a service takes, with what it keeps beside it. Smaller ones go
// together as long as they are far below.
const maxBundle = 64 << 20

// election is what a tree of this process asks whether it leads; nil: it always does.
func (s *Stack) election() merkle.Election {
	if s.opts.member == nil {
		return nil
	}
	return s.opts.member.fleet
}

// forward is how a tree of this process has the leader add a leaf; nil: it never needs
// to.
func (s *Stack) forward(tree string) func(context.Context, merkle.Leaf) (merkle.Added, error) {
	m := s.opts.member
	if m == nil {
		return nil
	}
	return func(ctx context.Context, leaf merkle.Leaf) (merkle.Added, error) { return m.forward(ctx, tree, leaf) }
}

// errNoLeader is the answer while nobody leads, for a second or two.
var errNoLeader = fault.New(fault.Unavailable, "no replica leads at present: try again in a moment")

func (m *member) forward(ctx context.Context, tree string, leaf merkle.Leaf) (merkle.Added, error) {
	st := m.fleet.State()
	if st.Leader == "" || st.Leader == st.Name {
		return merkle.Added{}, errNoLeader
	}
	return m.leader(st).bundler(tree).Add(ctx, leaf)
}

// leader is another replica, which leads.
type leader struct {
	*peer.Client

	mu       sync.Mutex
	bundlers map[string]*merkle.Bundler // guarded by mu: by the names of trees
}

// bundler collects what goes to one tree.
func (l *leader) bundler(tree string) *merkle.Bundler {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bundlers[tree]
	if b == nil {
		b = merkle.NewBundler(func(ctx context.Context, leaves []merkle.Leaf) ([]merkle.Outcome, error) {
			return l.send(ctx, tree, leaves)
		})
		l.bundlers[tree] = b
	}
	return b
}

// send has the leader add leaves.
func (l *leader) send(ctx context.Context, tree string, leaves []merkle.Leaf) ([]merkle.Outcome, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.Name()+forwardPath+tree, bytes.NewReader(merkle.EncodeLeaves(leaves)))
	if err != nil {
		return nil, err
	}
	resp, err := l.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := readBundle(resp.Body, resp.ContentLength)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("ask replica %s: %w", l.Name(), err), "a part of this service is unavailable")
	}
	if resp.StatusCode != http.StatusOK {
		return nil, faultOf(resp, data)
	}
	outcomes, err := merkle.DecodeOutcomes(leaves, data)
	if err != nil {
		return nil, fmt.Errorf("answer of replica %s: %w", l.Name(), err)
	}
	return outcomes, nil
}

// readBundle reads a body that says how long it is, or does not (below 0). It reads a
// byte more than is allowed, and no further.
func readBundle(body io.Reader, length int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(length, 0), maxBundle)) + bytes.MinRead) // room to see the end in
	_, err := b.ReadFrom(io.LimitReader(body, maxBundle+1))
	return b.Bytes(), err
}

// faultOf is the error that the leader has answered to all.
func faultOf(resp *http.Response, text []byte) error {
	kind, err := strconv.Atoi(resp.Header.Get(headerFault))
	if err != nil || kind <= int(fault.Internal) || kind > int(fault.Slow) {
		kind = int(fault.Unavailable)
	}
	return fault.New(fault.Kind(kind), string(text[:min(len(text), 1<<10)]))
}

// leader is the replica that leads. Connections to one that leads no more are closed,
// and what has not been answered on them holds up nothing that goes to the new one.
func (m *member) leader(st fleet.State) *leader {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.leaders[st.LeaderPin]
	if l != nil && l.Address() == st.LeaderAddress {
		return l
	}
	for pin, old := range m.leaders {
		old.Close()
		delete(m.leaders, pin)
	}
	l = &leader{Client: peer.NewBulkClient(st.Leader, st.LeaderAddress, peer.Pin(st.LeaderPin), m.identity), bundlers: map[string]*merkle.Bundler{}}
	m.leaders[st.LeaderPin] = l
	return l
}

// peerServer answers the other replicas.
func (m *member) peerServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+forwardPath+"{tree}", func(w http.ResponseWriter, r *http.Request) {
		data, err := m.addForwarded(r)
		if err != nil {
			m.opts.Log.DebugContext(r.Context(), "forwarded entries not added", slog.Any("error", err))
			w.Header().Set(headerFault, strconv.Itoa(int(fault.KindOf(err))))
			http.Error(w, fault.Public(err), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		// Without its length it would travel in chunks.
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data) //nolint:gosec // bytes for another replica; whoever has gone away asks again
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(m.opts.Log.Handler(), slog.LevelDebug),
	}
}

// addForwarded adds leaves, if this replica leads.
func (m *member) addForwarded(r *http.Request) ([]byte, error) {
	s := m.now.Load()
	if s == nil || !m.fleet.Leading() {
		return nil, errNoLeader
	}
	tree, ok := s.services.allTrees()[r.PathValue("tree")]
	if !ok {
		return nil, fault.Newf(fault.Unavailable, "the replica that leads has no log %s", r.PathValue("tree"))
	}
	data, err := readBundle(r.Body, r.ContentLength)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the entries did not arrive")
	}
	if len(data) > maxBundle {
		return nil, fault.New(fault.TooLarge, "the entry is too large")
	}
	leaves, err := merkle.DecodeLeaves(data)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the entries cannot be read")
	}
	return merkle.EncodeOutcomes(leaves, tree.AddForwarded(r.Context(), leaves)), nil
}
