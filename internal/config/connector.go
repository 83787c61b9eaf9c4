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
	p.check(!strings.HasPrefix(con.Type, "mock") || profile == ProfileUp, "%s (%s): type %s logs in anybody, only profile up may have it", field, con.ID, con.Type)
	con.validateSecrets(p, field, profile)
	if x := con.TokenExchange; x != nil {
		p.check(con.Type == "oidc", "%s.token_exchange (%s): type %s cannot tell whom a token was made for, only oidc can", field, con.ID, con.Type)
		p.check(len(x.Audiences) > 0, "%s.token_exchange.audiences (%s): name what tokens say in aud", field, con.ID)
		p.check(!slices.Contains(x.Audiences, ""), "%s.token_exchange.audiences (%s): one is empty", field, con.ID)
	}
}

func (con Connector) validateSecrets(p *problems, field, profile string) {
	for _, name := range slices.Sorted(maps.Keys(con.Secrets)) {
		path := con.Secrets[name]
		p.check(path != "", "%s.secrets.%s (%s): name the file that holds it", field, name, con.ID)
		p.path(field+".secrets."+name, path)
		for key := range con.Config {
			p.check(!strings.EqualFold(key, name), "%s.secrets.%s (%s): config has it too, remove it there", field, name, con.ID)
		}
	}
	if profile == ProfileUp {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(con.Config)) {
		p.check(!slices.Contains(secretFields, strings.ToLower(key)),
			"%s.config.%s (%s): a secret does not belong into this file: put it into one of mode 0600 and say secrets: {%s: keys/%s-%s}",
			field, key, con.ID, key, con.ID, key)
	}
}
