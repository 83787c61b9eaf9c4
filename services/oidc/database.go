package oidc

import (
	"context"
	"net/http"

	"sigstack/internal/pgdb"
	"sigstack/services/oidc/dexpebble"
)

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
	return dexpebble.Migrate(ctx, url, schema)
}

// ReadDatabaseVersion returns the version of the schema of a Database and changes
// nothing.
func ReadDatabaseVersion(ctx context.Context, url, schema string) (pgdb.Version, error) {
	return dexpebble.ReadVersion(ctx, url, schema)
}

// openStore opens where cfg says that things are kept.
func openStore(ctx context.Context, cfg Config) (*dexpebble.Store, error) {
	opts := dexpebble.Options{Log: cfg.Log, Secret: cfg.Secret}
	if d := cfg.Database; d != nil {
		return dexpebble.OpenShared(ctx, dexpebble.Database(*d), opts)
	}
	return dexpebble.Open(cfg.Dir, opts)
}

// unavailable answers, in the form of RFC 6749 §4.1.2.1, while the storage does not.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":"temporarily_unavailable","error_description":"the issuer's storage does not answer; try again later"}` + "\n")) // who went away needs no answer
}
