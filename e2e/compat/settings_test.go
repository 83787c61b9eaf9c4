package compat

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/clients"
)

// settings are one way to run a stack, a registry and the clients.
type settings struct {
	source      clients.Source
	keyed       bool // with a key pair, not keyless
	timestamped bool // with RFC 3161 timestamps
	referrers   bool // the registry has the referrers API
	offline     bool // verified while the stack is stopped
	defaultPort bool // the stack's URL is https://localhost, or http, without a port
}

// allSettings has each pair of values of two settings at least once, also
// without the rows in which most clients cannot do much: trust by variables,
// which only cosign reads, and by TUF offline. TestSettings proves it.
var allSettings = []settings{
	{source: clients.Kit, timestamped: true, referrers: true},
	{source: clients.Kit, offline: true},
	{source: clients.Kit, keyed: true, timestamped: true, referrers: true, offline: true, defaultPort: true},
	{source: clients.TUF, keyed: true, referrers: true, defaultPort: true},
	{source: clients.TUF, timestamped: true, defaultPort: true},
	{source: clients.TUF, keyed: true},
	{source: clients.TUF, offline: true},
	{source: clients.Env, timestamped: true, referrers: true, offline: true},
	{source: clients.Env, keyed: true, defaultPort: true},
}

// values are the settings in words, one for each.
func (s settings) values() []string {
	either := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	return []string{
		string(s.source),
		either(s.keyed, "key pair", "keyless"),
		either(s.timestamped, "timestamps", "no timestamps"),
		either(s.referrers, "go-containerregistry", "docker-registry"),
		either(s.offline, "offline", "online"),
		either(s.defaultPort, "default port", "own port"),
	}
}

func (s settings) String() string { return strings.Join(s.values(), ", ") }

// pairs returns each two values that occur together in a row.
func pairs(rows []settings) map[string]bool {
	found := map[string]bool{}
	for _, row := range rows {
		v := row.values()
		for i := range v {
			for j := range i {
				found[fmt.Sprintf("%s with %s", v[j], v[i])] = true
			}
		}
	}
	return found
}

// everything returns each combination of values.
func everything(sources ...clients.Source) []settings {
	var rows []settings
	for n := range 1 << 5 {
		bit := func(i int) bool { return n>>i&1 == 1 }
		for _, source := range sources {
			rows = append(rows, settings{source, bit(0), bit(1), bit(2), bit(3), bit(4)})
		}
	}
	return rows
}

func TestSettings(t *testing.T) {
	common := slices.DeleteFunc(slices.Clone(allSettings), limited)
	tests := []struct {
		name       string
		have, want []settings
	}{
		{"all", allSettings, everything(clients.Kit, clients.TUF, clients.Env)},
		{"what every client can do", common, slices.DeleteFunc(everything(clients.Kit, clients.TUF), limited)},
	}
	for _, tt := range tests {
		got := pairs(tt.have)
		for pair := range pairs(tt.want) {
			if !got[pair] {
				t.Errorf("%s: no row has %s", tt.name, pair)
			}
		}
	}
}

func limited(s settings) bool {
	return s.source == clients.Env || s.source == clients.TUF && s.offline
}
