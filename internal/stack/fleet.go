package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fleet"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
)

// keyReplica is the name of the key that a replica proves to others, in a folder of
// its own: those in keys/ are the same for all.
const keyReplica = "replica"

// replicaKeys is the folder of that key.
func (l Layout) replicaKeys() string { return filepath.Join(l.Dir, "replica") }

// member is this process as one replica of several: what lives on while its Stack is
// opened anew (docs/decisions/0030-replicas.md).
type member struct {
	conf     *config.Replica
	fleet    *fleet.Fleet
	identity peer.Identity
	lock     *durable.Lock
	opts     Options

	now      atomic.Pointer[Stack] // that serves; nil: it is being opened
	listener net.Listener          // the public one, kept open meanwhile; nil: not bound yet
	door     *door                 // the server on it; nil: nothing was served yet, or a front holds requests

	anew, root bool // what was pulled and is not taken: more than the trust root, anything

	mu      sync.Mutex
	pins    map[fleet.Pin]bool // guarded by mu: of the replicas, as last read
	read    time.Time          // guarded by mu: when that was
	leaders map[fleet.Pin]*leader
}

// errReplica is why nothing but a server opens a replica's directory.
var errReplica = errors.New("it is a replica's, whose files are those of the database: start it, and do this on the replica that leads (sigstack replica list)")

// newMember connects a directory to its fleet, nil if it is not one of replicas.
func newMember(ctx context.Context, opts Options) (_ *member, err error) {
	conf, err := config.LoadReplica(opts.Dir)
	if conf == nil || err != nil {
		return nil, err
	}
	m := &member{conf: conf, opts: opts, pins: map[fleet.Pin]bool{}, leaders: map[fleet.Pin]*leader{}}
	if m.lock, err = durable.LockDir(opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	cfg, key, err := Layout{opts.Dir}.fleetConfig(conf, opts)
	if err != nil {
		return nil, err
	}
	if m.identity, err = peer.NewIdentity(key); err != nil {
		return nil, err
	}
	if m.fleet, err = fleet.Open(ctx, cfg); err != nil {
		return nil, (&database{dir: opts.Dir}).explained(err)
	}
	return m, nil
}

// fleetConfig is how a replica reaches its fleet, and the key that it proves to others.
func (l Layout) fleetConfig(r *config.Replica, opts Options) (fleet.Config, keys.Key, error) {
	conf, err := config.Load(l.Config())
	if err != nil {
		return fleet.Config{}, keys.Key{}, err
	}
	key, err := keys.Open(l.replicaKeys(), opts.Passphrase).Load(keyReplica)
	if err != nil {
		return fleet.Config{}, keys.Key{}, fmt.Errorf("replica key: %w", err)
	}
	cfg, err := l.fleetOf(r, conf)
	cfg.Pin, cfg.Log = fleet.Pin(peer.PinOf(key.SPKI())), opts.Log
	return cfg, key, err
}

// fleetOf is fleetConfig without the key.
func (l Layout) fleetOf(r *config.Replica, conf *config.Config) (fleet.Config, error) {
	if conf.Database == nil {
		return fleet.Config{}, errors.New("replicas need section database of config.yaml: docs/database.md")
	}
	url, err := l.databaseURL(r.Apply(conf).Database)
	if err != nil {
		return fleet.Config{}, err
	}
	return fleet.Config{
		URL: url, Schema: fleet.Schema(conf.Database.Prefix()), Process: processOf(conf), Name: r.Name, Dir: l.Dir,
		Paths: l.replicated, Now: time.Now,
	}, nil
}

// processOf names the process of a split stack.
func processOf(conf *config.Config) string {
	if conf.Peers == nil {
		return ""
	}
	return conf.Peers.Name
}

// replicated are the files that config.yaml names below the directory, but for those
// that are secret: each machine has its own.
func (l Layout) replicated() []string {
	s := &Stack{layout: l}
	var out []string
	for _, p := range s.reloadedFiles() {
		if rel, err := filepath.Rel(l.Dir, p); err == nil && filepath.IsLocal(rel) {
			out = append(out, filepath.ToSlash(rel))
		}
	}
	return out
}

// live reports whether a change of a file is taken by a process that runs: trust root
// and kit are; what commands go on by, journals of rotations and config.yaml of before,
// none reads. For the rest a Stack is opened anew.
func live(file string) bool {
	top, _, below := strings.Cut(path.Clean(file), "/")
	return file == "config.yaml"+config.KeptSuffix || below && (top == "tuf" || top == "client" || top == "rotations")
}

// knows reports whether a replica has that key. A stranger makes it look in the
// database, if it has not for a moment.
func (m *member) knows(pin peer.Pin) bool {
	if m.fleet.Member(fleet.Pin(pin)) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.read) < time.Second {
		return m.pins[fleet.Pin(pin)]
	}
	list, err := m.fleet.Replicas(context.Background()) // bounded in time
	if err != nil {
		return false
	}
	m.read = time.Now()
	clear(m.pins)
	for _, r := range list {
		m.pins[r.Pin] = true
	}
	return m.pins[fleet.Pin(pin)]
}

// listen is where the other replicas reach this one.
func (m *member) listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", m.conf.PeerAddress())
	if err != nil {
		return nil, fmt.Errorf("listen for other replicas: %w; replica.yaml says where", err)
	}
	return tls.NewListener(l, m.identity.ServerConfigFor(m.knows)), nil
}

// keep keeps the public listener open while a Stack is opened anew: whoever connects
// waits meanwhile.
func (m *member) keep(l net.Listener) error {
	if m.listener != nil {
		return nil
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("keep the listener open: it is a %T", l)
	}
	f, err := tcp.File()
	if err != nil {
		return fmt.Errorf("keep the listener open: %w", err)
	}
	m.listener, err = net.FileListener(f)
	return errors.Join(err, f.Close())
}

// lend is another listener on the same address, for one Stack.
func (m *member) lend() (net.Listener, error) {
	if m.listener == nil {
		return m.opts.Listener, nil
	}
	f, err := m.listener.(*net.TCPListener).File() //nolint:forcetypeassert // keep made it of one
	if err != nil {
		return nil, fmt.Errorf("keep the listener open: %w", err)
	}
	l, err := net.FileListener(f)
	return l, errors.Join(err, f.Close())
}

// close gives everything back.
func (m *member) close() error {
	var errs []error
	if m.door != nil {
		errs = append(errs, m.door.server.Close())
	}
	if m.fleet != nil {
		m.fleet.Close()
	}
	if m.listener != nil {
		errs = append(errs, m.listener.Close())
	}
	for _, c := range m.leaders {
		c.Close()
	}
	return errors.Join(append(errs, m.lock.Unlock())...)
}
