package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/fleet"
	"sigstack/internal/merkle"
	"sigstack/internal/peer"
)

// Where a replica takes leaves for its trees from the others, and the header of an
// answer that says which kind of fault it is.
const (
	forwardPath = "/replica/v1/trees/"
	headerFault = "Sigstack-Fault"
)

// maxLeaf bounds a leaf on its way to the leader, in bytes: the largest body that a
// service takes, with what it keeps beside it.
const maxLeaf = 64 << 20

// forwarded marks what has come from another replica: it goes no further.
type forwarded struct{}

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
	if ctx.Value(forwarded{}) != nil || st.Leader == "" || st.Leader == st.Name {
		return merkle.Added{}, errNoLeader
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+st.Leader+forwardPath+tree, bytes.NewReader(merkle.EncodeLeaf(leaf)))
	if err != nil {
		return merkle.Added{}, err
	}
	resp, err := m.leader(st).RoundTrip(req)
	if err != nil {
		return merkle.Added{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxLeaf+1))
	if err != nil {
		return merkle.Added{}, fault.Wrap(fault.Unavailable, fmt.Errorf("ask replica %s: %w", st.Leader, err), "a part of this service is unavailable")
	}
	if resp.StatusCode != http.StatusOK {
		return merkle.Added{}, faultOf(resp, data)
	}
	added, err := merkle.DecodeAdded(data)
	if err != nil {
		return added, fmt.Errorf("answer of replica %s: %w", st.Leader, err)
	}
	return added, nil
}

// faultOf is the error that the leader has answered.
func faultOf(resp *http.Response, text []byte) error {
	kind, err := strconv.Atoi(resp.Header.Get(headerFault))
	if err != nil || kind <= int(fault.Internal) || kind > int(fault.Slow) {
		kind = int(fault.Unavailable)
	}
	return fault.New(fault.Kind(kind), string(text[:min(len(text), 1<<10)]))
}

// leader is the client of the replica that leads. One of a key that leads no more is
// closed.
func (m *member) leader(st fleet.State) *peer.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.leaders[st.LeaderPin]
	if c != nil && c.Address() == st.LeaderAddress {
		return c
	}
	for pin, old := range m.leaders {
		old.Close()
		delete(m.leaders, pin)
	}
	c = peer.NewClient(st.Leader, st.LeaderAddress, peer.Pin(st.LeaderPin), m.identity)
	m.leaders[st.LeaderPin] = c
	return c
}

// peerServer answers the other replicas.
func (m *member) peerServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+forwardPath+"{tree}", func(w http.ResponseWriter, r *http.Request) {
		data, err := m.addForwarded(r)
		if err != nil {
			m.opts.Log.DebugContext(r.Context(), "forwarded entry not added", slog.Any("error", err))
			w.Header().Set(headerFault, strconv.Itoa(int(fault.KindOf(err))))
			http.Error(w, fault.Public(err), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(data) //nolint:gosec // bytes for another replica; whoever has gone away asks again
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(m.opts.Log.Handler(), slog.LevelDebug),
	}
}

// addForwarded adds a leaf, if this replica leads.
func (m *member) addForwarded(r *http.Request) ([]byte, error) {
	s := m.now.Load()
	if s == nil || !m.fleet.Leading() {
		return nil, errNoLeader
	}
	tree, ok := s.services.allTrees()[r.PathValue("tree")]
	if !ok {
		return nil, fault.Newf(fault.Unavailable, "the replica that leads has no log %s", r.PathValue("tree"))
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxLeaf+1))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the entry did not arrive")
	}
	if len(data) > maxLeaf {
		return nil, fault.New(fault.TooLarge, "the entry is too large")
	}
	leaf, err := merkle.DecodeLeaf(data)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the entry cannot be read")
	}
	added, err := tree.Add(context.WithValue(r.Context(), forwarded{}, true), leaf)
	if err != nil {
		return nil, err
	}
	return merkle.EncodeAdded(added), nil
}
