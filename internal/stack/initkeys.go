package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigstack/internal/keys"
)

// InitKeys says which keys Init does not put into files.
type InitKeys struct {
	// URIs by name: of the key of a service or of one in offline/.
	URIs map[string]string
	// Create makes a key at a URI that has none.
	Create  bool
	Devices keys.Devices
}

// keyNames are those of the keys that Init makes.
func (cfg InitConfig) keyNames() (service, offline []string) {
	service = []string{keyCA, keyCTLog, keyTLog, keyTSA, keyTUFSnapshot, keyTUFTimestamp, keyAudit}
	offline = []string{keyCARoot, keyTSARoot, keyTSAInter}
	if !cfg.Ceremony {
		offline = append(offline, keyTUFRoot, keyTUFTargets)
	}
	if cfg.internalCA() {
		service, offline = append(service, keyTLSCA), append(offline, keyTLSRoot)
	}
	return service, offline
}

// checkKeys refuses places for keys that Init does not make, and places that are
// none or taken.
func (cfg InitConfig) checkKeys() error {
	service, offline := cfg.keyNames()
	names := slices.Concat(service, offline)
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(cfg.Keys.URIs)) {
		uri := cfg.Keys.URIs[name]
		if !slices.Contains(names, name) {
			return fmt.Errorf("key %s: this stack has none of that name, but %s", name, strings.Join(names, ", "))
		}
		if err := keys.CheckURI(uri); err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		if other, ok := taken[uri]; ok {
			return fmt.Errorf("keys %s and %s have one URI: each needs a key of its own", other, name)
		}
		taken[uri] = name
	}
	return nil
}

// stores opens the stores that Init fills.
func (cfg InitConfig) stores(l Layout) (service, offline *keys.Store) {
	elsewhere := []keys.Option{keys.WithDevices(cfg.Keys.Devices), keys.WithPlaces(cfg.Keys.URIs, cfg.Keys.Create)}
	return keys.Open(l.Keys(), cfg.Passphrase, elsewhere...), keys.Open(l.Offline(), cfg.OfflinePassphrase, elsewhere...)
}
