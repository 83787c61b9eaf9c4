package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/server/connectors"
	"github.com/dexidp/dex/server/passwords"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures New. Issuer, Dir, Secret, Now and Log are required. Without users
// and connectors the issuer runs, but nobody can log in.
type Config struct {
	// Issuer is the "iss" of every token and the base of every endpoint, such as
	// http://localhost:8080/dex: absolute, with a path that is not "/", without
	// final slash, query or fragment. Tokens and clients hold it, so it never
	// changes.
	Issuer string

	// Dir is the directory of the database, which holds the signing keys: it is
	// created if missing, and one process at a time can use it.
	Dir string

	// Secret of 32 bytes, which the database is encrypted with: the keys that
	// sign tokens are in it.
	Secret []byte

	// Users can log in with a password. They are not stored: who is missing here
	// at the next start cannot log in or refresh any more.
	Users []User

	// Connectors let users of other identity providers log in. One that cannot be
	// reached at the start is tried again at each login, as long as another works.
	Connectors []Connector

	// PasswordGrant lets scripts trade a user's password for a token without a
	// browser (RFC 6749 §4.3). It needs Users. Off wherever people log in: the
	// client sees the password.
	PasswordGrant bool

	// Test says on every page that this issuer is for tests.
	Test bool

	// Since is when this issuer was first trusted: the start of Trust's window.
	Since time.Time

	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// User is a person, or a script, known to this issuer alone.
type User struct {
	Email        string // the identity in tokens, always with email_verified; case does not matter for logins
	Username     string // the "name" claim
	UserID       string // part of "sub": unique, and never given to another person
	PasswordHash []byte // bcrypt, cost 10 to 16; see HashPassword
}

// Connector is an identity provider that Dex knows how to ask.
type Connector struct {
	ID     string          // part of "sub" and of callback URLs; never changes
	Type   string          // one of Dex's: "ldap", "saml", "oidc", "github", "gitlab", …
	Name   string          // on the login page
	Config json.RawMessage // as Dex documents for the type; unknown fields are refused
}

// localConnector is the id of the connector that knows Config.Users.
const localConnector = connectors.LocalConnector

// validate reports every problem at once.
func (c Config) validate() error {
	errs := []error{validateIssuer(c.Issuer)}
	if c.Dir == "" {
		errs = append(errs, errors.New("no storage directory"))
	}
	if len(c.Secret) != 32 {
		errs = append(errs, fmt.Errorf("secret of %d bytes, want 32", len(c.Secret)))
	}
	if c.Now == nil || c.Log == nil {
		errs = append(errs, errors.New("no clock or no log"))
	}
	if c.PasswordGrant && len(c.Users) == 0 {
		errs = append(errs, errors.New("the password grant needs users"))
	}
	errs = append(errs, validateUsers(c.Users), validateConnectors(c.Connectors))
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

func validateConnectors(conns []Connector) error {
	var errs []error
	ids := map[string]bool{localConnector: true}
	for _, c := range conns {
		if c.ID == "" || c.Name == "" {
			errs = append(errs, fmt.Errorf("connector %q needs an id and a name", c.ID))
		}
		if ids[c.ID] {
			errs = append(errs, fmt.Errorf("connector %q: its id is taken", c.ID))
		}
		ids[c.ID] = true
		if err := c.validateConfig(); err != nil {
			errs = append(errs, fmt.Errorf("connector %q: %w", c.ID, err))
		}
	}
	return errors.Join(errs...)
}

// validateConfig is strict where Dex is not: it takes no unknown fields.
func (c Connector) validateConfig() error {
	newConfig, ok := server.ConnectorsConfig[c.Type]
	if !ok {
		return fmt.Errorf("unknown type %q", c.Type)
	}
	if len(c.Config) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(c.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(newConfig()); err != nil {
		return fmt.Errorf("parse config: %w", err)
	}
	return nil
}
