package stack

import (
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"syscall"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// How many addresses, identities and issuers have a bucket of their own, at about
// 200 bytes each.
const (
	maxAddresses  = 16 << 10
	maxIdentities = 16 << 10
	maxIssuers    = 1 << 10
)

// otherFiles is how many open files are not connections: databases, and
// connections of our own. leastConnections are taken whatever the system says.
const (
	otherFiles       = 512
	leastConnections = 64
)

// What the limits come to in memory, in bytes: a connection by TLS, with a request
// under way, takes about 60 KB.
const (
	ownMemory  = 256 << 20
	connMemory = 64 << 10
)

// Limits of HTTP/2, which has many requests on one connection. What a client may
// send unasked, for bodies that no handler reads yet, is memory of ours.
const (
	maxStreams       = 100
	maxStreamWindow  = 64 << 10
	maxConnWindow    = 256 << 10
	pingAfter        = 15 * time.Second
	pingTimeout      = 10 * time.Second
	writeByteTimeout = 20 * time.Second
)

// guard is what the public mux asks of requests.
func (s *Stack) guard() httpd.Guard {
	return httpd.Guard{
		TrustedProxies: s.trustedProxies(),
		StillGood:      func(c *tls.ConnectionState) bool { return s.tls != nil && s.tls.StillGood(c) },
		Requests:       limit.NewBudget(int64(s.conf.Limits.Connections)),
		Writes:         s.keyed(s.conf.Limits.Address, maxAddresses),
		Access:         s.access,
		Stopped:        s.refused,
		Bearer:         s.verifyBearer,
		Denied:         s.recordDenied,
		Bodies:         limit.NewShares(s.conf.Limits.BodyMemory),
	}
}

func (s *Stack) keyed(r config.Rate, keys int) *limit.Keyed {
	return limit.NewKeyed(r.PerSecond, r.Burst, keys, s.opts.Now)
}

// tooMany refuses by the limit of that name, and tells programs.
func tooMany(after time.Duration, limit, public string) error {
	return fault.Because(fault.Later(after, public), fault.Detail{Reason: "RATE_LIMITED", Metadata: map[string]string{"limit": limit}})
}

// bounded bounds the connections of the listener that strangers, or the processes
// of the stack, connect to.
func (s *Stack) bounded(l net.Listener) net.Listener {
	s.conns = httpd.NewConns(s.mostConnections(), s.mux)
	return s.conns.Listener(l)
}

// mostConnections is how many there may be: more than there may be open files are of
// no use.
func (s *Stack) mostConnections() int {
	most := s.conf.Limits.Connections
	if files := openFiles() - otherFiles; files < most {
		s.opts.Log.Warn("limits.connections is more than this process may have open files for: raise that limit (ulimit -n, LimitNOFILE)",
			slog.Int("configured", most), slog.Int("used", max(files, leastConnections)))
		most = max(files, leastConnections)
	}
	boundMemory(int64(most), s.conf.Limits.BodyMemory)
	return most
}

// boundMemory tells the garbage collector how much memory there is to what the
// limits allow for, so that it works harder before the process takes more. An
// operator's GOMEMLIMIT holds instead.
func boundMemory(connections, bodies int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(ownMemory + connections*connMemory + bodies)
	}
}

// openFiles is how many files this process may have open; Go has raised it as far
// as the system lets it.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > math.MaxInt32 {
		return math.MaxInt32 // who cannot tell does not refuse
	}
	return int(l.Cur)
}

// limited sets what a server of strangers does not wait for or keep.
func (s *Stack) limited(srv *http.Server) *http.Server {
	srv.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReceiveBufferPerStream:     maxStreamWindow,
		MaxReceiveBufferPerConnection: maxConnWindow,
		SendPingTimeout:               pingAfter,
		PingTimeout:                   pingTimeout,
		WriteByteTimeout:              writeByteTimeout,
	}
	if s.conns != nil {
		srv.ConnContext = s.conns.Context
	}
	return srv
}
