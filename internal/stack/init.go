package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/services/oidc"
)

// DemoUser is the e-mail address of the user that profile up comes with.
const DemoUser = "demo@sigstack.local"

// InitConfig says what to make.
type InitConfig struct {
	Dir     string
	Profile string // config.ProfileUp or config.ProfileServe
	URL     string
	Listen  string
	// Issuers that the CA trusts besides the built-in one.
	Issuers []config.Issuer
	// Passphrase encrypts the service keys; required in profile serve, absent
	// in profile up.
	Passphrase []byte
	// OfflinePassphrase encrypts the root keys, which the serving process never
	// needs. Empty: profile serve makes a random one and writes it to
	// offline/passphrase, before any key.
	OfflinePassphrase []byte
	// Ceremony leaves the trust root to signers, whose keys are not here: the directory
	// can be served when their first root is in it. Not for profile up.
	Ceremony bool
	// Database says where the logs are to be, if not in the directory.
	Database InitDatabase
	// Keys says which keys are not to be files.
	Keys InitKeys
	// TLS says who speaks it, for an https URL.
	TLS InitTLS
	// TUFProfile is one of config.TUFProfiles; empty: the default.
	TUFProfile string
	Now        func() time.Time
	Log        *slog.Logger

	service, offline *keys.Store // set by initLocked
}

// backdate is how far certificates and trust windows start before init, so that
// a client whose clock is a little slow accepts the first signature.
const backdate = 5 * time.Minute

// Key names. Those of offline/ are needed for ceremonies only.
const (
	keyCA           = "ca"
	keyCTLog        = "ctlog"
	keyTLog         = "rekor"
	keyTSA          = "tsa"
	keyTUFSnapshot  = "tuf-snapshot"
	keyTUFTimestamp = "tuf-timestamp"
	keyAudit        = "audit"
	keyTLSCA        = "tls-ca" // with the internal authority for TLS only

	secretOIDC = "oidc" // encrypts the issuer's database

	keyCARoot     = "ca-root"
	keyTSARoot    = "tsa-root"
	keyTLSRoot    = "tls-root" // likewise
	keyTSAInter   = "tsa-intermediate"
	keyTUFRoot    = "tuf-root"
	keyTUFTargets = "tuf-targets"
)

// ErrInitialized is returned by Init for a directory that holds a stack.
var ErrInitialized = errors.New("directory holds a stack already; nothing is ever overwritten")

// Init makes a stack in cfg.Dir: keys, CA chains, empty logs, trust root,
// client kit and, last, config.yaml. An init that is interrupted before that
// last file starts over the next time. It returns ErrInitialized, and changes
// nothing, where there is a stack.
func Init(ctx context.Context, cfg InitConfig) error {
	if err := cfg.check(); err != nil {
		return err
	}
	l := Layout{cfg.Dir}
	if err := cfg.Database.reach(ctx, l); err != nil {
		return err
	}
	if err := durable.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := l.mayInit(); err != nil {
		return err
	}
	lock, err := durable.LockDir(cfg.Dir)
	if err != nil {
		return err
	}
	return errors.Join(initLocked(ctx, l, cfg), lock.Unlock())
}

func initLocked(ctx context.Context, l Layout, cfg InitConfig) error {
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	if done {
		return fmt.Errorf("%s: %w", cfg.Dir, ErrInitialized)
	}
	if err := l.prepare(); err != nil {
		return err
	}
	if err := cfg.ensureOfflinePassphrase(l); err != nil {
		return err
	}
	cfg.service, cfg.offline = cfg.stores(l)
	conf, err := cfg.make(ctx, l)
	if err != nil {
		return err
	}
	if err := cfg.publish(ctx, l, conf); err != nil {
		return err
	}
	data, err := conf.Marshal()
	if err != nil {
		return err
	}
	// Until here a crash leaves the marker and no configuration, and the next
	// init starts over. From here on the directory is a stack.
	if err := durable.CreateFile(l.Config(), data, 0o600); err != nil {
		return err
	}
	return l.finish()
}

// check refuses, before anything is made, what config.yaml could not hold.
func (cfg InitConfig) check() error {
	if err := config.CheckURL(cfg.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if err := config.CheckAddress(cfg.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := cfg.issuers(); err != nil {
		return err
	}
	if err := config.CheckTUFProfile(cfg.TUFProfile); err != nil {
		return fmt.Errorf("tuf profile: %w", err)
	}
	if err := cfg.checkTLS(); err != nil {
		return err
	}
	if err := cfg.checkKeys(); err != nil {
		return err
	}
	if err := cfg.Database.check(Layout{cfg.Dir}); err != nil {
		return err
	}
	if len(cfg.Passphrase) > 0 && bytes.Equal(cfg.Passphrase, cfg.OfflinePassphrase) {
		return errors.New("the root keys in offline/ need a passphrase other than that of the service keys, which every start reads: leave it out, and init makes one")
	}
	if cfg.Profile == config.ProfileUp && cfg.Ceremony {
		return errors.New("a test stack has no signers: its trust root is made at once")
	}
	if cfg.Profile == config.ProfileServe && len(cfg.Passphrase) == 0 {
		return errors.New("profile serve needs a passphrase for its keys")
	}
	return nil
}

// ensureOfflinePassphrase makes and stores one where profile serve has none.
func (cfg *InitConfig) ensureOfflinePassphrase(l Layout) error {
	if cfg.Profile != config.ProfileServe || len(cfg.OfflinePassphrase) > 0 {
		return nil
	}
	cfg.OfflinePassphrase = []byte(rand.Text())
	return durable.CreateFile(filepath.Join(l.Offline(), "passphrase"), append(cfg.OfflinePassphrase, '\n'), 0o600)
}

// make creates keys, chains, trees and users, and returns the configuration
// that ties them together.
func (cfg InitConfig) make(ctx context.Context, l Layout) (*config.Config, error) {
	issuers, err := cfg.issuers()
	if err != nil {
		return nil, err
	}
	conf := &config.Config{
		Version: config.Version, Profile: cfg.Profile,
		URL: cfg.URL, Listen: cfg.Listen, MetricsListen: "127.0.0.1:0",
		TLS:   cfg.tls(),
		CA:    &config.CA{Key: keyCA, Chain: "keys/ca.chain.pem", IssuerSet: config.IssuerSet{Issuers: issuers}},
		CTLog: &config.CTLog{CTShard: config.CTShard{Key: keyCTLog, Prefix: "ctlog"}},
		TLog:  &config.TLog{Key: keyTLog},
		TSA:   &config.TSA{Key: keyTSA, Chain: "keys/tsa.chain.pem"},
		OIDC:  &config.OIDC{Secret: secretOIDC, PasswordGrant: cfg.Profile == config.ProfileUp},
		TUF:   cfg.tuf(),
	}
	if err := cfg.makeDemoUser(l, conf.OIDC); err != nil {
		return nil, err
	}
	if err := cfg.makeKeys(); err != nil {
		return nil, err
	}
	if err := cfg.makeChains(l, conf); err != nil {
		return nil, err
	}
	if err := cfg.makeTrees(ctx, l, conf); err != nil {
		return nil, err
	}
	if conf.Audit, err = cfg.makeAudit(ctx, l); err != nil {
		return nil, err
	}
	return conf, conf.Validate()
}

// issuers are the built-in one and those asked for.
func (cfg InitConfig) issuers() ([]config.Issuer, error) {
	own := config.Issuer{URL: cfg.URL + "/dex", ClientID: "sigstore", Type: "email"}
	return withIssuers([]config.Issuer{own}, cfg.Issuers)
}

// makeDemoUser gives profile up a user with a random password, in a file that
// only the owner reads. A real stack starts without users.
func (cfg InitConfig) makeDemoUser(l Layout, o *config.OIDC) error {
	if cfg.Profile != config.ProfileUp {
		return nil
	}
	password := oidc.GeneratePassword()
	hash, err := oidc.HashPassword(password)
	if err != nil {
		return err
	}
	o.Users = []config.User{{Email: DemoUser, Name: "demo", ID: "demo", PasswordHash: string(hash)}}
	return durable.CreateFile(l.DemoUser(), []byte(DemoUser+"\n"+password+"\n"), 0o600)
}

// makeKeys dates keys back, because a key's creation is the start of the window
// in which clients trust it.
func (cfg InitConfig) makeKeys() error {
	created := cfg.Now().Add(-backdate)
	service, offline := cfg.keyNames()
	for _, set := range []struct {
		store *keys.Store
		names []string
	}{
		{cfg.service, service},
		{cfg.offline, offline},
	} {
		for _, name := range set.names {
			if _, err := set.store.Create(name, keys.ECDSAP256, created); err != nil {
				return err
			}
		}
	}
	return cfg.service.CreateSecret(secretOIDC, created)
}

// makeChains issues the CA's and the timestamp authority's certificates.
func (cfg InitConfig) makeChains(l Layout, conf *config.Config) error {
	m := chainMaker{
		service:   cfg.service,
		offline:   cfg.offline,
		name:      cfg.name,
		notBefore: cfg.Now().Add(-backdate).Truncate(time.Second),
	}
	ca, err := m.ca()
	if err != nil {
		return fmt.Errorf("make CA chain: %w", err)
	}
	if err := durable.CreateFile(l.path(conf.CA.Chain), pki.CertificatesPEM(ca), 0o644); err != nil {
		return err
	}
	tsa, err := m.tsa()
	if err != nil {
		return fmt.Errorf("make timestamp chain: %w", err)
	}
	if err := durable.CreateFile(l.path(conf.TSA.Chain), pki.CertificatesPEM(tsa), 0o644); err != nil {
		return err
	}
	if !cfg.internalCA() {
		return nil
	}
	authority, err := m.tls(conf.Host())
	if err != nil {
		return fmt.Errorf("make TLS authority: %w", err)
	}
	return durable.CreateFile(l.path(conf.TLS.InternalCA.Chain), pki.CertificatesPEM(authority), 0o644)
}

// name is a certificate's subject. A test stack says so in its CA's name.
func (cfg InitConfig) name(role string) pkix.Name {
	org := "sigstack"
	if cfg.Profile == config.ProfileUp {
		org = "sigstack TEST ONLY"
	}
	return pkix.Name{Organization: []string{org}, CommonName: org + " " + role}
}
