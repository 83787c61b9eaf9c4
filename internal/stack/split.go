package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/keys"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// DefaultAddresses are where the processes of a split stack listen for each
// other on one machine.
func DefaultAddresses() map[string]string {
	return map[string]string{"ca": "127.0.0.1:8101", "logs": "127.0.0.1:8102", "oidc": "127.0.0.1:8103"}
}

// SplitConfig says how to split a directory.
type SplitConfig struct {
	// Dir is a stack's, stopped.
	Dir string
	// Into is the directory in which each process gets one of its own.
	Into string
	// Addresses (host:port) where processes listen for each other, by name; the
	// others have the default.
	Addresses map[string]string
	// Passphrase of the service keys; it will be that of all processes.
	Passphrase []byte
	// Progress, if set, is told what is done, and of copies how many bytes are: it is
	// called in between, more often than people can read.
	Progress func(step string, copied int64)
	Now      func() time.Time
	Log      *slog.Logger
}

// AddressError is an address that a process cannot have.
type AddressError struct {
	Process string
	Err     error
}

func (e *AddressError) Error() string { return "address of " + e.Process + ": " + e.Err.Error() }
func (e *AddressError) Unwrap() error { return e.Err }

// Process is one of those that a directory was split into.
type Process struct {
	Name     string   `json:"name"`
	Dir      string   `json:"dir"`
	Services []string `json:"services"`
	Listen   string   `json:"listen"` // public for the front, for peers otherwise
}

// splitPlan is a split under way.
type splitPlan struct {
	SplitConfig

	from      Layout
	conf      *config.Config
	plain     *config.Config // without defaults, which each start chooses anew
	source    string         // Dir, absolute
	into      string         // absolute
	addresses map[string]string
	material  trust.Material
	auditKey  []byte // SPKI of the key of the record so far; nil: none
}

// splitMarker says in a directory where it was split into.
func (l Layout) splitMarker() string { return filepath.Join(l.Dir, "split") }

// SplitInto returns the directory that holds what this one was split into, "" if
// it was not.
func (l Layout) SplitInto() (string, error) {
	data, err := os.ReadFile(l.splitMarker())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look whether the directory was split: %w", err)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// refuseSplit refuses to serve a directory beside what it was split into: two
// logs with one key would grow apart, and nobody could trust either any more.
func (l Layout) refuseSplit() error {
	into, err := l.SplitInto()
	if err != nil || into == "" {
		return err
	}
	return fmt.Errorf("directory %s was split into processes, in %s: serve those. Served beside them it would fork the logs", l.Dir, into)
}

// Split divides a directory into those of several processes, which hold each only
// its own keys and databases, and marks it so that it is never served again. It
// stays what it was otherwise: offline/ is not copied. A split that is
// interrupted before the mark starts over the next time, and finishes after it. The
// end of ctx interrupts it before the mark alone. An error matches AddressError if
// an address is the cause.
func Split(ctx context.Context, cfg SplitConfig) (_ []Process, err error) {
	p := splitPlan{SplitConfig: cfg, from: Layout{cfg.Dir}, addresses: DefaultAddresses()}
	if p.source, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	if p.into, err = filepath.Abs(cfg.Into); err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	lock, err := durable.LockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("stop the stack first: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	marked, err := p.from.SplitInto()
	switch {
	case err != nil:
		return nil, err
	case marked == "":
		err := p.prepare(ctx)
		if ctx.Err() != nil && err != nil {
			return nil, fmt.Errorf("%s can be served as before, and split again: %w", cfg.Dir, ctx.Err())
		}
		if err != nil {
			return nil, err
		}
	case marked != p.into:
		return nil, fmt.Errorf("directory %s was split already, into %s", cfg.Dir, marked)
	}
	return p.finish()
}

// check reads the configuration and the addresses.
func (p *splitPlan) check() error {
	done, err := p.from.Initialized()
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("directory %s holds no stack: run init first", p.Dir)
	}
	if waits, err := p.from.AwaitsRoot(); waits || err != nil {
		return errors.Join(err, &AwaitsRootError{p.Dir})
	}
	if p.conf, err = config.Load(p.from.Config()); err != nil {
		return err
	}
	if p.plain, err = config.Plain(p.from.Config()); err != nil {
		return err
	}
	if p.conf.Peers != nil {
		return fmt.Errorf("directory %s is that of process %s already", p.Dir, p.conf.Peers.Name)
	}
	for name, address := range p.SplitConfig.Addresses {
		if err := p.checkAddress(name, address); err != nil {
			return &AddressError{name, err}
		}
		p.addresses[name] = address
	}
	return errors.Join(p.checkDistinct(), p.checkInto())
}

func (p *splitPlan) checkAddress(name, address string) error {
	if _, known := p.addresses[name]; !known {
		return errors.New("there is no such process that listens for others, want ca, logs or oidc")
	}
	if err := config.CheckAddress(address); err != nil {
		return err
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "0" {
		return fmt.Errorf("%s: want a host and a port, by which the other processes find it", address)
	}
	if p.conf.Profile == config.ProfileUp && !config.IsLoopback(address) {
		return fmt.Errorf("%s is not a loopback address, and this is a test stack", address)
	}
	return nil
}

// checkDistinct refuses one address for two processes.
func (p *splitPlan) checkDistinct() error {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(p.addresses)) {
		address := p.addresses[name]
		if other := seen[address]; other != "" {
			return &AddressError{name, fmt.Errorf("%s is that of %s too, give each its own", address, other)}
		}
		seen[address] = name
	}
	return nil
}

// checkInto keeps an operator's processes out of the directory that is to be put
// away.
func (p *splitPlan) checkInto() error {
	rest, err := filepath.Rel(p.source, p.into)
	if err == nil && filepath.IsLocal(rest) && p.conf.Profile != config.ProfileUp {
		return fmt.Errorf("directory %s is in %s, which holds all keys: name another one to split into", p.Into, p.Dir)
	}
	return nil
}

// prepare makes everything but the configurations, and sets the mark last.
func (p *splitPlan) prepare(ctx context.Context) (err error) {
	release, err := p.claim()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	p.tell("checking keys and databases", 0)
	if err := p.readMaterial(ctx); err != nil {
		return err
	}
	shares, err := p.shares()
	if err != nil {
		return err
	}
	pins := map[string]string{}
	for _, sh := range shares {
		if err := sh.layout.prepareShare(p.source); err != nil {
			return err
		}
		err := sh.copyFrom(ctx, p.from, func(bytes int64) { p.tell("copying what "+sh.name()+" gets", bytes) })
		if err != nil {
			return err
		}
		if pins[sh.name()], err = p.makePeerKey(sh.layout); err != nil {
			return err
		}
		if err := p.makeAudit(ctx, sh); err != nil {
			return err
		}
	}
	introduce(shares, pins)
	for _, sh := range shares {
		if err := p.writePrepared(sh, shares); err != nil {
			return err
		}
	}
	if err := p.recordSplit(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.tell("setting the mark", 0)
	// Until here the directory may be served again, and a next split starts over.
	// From here on it is these processes or none: the mark is on disk before any of
	// them can start.
	return durable.CreateFile(p.from.splitMarker(), []byte(p.into+"\n"), 0o644)
}

func (p *splitPlan) tell(step string, copied int64) {
	if p.Progress != nil {
		p.Progress(step, copied)
	}
}

// readMaterial builds the services as they will run, which tries passphrase, keys
// and databases, and gathers their public halves.
func (p *splitPlan) readMaterial(ctx context.Context) (err error) {
	s := &Stack{conf: p.conf, layout: p.from, opts: Options{Dir: p.Dir, Passphrase: p.Passphrase, Now: p.Now, Log: p.Log}}
	s.keys = keys.Open(p.from.Keys(), p.Passphrase)
	defer func() { err = errors.Join(err, s.Close()) }()
	s.prepare()
	if err := s.buildServices(ctx); err != nil {
		return err
	}
	if e, _, ok := s.shards.behind(); ok {
		return fmt.Errorf("shard %s is prepared, and could not be activated in a split stack: activate it first, with sigstack log shard activate", e.Name)
	}
	p.material, p.auditKey = s.material(), s.auditKey
	if p.conf.TUF == nil {
		return nil
	}
	repo, err := tufroot.Open(p.from.repository(p.conf, p.Now))
	if err != nil {
		return err
	}
	return s.checkPublished(repo)
}

// finish puts the configurations in place, from which on a process can be served.
// One that has its own may have been served since: it is left alone.
func (p *splitPlan) finish() ([]Process, error) {
	var out []Process
	for _, d := range division {
		if !slices.ContainsFunc(d.services, p.conf.Has) {
			continue
		}
		l := Layout{filepath.Join(p.into, d.name)}
		if err := l.finishShare(); err != nil {
			return nil, err
		}
		conf, err := config.Load(l.Config())
		if err != nil {
			return nil, err
		}
		proc := Process{Name: d.name, Dir: l.Dir, Listen: conf.Listen}
		if conf.Behind() {
			proc.Listen = conf.Peers.Listen
		}
		for _, s := range d.services {
			if conf.Has(s) {
				proc.Services = append(proc.Services, s)
			}
		}
		out = append(out, proc)
	}
	return out, nil
}

func (l Layout) finishShare() error {
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	if !done {
		if err := os.Rename(l.prepared(), l.Config()); err != nil {
			return fmt.Errorf("finish split: %w", err)
		}
		if err := durable.SyncDir(l.Dir); err != nil {
			return err
		}
	}
	if err := os.Remove(l.splitUnfinished()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("finish split: %w", err)
	}
	return durable.SyncDir(l.Dir)
}
