// Package stack is the composition root: it turns a data directory and its
// configuration into services on one mux, starts them, checks them and stops
// them. Commands and end-to-end tests start this same value.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sigstack/internal/admin"
	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/run"
	"sigstack/internal/tlsconf"
	cagrpc "sigstack/services/ca/grpc"
	"sigstack/services/ca/token"
	tufroot "sigstack/tuf-root"
)

// Options says which directory to run and how.
type Options struct {
	Dir string
	// Profile that the directory must have.
	Profile string
	// URL, if set, must equal the one stored at init.
	URL string
	// Listener is the public listener, bound by the caller; the Stack closes
	// it. nil: the configuration's address, or Listen if set, is bound.
	Listener net.Listener
	Listen   string
	// BehindProxy allows a plaintext listener outside loopback.
	BehindProxy bool
	// TLS, if set, says whether the directory's listeners must speak TLS or must
	// not.
	TLS *bool
	// ExtraIssuers are trusted for this run only, besides the configured ones. One
	// that is configured already must have the same settings.
	ExtraIssuers []config.Issuer
	// Passphrase of the service keys; empty in profile up.
	Passphrase []byte
	// KMSPlugins is where the programs sigstore-kms-SCHEME are that reach keys in
	// key services; empty: PATH.
	KMSPlugins string
	// Version of the program, for who asks the admin channel.
	Version string
	// Now is the clock of everything in the stack. It may be set at any time.
	Now func() time.Time
	// Drain is how long the stack goes on to serve when it is told to stop, with
	// readiness down, so that balancers go elsewhere before the listener is closed. 0:
	// it stops at once.
	Drain time.Duration
	// CheckEvery is how often that which waits for a time looks at Now. 0: every
	// second.
	CheckEvery time.Duration
	Log        *slog.Logger

	// AwaitedRoot opens a directory that waits for its first trust root, for RunActs
	// alone.
	AwaitedRoot bool

	// member is this process as one replica of several; nil: it is alone.
	member *member

	// Unpublished: CT logs of config.yaml need not be published, because nothing is
	// served.
	Unpublished bool
}

// Stack is an opened data directory: services built, nothing started.
type Stack struct {
	opts        Options
	conf        *config.Config
	loaded      *config.Config // conf as it is in the file
	layout      Layout
	lock        *durable.Lock
	keys        *keys.Store
	mux         *httpd.Mux
	ready       *httpd.Readiness
	metrics     *prometheus.Registry
	services    *services
	shards      *logShards     // nil without the transparency log
	ctRecords   *ctRecords     // CT logs that were added
	starting    *config.Config // conf, with the CT logs as they are used at first
	ca, tsa     *authority     // whether this process runs them or not
	compromised *compromises   // keys whose trust ended
	later       *later         // what is started while the stack runs
	listener    net.Listener
	tls         *tlsconf.Source                // nil: the listeners are plaintext
	peers       *peers                         // nil: the stack runs in this process alone
	bearer      atomic.Pointer[token.Verifier] // nil: no token is good for anything but a certificate
	reloads     reloads
	conns       *httpd.Conns   // of the listener, once it is served on
	closers     []func() error // run in reverse

	audit    *audit.Log
	auditKey []byte // SPKI of the key of its heads; nil: they are not signed

	repo         *tufroot.Repository  // nil without section tuf
	online       tufroot.Online       // keys of repo
	anew         atomic.Bool          // it is about to be opened anew
	stale        atomic.Bool          // of a replica that follows: there is something that it would reload
	awaitsRoot   bool                 // repo is nil until the first root is published
	keyUp        *prometheus.GaugeVec // of keys that live elsewhere; nil: none does
	rootSHA256   string               // of root.json, hex
	drainTimeout time.Duration        // how long requests under way may take when the stack stops

	// Set by Run.
	serving        bool // the trees run
	since          time.Time
	metricsAddress string
	admin          atomic.Pointer[admin.Server]
}

// Open locks the directory, loads configuration and keys, recovers the logs and
// builds the services. Any doubt about what the directory holds is an error.
func Open(ctx context.Context, opts Options) (_ *Stack, err error) {
	s := &Stack{opts: opts, layout: Layout{opts.Dir}, drainTimeout: drainTimeout}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if opts.Listener != nil {
		s.adopt(opts.Listener)
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	merkle.RouteKlog(opts.Log)
	s.keys = keys.Open(s.layout.Keys(), opts.Passphrase, keys.WithDevices(keys.Devices{PluginDir: opts.KMSPlugins, Log: opts.Log}))
	s.prepare()
	s.prepareReloads()
	if err := s.buildPeers(); err != nil {
		return nil, fmt.Errorf("start peers: %w", err)
	}
	if err := s.buildServices(ctx); err != nil {
		return nil, err
	}
	if err := s.buildTLS(); err != nil {
		return nil, fmt.Errorf("start tls: %w", err)
	}
	if err := s.buildTUF(); err != nil {
		return nil, fmt.Errorf("start tuf: %w", err)
	}
	if err := s.joinPeers(); err != nil {
		return nil, err
	}
	s.watchKeys()
	s.watchDisks()
	s.watchDatabase()
	s.watchExpiry()
	s.watchTrust()
	s.watchFleet()
	if err := s.mountPages(); err != nil {
		return nil, err
	}
	if len(opts.Passphrase) > 0 {
		debug.FreeOSMemory() // decrypting the keys took 128 MiB, not to be needed again
	}
	return s, nil
}

// prepare makes what every service registers with.
func (s *Stack) prepare() {
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.mux = httpd.NewMux(httpd.MuxConfig{Log: s.opts.Log, Metrics: s.metrics, Now: s.opts.Now, HSTS: s.hsts(), Guard: s.guard()})
	s.ready = httpd.NewReadiness(append(append(s.serviceNames(), s.servicesBehind()...), auditService)...)
	s.ready.Alias(cagrpc.Service, "ca")
	s.ready.Mount(s.mux)
}

// serviceNames are those of the configured services.
func (s *Stack) serviceNames() []string {
	var names []string
	for _, service := range []struct {
		name   string
		wanted bool
	}{
		{"ca", s.conf.CA != nil},
		{"ctlog", s.conf.CTLog != nil},
		{"tlog", s.conf.TLog != nil},
		{"tsa", s.conf.TSA != nil},
		{"oidc", s.conf.OIDC != nil},
		{"tuf", s.conf.TUF != nil},
	} {
		if service.wanted {
			names = append(names, service.name)
		}
	}
	return names
}

// load reads the configuration, which never changes once init is done, and takes
// the lock.
func (s *Stack) load() error {
	done, err := s.layout.Initialized()
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("directory %s holds no stack: run init first", s.opts.Dir)
	}
	s.noteFiles()
	if s.conf, err = s.loadConfig(); err != nil {
		return err
	}
	s.loaded = s.conf
	if err := s.wantReplica(); err != nil {
		return err
	}
	if s.conf.Profile != s.opts.Profile {
		return fmt.Errorf("directory %s was made by `%s`, not for `%s`: a test stack's keys are unprotected and its demo user is public",
			s.opts.Dir, command(s.conf.Profile), s.opts.Profile)
	}
	if s.opts.URL != "" && s.opts.URL != s.conf.URL {
		return fmt.Errorf("URL is fixed at init: the directory has %s, asked for is %s; clients' trust material names the former",
			s.conf.URL, s.opts.URL)
	}
	if err := s.wantTLS(); err != nil {
		return err
	}
	if s.conf, err = withExtraIssuers(s.conf, s.opts.ExtraIssuers); err != nil {
		return err
	}
	if s.conf.Peers != nil {
		s.opts.Log = s.opts.Log.With(slog.String("process", s.conf.Peers.Name))
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.layout.refuseSplit(); err != nil {
		return err
	}
	return s.layout.finish()
}

// takeLock takes the directory's lock, which a replica has already.
func (s *Stack) takeLock() (err error) {
	if s.opts.member != nil {
		s.lock = s.opts.member.lock
		return nil
	}
	if s.lock, err = durable.LockDir(s.opts.Dir); err != nil {
		return err
	}
	s.onClose(s.lock.Unlock)
	return nil
}

// command is the command that makes a directory of a profile.
func command(profile string) string {
	if profile == config.ProfileServe {
		return "init"
	}
	return profile
}

func (s *Stack) listen(ctx context.Context) error {
	address := s.conf.Listen
	if s.conf.Behind() {
		address = s.conf.Peers.Listen
	}
	if s.opts.Listen != "" {
		address = s.opts.Listen
	}
	if s.listener != nil {
		address = s.listener.Addr().String()
	}
	if err := s.mayListen(address); err != nil {
		return err
	}
	if s.listener != nil {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return ListenFailed(err)
	}
	s.adopt(l)
	return nil
}

// mayListen refuses an address where the listener could be abused.
func (s *Stack) mayListen(address string) error {
	switch {
	case config.IsLoopback(address):
		return nil
	case s.conf.Behind():
		return nil // TLS with pinned keys on both sides
	case s.test():
		return fmt.Errorf("refusing to listen on %s: a test stack listens on loopback only", address)
	case s.conf.TLS == nil && !s.opts.BehindProxy:
		return fmt.Errorf("refusing to listen on %s in plaintext: bind loopback, or terminate TLS in a proxy and say --behind-proxy, or add section tls (docs/tls.md)", address)
	}
	return nil
}

// adopt makes l the public listener, closed with the stack at the latest.
func (s *Stack) adopt(l net.Listener) {
	s.listener = l
	s.onClose(func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
}

func (s *Stack) onClose(f func() error) { s.closers = append(s.closers, f) }

// Close releases everything that Open took, in reverse. It is safe after Run.
func (s *Stack) Close() error {
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last]())
		s.closers = s.closers[:last]
	}
	return errors.Join(errs...)
}

// URL returns the URL that clients use.
func (s *Stack) URL() string { return s.conf.URL }

// Address returns the host:port that the public listener is bound to.
func (s *Stack) Address() string { return s.listener.Addr().String() }

// RootSHA256 is the fingerprint of root.json, by which people compare it.
func (s *Stack) RootSHA256() string { return s.rootSHA256 }

// test reports whether this stack is for tests only.
func (s *Stack) test() bool { return s.conf.Profile == config.ProfileUp }

// Handler returns the public face, for tests without a listener.
func (s *Stack) Handler() http.Handler { return s.mux }

// Routes returns the table of all public routes.
func (s *Stack) Routes() []httpd.Route { return s.mux.Routes() }

// Run starts the services and serves until ctx ends or a part fails. onReady is
// called once, when the start's checks have passed.
func (s *Stack) Run(ctx context.Context, onReady func()) error {
	if s.awaitsRoot {
		return errors.Join(&AwaitsRootError{s.layout.Dir}, s.Close())
	}
	if err := s.recordStart(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	g := &run.Group{Log: s.opts.Log}
	s.since, s.serving = s.opts.Now(), true
	for _, c := range s.services.components {
		g.Add(c.name, c.run)
	}
	s.addWatches(g)
	if err := s.addListeners(ctx, g); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := s.addAdmin(ctx, g); err != nil {
		return errors.Join(err, s.Close())
	}
	g.Add("reloads", s.runReloads)
	g.Add("start checks", func(ctx context.Context) error {
		if s.checkUntilReady(ctx) {
			onReady()
		}
		<-ctx.Done()
		return nil
	})
	ctx, cancel := s.drained(ctx)
	defer cancel()
	return errors.Join(g.Run(ctx), s.Close())
}
