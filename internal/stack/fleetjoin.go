package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fleet"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
	"sigstack/internal/pgdb"
	"sigstack/services/oidc"
)

// JoinConfig says which directory becomes a replica's, and how others reach it.
type JoinConfig struct {
	// Dir of a stopped stack, which is the first replica then, or an empty one.
	Dir string
	// URLFile of the database; for the directory of a stack, empty: that of config.yaml.
	URLFile string
	// Schema is config.Database.Schema, for an empty directory.
	Schema string
	// Process of a split stack that an empty directory is to be a replica of.
	Process string
	// Replica is what goes into replica.yaml, but for URLFile and AuditChain.
	Replica    config.Replica
	Passphrase []byte
	Now        func() time.Time
	Log        *slog.Logger
}

// unfinishedReplica marks a directory that is being made a replica's.
func (l Layout) unfinishedReplica() string { return filepath.Join(l.Dir, "replica-unfinished") }

// ErrIsReplica is the error of JoinReplica for a directory that is a replica's already.
var ErrIsReplica = errors.New("it is a replica's already")

// Joined is what became of a directory.
type Joined struct {
	Name  string `json:"name"`
	First bool   `json:"first"` // the directory of the stack itself
	// Issuer is what the built-in issuer kept in the directory, and has in the database
	// from then on; Left is where the old rows are, "" if there were none.
	Issuer oidc.Copied `json:"issuer,omitzero"`
	Left   string      `json:"left,omitempty"`
}

// JoinReplica makes a directory a replica's. The first is the directory of the stack
// itself; an empty one is filled with what the others have. An interrupted one can be
// repeated. The error is a *signing.UnreachableError if the database is away.
func JoinReplica(ctx context.Context, cfg JoinConfig) (j Joined, err error) {
	j.Name = cfg.Replica.Name
	if err := errors.Join(cfg.Replica.Check(), fleet.CheckName(cfg.Replica.Name), fleet.CheckAddress(cfg.Replica.Address)); err != nil {
		return j, err
	}
	l := Layout{cfg.Dir}
	if r, err := config.LoadReplica(cfg.Dir); r != nil || err != nil {
		return j, errors.Join(fmt.Errorf("directory %s: %w", cfg.Dir, ErrIsReplica), err)
	}
	if cfg.URLFile != "" {
		if cfg.Replica.URLFile, err = filepath.Abs(cfg.URLFile); err != nil {
			return j, err
		}
	}
	if err := durable.MkdirAll(cfg.Dir, 0o700); err != nil {
		return j, err
	}
	lock, err := durable.LockDir(cfg.Dir)
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	interrupted, err := exists(l.unfinishedReplica())
	if err != nil {
		return j, err
	}
	done, err := l.Initialized()
	if err != nil {
		return j, err
	}
	if j.First = done && !interrupted; j.First {
		return j, cfg.found(ctx, l, &j)
	}
	return j, cfg.fill(ctx, l, interrupted)
}

// reach asks the database before anything is made in it, or in the directory.
func (cfg JoinConfig) reach(ctx context.Context, l Layout, conf *config.Database, url string) error {
	_, err := pgdb.Reach(ctx, url)
	return l.unreachable(&config.Database{URLFile: cmp.Or(cfg.Replica.URLFile, conf.URLFile)}, err)
}

// found makes the directory of a stack the first replica.
func (cfg JoinConfig) found(ctx context.Context, l Layout, j *Joined) error {
	if waits, err := l.AwaitsRoot(); waits || err != nil {
		return errors.Join(&AwaitsRootError{l.Dir}, err)
	}
	if err := l.refuseSplit(); err != nil {
		return err
	}
	conf, err := config.Load(l.Config())
	if err != nil {
		return err
	}
	fc, err := l.fleetOf(&cfg.Replica, conf)
	if err != nil {
		return err
	}
	if err := cfg.reach(ctx, l, conf.Database, fc.URL); err != nil {
		return err
	}
	if fc.Pin, err = cfg.makeKey(l, conf); err != nil {
		return err
	}
	fc.Log = cfg.Log
	if _, err := fleet.Migrate(ctx, fc.URL, fc.Schema); err != nil {
		return err
	}
	// Others may have gone on with the issuer behind a join that was interrupted.
	if already := cfg.joined(ctx, fc); conf.OIDC != nil && !already {
		if j.Issuer, err = l.giveIssuer(ctx, cfg.Replica.Apply(conf), cfg.Passphrase); err != nil {
			return fmt.Errorf("move the issuer: %w", err)
		}
	}
	err = fleet.Found(ctx, fc, cfg.Replica.Address)
	if errors.Is(err, fleet.ErrFounded) && cfg.joined(ctx, fc) {
		err = nil // by this directory, before it was interrupted
	}
	if err != nil {
		return err
	}
	if err := cfg.write(l); err != nil {
		return err
	}
	j.Left, err = l.putIssuerAside()
	return err
}

// joined reports whether the fleet knows this replica with its key.
func (cfg JoinConfig) joined(ctx context.Context, fc fleet.Config) bool {
	f, err := fleet.Open(ctx, fc)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// fill makes an empty directory a replica's.
func (cfg JoinConfig) fill(ctx context.Context, l Layout, interrupted bool) error {
	if !interrupted {
		if err := l.refuseOccupied(); err != nil {
			return err
		}
	}
	if cfg.Replica.URLFile == "" {
		return errors.New("name the file with the database's URL: an empty directory does not know it")
	}
	section := &config.Database{URLFile: cfg.Replica.URLFile, Schema: cfg.Schema}
	url, err := l.databaseURL(section)
	if err != nil {
		return err
	}
	if err := cfg.reach(ctx, l, section, url); err != nil {
		return err
	}
	if err := durable.WriteFile(l.unfinishedReplica(), nil, 0o600); err != nil {
		return err
	}
	for _, dir := range append(l.subdirectories(), l.replicaKeys()) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare %s: %w", l.Dir, err)
		}
	}
	fc := fleet.Config{
		URL: url, Schema: fleet.Schema(section.Prefix()), Process: cfg.Process, Name: cfg.Replica.Name, Dir: l.Dir,
		Pin: fleet.Pin{1}, Paths: l.replicated, Now: time.Now, Log: cfg.Log, // the key is made once the profile is known
	}
	if err := fleet.Fetch(ctx, fc); err != nil {
		return err
	}
	conf, err := config.Load(l.Config())
	if err != nil {
		return err
	}
	if fc.Pin, err = cfg.makeKey(l, conf); err != nil {
		return err
	}
	if cfg.Replica.AuditChain, err = cfg.beginAudit(ctx, l, conf); err != nil {
		return err
	}
	if err := fleet.Join(ctx, fc, cfg.Replica.Address); err != nil {
		return err
	}
	return cfg.write(l)
}

// makeKey makes the replica's own key, as well protected as the others, or takes that
// of an interrupted try.
func (cfg JoinConfig) makeKey(l Layout, conf *config.Config) (fleet.Pin, error) {
	if conf.Profile == config.ProfileServe && len(cfg.Passphrase) == 0 {
		return fleet.Pin{}, keys.ErrNoPassphrase
	}
	if err := durable.MkdirAll(l.replicaKeys(), 0o700); err != nil {
		return fleet.Pin{}, err
	}
	store := keys.Open(l.replicaKeys(), cfg.Passphrase)
	key, err := store.Load(keyReplica)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = store.Create(keyReplica, keys.ECDSAP256, cfg.Now())
	}
	if err != nil {
		return fleet.Pin{}, fmt.Errorf("replica key: %w", err)
	}
	return fleet.Pin(peer.PinOf(key.SPKI())), nil
}

// beginAudit begins the replica's own record, whose key is that of all. That it can be
// loaded proves the passphrase.
func (cfg JoinConfig) beginAudit(ctx context.Context, l Layout, conf *config.Config) (chain string, err error) {
	if conf.Audit == nil {
		return "", nil
	}
	key, err := keys.Open(l.Keys(), cfg.Passphrase).Load(conf.Audit.Key)
	if err != nil {
		return "", err
	}
	log, err := audit.Open(ctx, audit.Options{Dir: l.Audit(), Signer: key, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return "", err
	}
	return log.Chain(), log.Close()
}

// write writes replica.yaml: from then on the directory is a replica's.
func (cfg JoinConfig) write(l Layout) error {
	data, err := cfg.Replica.Marshal()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(l.Dir, config.ReplicaFile), data, 0o600); err != nil {
		return err
	}
	if err := os.Remove(l.unfinishedReplica()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(l.Dir)
}
