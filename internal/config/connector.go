package config

import (
	"maps"
	"slices"
	"strings"
)

// secretFields are the fields of connectors that hold secrets, in lower case.
var secretFields = []string{"clientsecret", "bindpw", "keystonepassword", "password"}

// validate checks what is the same for every type; what Config may hold depends
// on the type, and is the issuer's to check.
func (con Connector) validate(p *problems, field, profile string) {
	p.check(con.Type != "", "%s.type: missing", field)
	p.check(con.ID != "", "%s.id: missing", field)
	p.check(con.Name != "", "%s.name: missing, the login page shows it", field)
	p.check(!strings.HasPrefix(con.Type, "mock") || profile == ProfileUp, "%s.type: %s logs in anybody, only profile up may have it", field, con.Type)
	con.validateSecrets(p, field, profile)
	if x := con.TokenExchange; x != nil {
		p.check(con.Type == "oidc", "%s.token_exchange: type %s cannot tell whom a token was made for, only oidc can", field, con.Type)
		p.check(len(x.Audiences) > 0, "%s.token_exchange.audiences: name what tokens say in aud", field)
		p.check(!slices.Contains(x.Audiences, ""), "%s.token_exchange.audiences: one is empty", field)
	}
}

func (con Connector) validateSecrets(p *problems, field, profile string) {
	for _, name := range slices.Sorted(maps.Keys(con.Secrets)) {
		path := con.Secrets[name]
		p.check(path != "", "%s.secrets.%s: name the file that holds it", field, name)
		p.path(field+".secrets."+name, path)
		for key := range con.Config {
			p.check(!strings.EqualFold(key, name), "%s.secrets.%s: config has it too, remove it there", field, name)
		}
	}
	if profile == ProfileUp {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(con.Config)) {
		p.check(!slices.Contains(secretFields, strings.ToLower(key)),
			"%s.config.%s: a secret does not belong into this file: put it into one of mode 0600 and say secrets: {%s: keys/%s-%s}",
			field, key, key, con.ID, key)
	}
}
