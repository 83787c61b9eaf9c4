package config

import (
	"regexp"
	"strconv"
	"strings"
)

// LocalConnector is the id of the connector that knows OIDC.Users.
const LocalConnector = "local"

// DemoUser is the e-mail address of the user that profile up comes with.
const DemoUser = "demo@sigstack.local"

func (o *OIDC) validateUsers(p *problems, profile string) {
	emails, ids := map[string]bool{}, map[string]bool{}
	for i, u := range o.Users {
		email := strings.ToLower(u.Email)
		p.check(strings.Contains(u.Email, "@"), "oidc.users[%d].email: %q is not an e-mail address", i, u.Email)
		p.check(!emails[email], "oidc.users[%d].email: %q is taken", i, u.Email)
		p.check(email != DemoUser || profile == ProfileUp, "oidc.users[%d].email: %s is the demo user of test stacks: only profile up may have it", i, DemoUser)
		p.check(u.ID != "", "oidc.users[%d].id: missing", i)
		p.check(u.ID == "" || !ids[u.ID], "oidc.users[%d].id: %q is taken", i, u.ID)
		p.check(bcryptCost(u.PasswordHash) > 0, "oidc.users[%d].password_hash: not a bcrypt hash of cost 10 to 16", i)
		emails[email], ids[u.ID] = true, true
	}
}

var bcryptHash = regexp.MustCompile(`^\$2[aby]\$(1[0-6])\$[./A-Za-z0-9]{53}$`)

// bcryptCost returns the cost of a bcrypt hash that logins work with, 0 for
// anything else.
func bcryptCost(hash string) int {
	m := bcryptHash.FindStringSubmatch(hash)
	if m == nil {
		return 0
	}
	cost, _ := strconv.Atoi(m[1]) // digits
	return cost
}
