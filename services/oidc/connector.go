package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/server/connectors"
	"github.com/dexidp/dex/server/oauth2"
	"github.com/dexidp/dex/storage"

	"sigstack/services/oidc/settings"
)

// Connector is an identity provider that Dex knows how to ask.
type Connector struct {
	ID   string // part of "sub" and of callback URLs; never changes
	Type string // one of Dex's: "ldap", "saml", "oidc", "github", "gitlab", …
	Name string // on the login page

	// Config as Dex documents it for the type; unknown fields are refused. Where
	// the type has a redirectURI and Config none, it is this issuer's callback.
	Config json.RawMessage

	// Exchange, if set, lets machines trade the provider's ID tokens for this
	// issuer's, without a browser (RFC 8693).
	Exchange *Exchange
}

// Exchange says which tokens of a provider may be traded.
type Exchange struct {
	// Audiences: a token must name one of them. Never empty, or a token that the
	// provider made for anybody else would do.
	Audiences []string
	// Only keeps the connector off the login page.
	Only bool
}

// localConnector is the id of the connector that knows Config.Users.
const localConnector = connectors.LocalConnector

// required fields of a connector's config, where Dex finds out at a login only.
var required = map[string][]string{
	"atlassian-crowd":  {"baseURL", "clientID", "clientSecret"},
	"bitbucket-cloud":  {"clientID", "clientSecret"},
	"gitea":            {"clientID", "clientSecret"},
	"github":           {"clientID", "clientSecret"},
	"gitlab":           {"clientID", "clientSecret"},
	"google":           {"clientID", "clientSecret"},
	"keystone":         {"keystoneHost", "domain", "keystoneUsername", "keystonePassword"},
	"ldap":             {"host", "userSearch"},
	"linkedin":         {"clientID", "clientSecret"},
	"microsoft":        {"clientID"}, // a secret, or an assertion's file
	"mockPassword":     {"username", "password"},
	"oauth":            {"clientID", "clientSecret", "tokenURL", "authorizationURL", "userInfoURL"},
	"oidc":             {"issuer", "clientID"}, // a public client has no secret
	"openshift":        {"issuer", "clientID", "clientSecret"},
	"saml":             {"ssoURL", "usernameAttr", "emailAttr"},
	"samlExperimental": {"ssoURL", "usernameAttr", "emailAttr"},
}

var validConnectorID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckConnectors reports every problem of conns at an issuer, each with the
// connector's id and the field. It asks no network and reads no file.
func CheckConnectors(issuer string, conns []Connector) error {
	var errs []error
	ids := map[string]bool{localConnector: true}
	for _, c := range conns {
		if ids[c.ID] {
			errs = append(errs, fmt.Errorf("connector %q: its id is taken", c.ID))
		}
		ids[c.ID] = true
		for _, err := range c.problems(issuer) {
			errs = append(errs, fmt.Errorf("connector %q: %w", c.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (c Connector) problems(issuer string) []error {
	var errs []error
	if !validConnectorID.MatchString(c.ID) {
		errs = append(errs, errors.New("id: want 1 to 64 letters, digits, dots, dashes and underscores"))
	}
	if c.Name == "" {
		errs = append(errs, errors.New("name: missing, the login page shows it"))
	}
	if x := c.Exchange; x != nil {
		if c.Type != "oidc" {
			errs = append(errs, fmt.Errorf("token_exchange: type %s cannot tell whom a token was made for; only oidc can", c.Type))
		}
		if len(x.Audiences) == 0 || slices.Contains(x.Audiences, "") {
			errs = append(errs, errors.New("token_exchange.audiences: name what the tokens must say in aud"))
		}
	}
	return append(errs, c.configProblems(issuer)...)
}

// configProblems is strict where Dex is not: it takes no unknown fields, and
// misses those without which no login can work.
func (c Connector) configProblems(issuer string) []error {
	newConfig, ok := server.ConnectorsConfig[c.Type]
	if !ok {
		return []error{fmt.Errorf("type: %q is not known, want one of %s", c.Type, strings.Join(ConnectorTypes(), ", "))}
	}
	fields := map[string]json.RawMessage{}
	var errs []error
	if len(c.Config) > 0 {
		if err := json.Unmarshal(c.Config, &fields); err != nil {
			return []error{fmt.Errorf("config: %w", err)}
		}
		for _, problem := range settings.Problems(c.Config, func() any { return newConfig() }) {
			errs = append(errs, fmt.Errorf("config.%s; docs/connectors.md has a sample of type %s", problem, c.Type))
		}
	}
	for _, name := range required[c.Type] {
		if value := field(fields, name); value == nil || string(value) == `""` {
			errs = append(errs, fmt.Errorf("config.%s: missing; docs/connectors.md has a sample of type %s", name, c.Type))
		}
	}
	if value := field(fields, "redirectURI"); value != nil && !c.isCallback(issuer, value) {
		errs = append(errs, fmt.Errorf("config.redirectURI: %s is not where this issuer waits; leave it out, or say %s", value, callback(issuer)))
	}
	return errs
}

// field finds a field as encoding/json does, without regard to case.
func field(fields map[string]json.RawMessage, name string) json.RawMessage {
	for key, value := range fields {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return nil
}

func callback(issuer string) string { return issuer + "/callback" }

// isCallback: a provider of SAML may have been told the connector's own one.
func (c Connector) isCallback(issuer string, value json.RawMessage) bool {
	var uri string
	if json.Unmarshal(value, &uri) != nil {
		return false
	}
	return uri == callback(issuer) || strings.HasPrefix(c.Type, "saml") && uri == callback(issuer)+"/"+c.ID
}

// ConnectorTypes returns the types there are, sorted. Each has a sample in the
// folder connectors.
func ConnectorTypes() []string {
	var types []string
	for name := range server.ConnectorsConfig {
		types = append(types, name)
	}
	slices.Sort(types)
	return types
}

// asksNetwork are the types that fetch their provider's metadata when opened.
var asksNetwork = map[string]bool{"google": true, "oidc": true, "openshift": true}

// TryConnectors opens those of conns that ask no network, and reports what they do
// not like: files that are missing, values that make no sense. Dex itself would
// only log it, as it does for a provider that is down. conns have been checked.
func TryConnectors(issuer string, conns []Connector) error {
	var errs []error
	for _, c := range conns {
		if asksNetwork[c.Type] {
			continue
		}
		if err := c.open(issuer); err != nil {
			errs = append(errs, fmt.Errorf("connector %q: config: %w; docs/connectors.md has a sample of type %s", c.ID, err, c.Type))
		}
	}
	return errors.Join(errs...)
}

func (c Connector) open(issuer string) error {
	data, err := c.withCallback(issuer)
	if err != nil {
		return err
	}
	config := server.ConnectorsConfig[c.Type]()
	if len(data) > 0 {
		if err := json.Unmarshal(data, config); err != nil {
			return err
		}
	}
	conn, err := config.Open(c.ID, slog.New(slog.DiscardHandler))
	if closer, ok := conn.(io.Closer); ok && err == nil {
		err = closer.Close()
	}
	return err
}

// stored returns c as Dex keeps it. c has been checked.
func (c Connector) stored(issuer string) (storage.Connector, error) {
	config, err := c.withCallback(issuer)
	if err != nil {
		return storage.Connector{}, fmt.Errorf("connector %q: %w", c.ID, err)
	}
	grants := loginGrants()
	if c.Exchange != nil {
		if c.Exchange.Only {
			grants = nil
		}
		grants = append(grants, oauth2.GrantTypeTokenExchange)
	}
	return storage.Connector{ID: c.ID, Type: c.Type, Name: c.Name, Config: config, GrantTypes: grants}, nil
}

// loginGrants are those that begin at the login page. A connector without a list
// would take every grant, exchanges too. The implicit one is offered nowhere;
// with it in the list a client that asks is told so, by a redirect.
func loginGrants() []string {
	return []string{
		oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken, oauth2.GrantTypeDeviceCode, oauth2.GrantTypeImplicit,
	}
}

// withCallback returns the config with a redirectURI, if its type has that field.
func (c Connector) withCallback(issuer string) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if len(c.Config) > 0 {
		if err := json.Unmarshal(c.Config, &fields); err != nil {
			return nil, fmt.Errorf("parse config: %w", err)
		}
	}
	if !hasRedirect(server.ConnectorsConfig[c.Type]()) || field(fields, "redirectURI") != nil {
		return c.Config, nil
	}
	uri, err := json.Marshal(callback(issuer))
	if err != nil {
		return nil, fmt.Errorf("encode redirectURI: %w", err)
	}
	fields["redirectURI"] = uri
	return json.Marshal(fields)
}

func hasRedirect(config connectors.ConnectorConfig) bool {
	t := reflect.TypeOf(config).Elem()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("json") == "redirectURI" {
			return true
		}
	}
	return false
}
