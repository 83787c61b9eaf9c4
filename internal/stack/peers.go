package stack

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
	"sigstack/internal/run"
	"sigstack/internal/trust"
)

// maxAnswer bounds what is read of another process's answer to a question of our
// own, in bytes.
const maxAnswer = 1 << 20

// peers is what this process has to do with the others of its stack.
type peers struct {
	key      keys.Key
	identity peer.Identity
	callers  []peer.Caller
	links    []*link                   // to the processes that this one calls
	parts    map[string]trust.Material // public halves as published, by process; of this one too

	mu      sync.Mutex
	checked string // guarded by mu; "": the start check has passed, else why not
}

// buildPeers prepares the connections; nothing is connected yet.
func (s *Stack) buildPeers() error {
	conf := s.conf.Peers
	if conf == nil {
		return nil
	}
	key, err := s.keys.Load(conf.Key)
	if err != nil {
		return err
	}
	s.peers = &peers{key: key, parts: map[string]trust.Material{}, checked: "starting"}
	if s.peers.identity, err = peer.NewIdentity(key); err != nil {
		return err
	}
	for _, p := range conf.Processes {
		pin, err := peer.ParsePin(p.KeySHA256)
		if err != nil {
			return err
		}
		if may := s.rights(p); may != nil {
			s.peers.callers = append(s.peers.callers, peer.Caller{Name: p.Name, Pin: pin, May: may, Relays: isFront(p), Own: s.anchors})
		}
		if p.Address != "" {
			s.peers.links = append(s.peers.links, s.newLink(p, pin))
		}
		if err := s.readPart(p.Name); err != nil && !isFront(p) {
			return err
		}
	}
	if s.conf.Behind() {
		return s.readPart(conf.Name)
	}
	return nil
}

func isFront(p config.Peer) bool { return slices.Contains(p.Services, "tuf") }

// rights says what a process may ask of this one, nil for nothing: the front what
// clients ask; others what keeps them going, which strangers could ask as well; and
// the CA what it cannot issue without, which is for nobody else.
func (s *Stack) rights(p config.Peer) func(method, path string) bool {
	if !s.conf.Behind() {
		return nil
	}
	if isFront(p) {
		return func(string, string) bool { return true }
	}
	allowed := map[string]bool{"GET /readyz": true}
	if s.conf.OIDC != nil {
		allowed["GET /dex/.well-known/openid-configuration"] = true
		allowed["GET /dex/keys"] = true
	}
	if s.conf.CTLog != nil && slices.Contains(p.Services, "ca") {
		for _, log := range s.conf.CTLog.Logs() {
			allowed["POST /"+log.Prefix+addPreChain] = true
		}
	}
	return func(method, path string) bool { return allowed[method+" "+path] || s.anchors(method, path) }
}

// anchors reports whether a request is what every process asks of the log for
// itself: to enter the head of its audit record.
func (s *Stack) anchors(method, path string) bool {
	return s.conf.TLog != nil && method == http.MethodPost && path == "/api/v1/log/entries"
}

// Process is the name of this process of a split stack if it has a front, which
// clients go to; "" otherwise.
func (s *Stack) Process() string {
	if s.conf.Behind() {
		return s.conf.Peers.Name
	}
	return ""
}

// joinPeers makes this process a part of the stack: one behind tells its public
// half, the front passes on what is not its own.
func (s *Stack) joinPeers() error {
	if s.peers == nil {
		return nil
	}
	s.services.addKey(s.peers.key)
	if s.conf.Front() {
		s.passOn()
	}
	return s.checkPart()
}

// addWatches adds what keeps an eye on the processes that this one calls.
func (s *Stack) addWatches(g *run.Group) {
	if s.peers == nil {
		return
	}
	for _, l := range s.peers.links {
		l.holdUntil(time.Now().Add(firstHold))
		g.Add("link to "+l.conf.Name, func(ctx context.Context) error { return s.watch(ctx, l) })
	}
}

// face is what this process shows: the public listener and all services or,
// behind a front, a listener for the other processes alone.
func (s *Stack) face() (net.Listener, http.Handler) {
	if !s.conf.Behind() {
		return s.listener, s.mux
	}
	callers := s.peers.callers
	return peer.Listen(s.listener, s.peers.identity, callers), peer.Handler(callers, s.opts.Log, s.mux)
}

// servicesBehind are those that the front passes requests on to.
func (s *Stack) servicesBehind() []string {
	var out []string
	if s.conf.Front() {
		for _, p := range s.conf.Peers.Processes {
			out = append(out, p.Services...)
		}
	}
	return out
}

// linkTo returns the link to the process that has a service, nil if there is none.
func (s *Stack) linkTo(service string) *link {
	if s.peers == nil {
		return nil
	}
	for _, l := range s.peers.links {
		if slices.Contains(l.conf.Services, service) {
			return l
		}
	}
	return nil
}
