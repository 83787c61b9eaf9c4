package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/dexidp/dex/server/passwords"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"sigstack/internal/audit"
	"sigstack/internal/pgdb"
	"sigstack/services/oidc/attempts"
	"sigstack/services/oidc/dexstore"
)

// Config configures New. Issuer, Dir, Secret, Audit, AuditReady, Now and Log are
// required. Without users and connectors the issuer runs, but nobody can log in.
type Config struct {
	// Issuer is the "iss" of every token and the base of every endpoint, such as
	// http://localhost:8080/dex: absolute, with a path that is not "/", without
	// final slash, query or fragment. Tokens and clients hold it, so it never
	// changes.
	Issuer string

	// Dir is the directory of the database, which holds the signing keys: it is
	// created if missing, and one process at a time can use it.
	Dir string

	// Database holds what Dir would, shared by every process of the issuer; nil: Dir
	// does. The schema has to be there: MigrateDatabase.
	Database *Database

	// Secret of 32 bytes, which the database is encrypted with: the keys that
	// sign tokens are in it.
	Secret []byte

	// Users can log in with a password. They are not stored: who is missing here
	// at the next start cannot log in or refresh any more.
	Users []User

	// Connectors let users of other identity providers log in. One that cannot be
	// reached at the start is an error in the log, and tried again at each login.
	Connectors []Connector

	// PasswordGrant lets scripts trade a user's password for a token without a
	// browser (RFC 6749 §4.3). It needs Users. Off wherever people log in: the
	// client sees the password.
	PasswordGrant bool

	// Logins limits failed logins; its zero value is a limit too.
	Logins attempts.Rate

	// Attempts counts logins for all replicas of the issuer; nil: there are none.
	Attempts attempts.Shared

	// Test says on every page that this issuer is for tests.
	Test bool

	// Since is when this issuer was first trusted: the start of Trust's window.
	Since time.Time

	// Audit puts an event on record and returns once it is on disk: without it
	// nobody logs in, and no token is signed. AuditReady is asked first.
	Audit      func(context.Context, audit.Event) error
	AuditReady func(context.Context) error

	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Database is where in PostgreSQL an issuer keeps its signing keys, refresh tokens
// and logins under way, encrypted with Config.Secret. Replicas of it share them.
type Database struct {
	URL         string // secret; see pgdb.Config
	Schema      string // of its own
	Connections int    // bounds each of two pools, 1 to 100
}

// MigrateDatabase brings the schema of a Database, which it makes if there is none, to
// the version of this program, and returns what it was and is.
func MigrateDatabase(ctx context.Context, url, schema string) (pgdb.Version, error) {
	return dexstore.Migrate(ctx, url, schema)
}

// ReadDatabaseVersion returns the version of the schema of a Database and changes
// nothing.
func ReadDatabaseVersion(ctx context.Context, url, schema string) (pgdb.Version, error) {
	return dexstore.ReadVersion(ctx, url, schema)
}

// Copied is how much of an issuer was copied.
type Copied = dexstore.Copied

// ErrNewer is why CopyFromDatabase leaves a directory as it is, with fault.Conflict.
var ErrNewer = dexstore.ErrNewer

// CopyToDatabase makes a Database hold what the directory of a stopped issuer does, and
// proves it. It refuses, with fault.Conflict, one that holds another issuer, or a newer
// state of this one.
func CopyToDatabase(ctx context.Context, dir string, to Database, secret []byte) (Copied, error) {
	return between(ctx, dir, to, secret, dexstore.Copy)
}

// CopyFromDatabase is the way back. The directory is made if there is none.
func CopyFromDatabase(ctx context.Context, from Database, dir string, secret []byte) (Copied, error) {
	return between(ctx, dir, from, secret, func(ctx context.Context, there, here *dexstore.Store) (Copied, error) {
		return dexstore.Copy(ctx, here, there)
	})
}

// ClearDatabase takes away what a Database holds, for one whose issuer is elsewhere:
// a process that somebody forgot must not go on with old logins.
func ClearDatabase(ctx context.Context, d Database, secret []byte) (err error) {
	s, err := dexstore.OpenShared(ctx, dexstore.Database(d), dexstore.Options{Secret: secret})
	if err != nil {
		return err
	}
	return errors.Join(s.Clear(ctx), s.Close())
}

// between opens a directory and a Database, and does something with both.
func between(ctx context.Context, dir string, d Database, secret []byte, do func(ctx context.Context, dir, db *dexstore.Store) (Copied, error)) (n Copied, err error) {
	here, err := dexstore.Open(dir, dexstore.Options{Secret: secret})
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, here.Close()) }()
	there, err := dexstore.OpenShared(ctx, dexstore.Database(d), dexstore.Options{Secret: secret})
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	return do(ctx, here, there)
}

// User is a person, or a script, known to this issuer alone.
type User struct {
	Email        string // the identity in tokens, always with email_verified; case does not matter for logins
	Username     string // the "name" claim
	UserID       string // part of "sub": unique, and never given to another person
	PasswordHash []byte // bcrypt, cost 10 to 16; see HashPassword
}

// validate reports every problem at once.
func (c Config) validate() error {
	errs := []error{validateIssuer(c.Issuer)}
	if c.Dir == "" && c.Database == nil {
		errs = append(errs, errors.New("no storage directory or database"))
	}
	if len(c.Secret) != 32 {
		errs = append(errs, fmt.Errorf("secret of %d bytes, want 32", len(c.Secret)))
	}
	if c.Now == nil || c.Log == nil {
		errs = append(errs, errors.New("no clock or no log"))
	}
	if c.Audit == nil || c.AuditReady == nil {
		errs = append(errs, errors.New("no audit record"))
	}
	if c.PasswordGrant && len(c.Users) == 0 {
		errs = append(errs, errors.New("the password grant needs users"))
	}
	errs = append(errs, validateUsers(c.Users), CheckConnectors(c.Issuer, c.Connectors))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check oidc config: %w", err)
	}
	return nil
}

func validateIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("issuer %q: %w", issuer, err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("issuer %q is not an http or https URL", issuer)
	case u.Path == "" || u.Path == "/" || path.Clean(u.Path) != u.Path:
		return fmt.Errorf("issuer %q needs a clean path without final slash", issuer)
	case u.String() != (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String():
		return fmt.Errorf("issuer %q has more than scheme, host and path", issuer)
	}
	return nil
}

func validateUsers(users []User) error {
	var errs []error
	emails, ids := map[string]bool{}, map[string]bool{}
	for _, u := range users {
		email := strings.ToLower(u.Email)
		if !strings.Contains(email, "@") || u.UserID == "" {
			errs = append(errs, fmt.Errorf("user %q needs an e-mail address and an id", u.Email))
		}
		if emails[email] || ids[u.UserID] {
			errs = append(errs, fmt.Errorf("user %q: its address or id is taken", u.Email))
		}
		emails[email], ids[u.UserID] = true, true
		if err := passwords.CheckCost(u.PasswordHash); err != nil {
			errs = append(errs, fmt.Errorf("user %q: %w", u.Email, err))
		}
	}
	return errors.Join(errs...)
}

// GeneratePassword returns a random password of at least 128 bits: 26 letters
// and digits, which need no quoting anywhere.
func GeneratePassword() string { return rand.Text() }

// HashPassword returns the bcrypt hash for User.PasswordHash, at the cost of 10
// (some 70 ms of CPU for each login). Passwords over 72 bytes are refused.
func HashPassword(password string) ([]byte, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}
