package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	gosundheit "github.com/AppsFlyer/go-sundheit"
	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/server/authflow"
	"github.com/dexidp/dex/server/oauth2"
	"github.com/dexidp/dex/server/signer"
	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/services/oidc/dexstore"
	"sigstack/services/oidc/record"
)

// ClientID is the client that sigstore's tools name, and so the "aud" of tokens.
const ClientID = "sigstore"

const (
	// idTokenLifetime is that of the certificates that tokens are traded for: one
	// token can sign a whole release, and a stolen one is soon worthless.
	idTokenLifetime = 10 * time.Minute

	// keyRotation is how long a key signs; it verifies for idTokenLifetime more.
	keyRotation = 24 * time.Hour

	// loginLifetime bounds how long a login page may stay open, and how long what
	// anybody can make us store stays stored.
	loginLifetime = 30 * time.Minute

	deviceLifetime = 10 * time.Minute
	gcEvery        = 5 * time.Minute

	// A refresh token is replaced at each use; the one before stays good for
	// refreshReuse, for clients that lost the answer.
	refreshIdle     = 24 * time.Hour
	refreshAbsolute = 7 * 24 * time.Hour
	refreshReuse    = 5 * time.Second
)

// newDex starts a Dex server on store, which ends its goroutines when ctx ends.
func newDex(ctx context.Context, cfg Config, issuer *url.URL, store *dexstore.Store, rec *record.Recorder, metrics *prometheus.Registry) (*server.Server, error) {
	web, err := webFS()
	if err != nil {
		return nil, err
	}
	log := slog.New(dexLog{cfg.Log.Handler()})
	configured, err := withConfig(rec.Storage(store), cfg, log)
	if err != nil {
		return nil, err
	}
	keys, err := (&signer.LocalConfig{
		KeysRotationPeriod: keyRotation.String(),
		Algorithm:          jose.RS256, // the one that every relying party must know (OIDC Core §15.1)
	}).Open(ctx, configured, idTokenLifetime, cfg.Now, log)
	if err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	dexConfig := server.Config{
		Issuer:                     cfg.Issuer,
		Storage:                    configured,
		Signer:                     rec.Signer(keys),
		AllowedGrantTypes:          grantTypes(cfg),
		SupportedResponseTypes:     []string{oauth2.ResponseTypeCode},
		PKCE:                       authflow.PKCEConfig{CodeChallengeMethodsSupported: []string{oauth2.PKCEMethodS256}},
		SkipApprovalScreen:         true, // one client, and it asks for an identity only
		IDTokensValidFor:           idTokenLifetime,
		AuthRequestsValidFor:       loginLifetime,
		DeviceRequestsValidFor:     deviceLifetime,
		RefreshTokenPolicy:         tokens.NewRefreshStrategy(true, refreshAbsolute, refreshIdle, refreshReuse, cfg.Now),
		GCFrequency:                gcEvery,
		Web:                        server.WebConfig{WebFS: web, Issuer: "sigstack", Extra: templateValues(issuer, cfg.Test)},
		HealthChecker:              health{gosundheit.New(), store},
		PrometheusRegistry:         metrics,
		ContinueOnConnectorFailure: true,
		Now:                        cfg.Now,
		Logger:                     log,
	}
	if cfg.PasswordGrant {
		dexConfig.PasswordConnector = localConnector
	}
	return server.NewServer(ctx, dexConfig)
}

func grantTypes(cfg Config) []string {
	types := []string{oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken, oauth2.GrantTypeDeviceCode}
	if cfg.PasswordGrant {
		types = append(types, oauth2.GrantTypePassword)
	}
	if slices.ContainsFunc(cfg.Connectors, func(c Connector) bool { return c.Exchange != nil }) {
		types = append(types, oauth2.GrantTypeTokenExchange)
	}
	return types
}

// withConfig lays what the configuration says over what is stored.
func withConfig(store storage.Storage, cfg Config, log *slog.Logger) (storage.Storage, error) {
	// Without redirect URIs of its own, a public client may use any loopback
	// address, the out-of-band page and the device callback.
	store = storage.WithStaticClients(store, []storage.Client{{ID: ClientID, Name: "sigstack", Public: true}})

	conns := []storage.Connector{localLogin(cfg)}
	for _, c := range cfg.Connectors {
		conn, err := c.stored(cfg.Issuer)
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	store = storage.WithStaticConnectors(store, conns)

	verified := true
	var users []storage.Password
	for _, u := range cfg.Users {
		users = append(users, storage.Password{
			Email: u.Email, EmailVerified: &verified, Hash: u.PasswordHash, Username: u.Username, UserID: u.UserID,
		})
	}
	return storage.WithStaticPasswords(store, users, log), nil
}

// localLogin is the connector of Config.Users. It is there without users too,
// though no grant finds it then: Dex does not start unless one connector opens,
// and who stands behind the others may be down just now.
func localLogin(cfg Config) storage.Connector {
	grants := []string{noGrant}
	if len(cfg.Users) > 0 || len(cfg.Connectors) == 0 {
		grants = append(loginGrants(), oauth2.GrantTypePassword)
	}
	return storage.Connector{ID: localConnector, Type: localConnector, Name: "E-mail and password", GrantTypes: grants}
}

// noGrant is the name of no grant: an empty list would allow them all.
const noGrant = "none"

// health answers Dex's own health endpoint by asking the storage each time,
// without the background checks of the library.
type health struct {
	gosundheit.Health
	store *dexstore.Store
}

func (h health) IsHealthy() bool { return h.store.Check(context.Background()) == nil }
