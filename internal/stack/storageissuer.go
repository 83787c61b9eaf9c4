package stack

import (
	"fmt"

	"sigstack/internal/config"
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
	url, err := l.databaseURL(conf.Database)
	if err != nil {
		return nil, fmt.Errorf("database.url_file: %w", err)
	}
	return &oidc.Database{URL: url, Schema: conf.Database.SchemaOf(holdsIssuer), Connections: conf.Database.Pool()}, nil
}
