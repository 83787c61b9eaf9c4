package stack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fleet"
	"sigstack/internal/keys"
	"sigstack/internal/pgdb"
	"sigstack/services/oidc"
)

// holdsIssuer is the part of the database's schemas that is the built-in issuer's.
const holdsIssuer = "dex"

// issuerDatabase is where replicas share what the built-in issuer keeps; nil for a
// stack that runs alone, which has it in its directory.
func (l Layout) issuerDatabase(conf *config.Config) (*oidc.Database, error) {
	r, err := config.LoadReplica(l.Dir)
	if err != nil || r == nil || conf.Database == nil {
		return nil, err
	}
	return l.issuerSchema(conf.Database)
}

func (l Layout) issuerSchema(conf *config.Database) (*oidc.Database, error) {
	url, err := l.databaseURL(conf)
	if err != nil {
		return nil, fmt.Errorf("database.url_file: %w", err)
	}
	return &oidc.Database{URL: url, Schema: conf.SchemaOf(holdsIssuer), Connections: conf.Pool()}, nil
}

// issuerMoved is what was db/oidc before the issuer moved to the database: out of the
// way of a start, which would take old logins for good.
func (l Layout) issuerMoved() string { return l.OIDCDB() + ".moved" }

// giveIssuer copies what the issuer of a directory keeps to the database, if there is
// anything.
func (l Layout) giveIssuer(ctx context.Context, conf *config.Config, passphrase []byte) (n oidc.Copied, err error) {
	to, err := l.issuerSchema(conf.Database)
	if err != nil {
		return n, err
	}
	if _, err := oidc.MigrateDatabase(ctx, to.URL, to.Schema); err != nil {
		return n, err
	}
	if found, err := exists(l.OIDCDB()); !found || err != nil {
		return n, err
	}
	secret, err := keys.Open(l.Keys(), passphrase).Secret(conf.OIDC.Secret)
	if err != nil {
		return n, err
	}
	n, err = oidc.CopyToDatabase(ctx, l.OIDCDB(), *to, secret)
	if err != nil {
		return n, fmt.Errorf("schema %s: %w", to.Schema, err)
	}
	return n, nil
}

// putIssuerAside ends giveIssuer, once the directory is a replica's, and returns where
// the old rows are; "": there were none.
func (l Layout) putIssuerAside() (string, error) {
	if found, err := exists(l.OIDCDB()); !found || err != nil {
		return "", err
	}
	if err := os.RemoveAll(l.issuerMoved()); err != nil { // of an earlier move
		return "", err
	}
	if err := os.Rename(l.OIDCDB(), l.issuerMoved()); err != nil {
		return "", fmt.Errorf("put the issuer's old rows aside: %w", err)
	}
	return l.issuerMoved(), durable.SyncDir(l.path("db"))
}

// issuerBack is the way of an issuer's rows from the database, where replicas had them,
// to a directory.
type issuerBack struct {
	l      Layout
	conf   *config.Config
	from   *oidc.Database // nil: the database has none
	secret []byte
}

// openIssuerBack looks whether there is such an issuer.
func (l Layout) openIssuerBack(ctx context.Context, conf *config.Config, passphrase []byte) (b issuerBack, err error) {
	b = issuerBack{l: l, conf: conf}
	if conf.OIDC == nil {
		return b, nil
	}
	from, err := l.issuerSchema(conf.Database)
	if err != nil {
		return b, err
	}
	v, err := oidc.ReadDatabaseVersion(ctx, from.URL, from.Schema)
	if err != nil || v.Current == 0 {
		return b, err
	}
	if err := v.Check(); err != nil {
		return b, (&database{dir: l.Dir}).explained(fmt.Errorf("schema %s: %w", from.Schema, err))
	}
	if b.secret, err = keys.Open(l.Keys(), passphrase).Secret(conf.OIDC.Secret); err != nil {
		return b, err
	}
	b.from = from
	return b, nil
}

// copy copies the rows. A directory whose rows are newer has the issuer already.
func (b issuerBack) copy(ctx context.Context) (n oidc.Copied, err error) {
	if b.from == nil {
		return n, nil
	}
	n, err = oidc.CopyFromDatabase(ctx, *b.from, b.l.OIDCDB(), b.secret)
	if errors.Is(err, oidc.ErrNewer) {
		return oidc.Copied{}, nil
	}
	return n, err
}

// end empties the old place, once config.yaml names the new one.
func (b issuerBack) end(ctx context.Context) error {
	if b.from == nil {
		return nil
	}
	return oidc.ClearDatabase(ctx, *b.from, b.secret)
}

// schemasOfReplicas are those that replicas had beside the logs, as far as they are
// there and no other process of a split stack needs them.
func schemasOfReplicas(ctx context.Context, url string, conf *config.Config) ([]string, error) {
	names := []string{fleet.Schema(conf.Database.Prefix())}
	if conf.OIDC != nil {
		names = append(names, conf.Database.SchemaOf(holdsIssuer))
	}
	there, err := pgdb.Existing(ctx, url, names...)
	if err != nil || len(there) == 0 || there[0] != names[0] {
		return there, err
	}
	others, err := fleet.Others(ctx, url, names[0], processOf(conf))
	if others {
		there = there[1:]
	}
	return there, err
}
