package stack

import (
	"errors"
	"fmt"
	"io/fs"

	"sigstack/internal/keys"
	tufroot "sigstack/tuf-root"
)

// TargetsKey loads the key of TUF's targets role from a folder of root keys, the
// directory's offline/ or where that was moved. A process that serves never does.
func TargetsKey(offline string, passphrase []byte, devices keys.Devices) (keys.Key, error) {
	key, err := keys.Open(offline, passphrase, keys.WithDevices(devices)).Load(keyTUFTargets)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; name the directory that offline/ was moved to", err)
	}
	return key, err
}

// Sign signs what publishes the key of a shard.
func (d ShardDraft) Sign(targets keys.Key) (SignedTargets, error) {
	signed, err := tufroot.SignTargets(d.Targets, targets)
	return SignedTargets{signed}, err
}
