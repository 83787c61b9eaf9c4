package keys

import (
	"fmt"
)

// At returns the key that lives at uri, which no store has a reference to. It is
// pinned to the public half that it has now: one that is exchanged under way stops
// signing. The key is named by its URI.
func (d Devices) At(uri string) (Key, error) {
	device, err := d.open(uri)
	if err != nil {
		return Key{}, err
	}
	public, err := device.Public()
	if err != nil {
		return Key{}, fmt.Errorf("key at %s: %w", uri, err)
	}
	if _, err := AlgorithmOf(public); err != nil {
		return Key{}, fmt.Errorf("key at %s: %w", uri, err)
	}
	return reference{uri: uri, public: public}.key(uri, device)
}
