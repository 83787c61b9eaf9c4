package stack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
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

// longestTargets bounds the life of targets that are signed for a shard.
const longestTargets = 5*366*24*time.Hour + time.Hour

// Sign signs what publishes the key of a shard, and nothing else: the draft comes
// from a process that the key need not believe, so it is held against what the key
// signed last. now is the signer's own clock.
func (d ShardDraft) Sign(l Layout, targets keys.Key, now time.Time) (SignedTargets, error) {
	change, err := tufroot.Review(l.TUF(), d.Targets, targets)
	if err != nil {
		return SignedTargets{}, err
	}
	if err := d.Approve(change, now); err != nil {
		return SignedTargets{}, err
	}
	signed, err := tufroot.SignTargets(d.Targets, targets)
	return SignedTargets{signed}, err
}

// Approve demands that a change is the one that publishes the shard's key, and
// nothing else. now is the signer's own clock.
func (d ShardDraft) Approve(change tufroot.Change, now time.Time) error {
	if err := mayExpire(change, now); err != nil {
		return err
	}
	if err := addsOnly(change, d.Shard.LogID); err != nil {
		return fmt.Errorf("nothing was signed: the draft changes more than the log's keys: %w", err)
	}
	return nil
}

// mayExpire demands that targets end neither too soon nor too late.
func mayExpire(change tufroot.Change, now time.Time) error {
	if life := change.Expires.Sub(now); life <= 0 || life > longestTargets {
		return fmt.Errorf("nothing was signed: the draft expires at %s", change.Expires.Format(time.RFC3339))
	}
	return nil
}

// addsOnly demands that a change adds a log of that ID, in hex, to the trusted
// root, and nothing else. The files for older clients, one for each log, change
// their names with the log that takes entries.
func addsOnly(c tufroot.Change, logID string) error {
	known := map[string]bool{logID: true}
	if before, ok := c.Before[trust.TrustedRootName]; ok {
		logs, err := addsLog(before.Data, c.After[trust.TrustedRootName].Data, logID)
		if err != nil {
			return fmt.Errorf("%s: %w", trust.TrustedRootName, err)
		}
		for _, id := range logs {
			known[id] = true
		}
	}
	kept := map[string]bool{}
	for name, after := range c.After {
		if name == trust.TrustedRootName {
			continue
		}
		id, ok := legacyLog(after)
		if !ok || !known[id] {
			return fmt.Errorf("target %s is added or changed, and is not the key of a log of before or of log %s", name, logID)
		}
		kept[id] = true
	}
	for name, before := range c.Before {
		if id, ok := legacyLog(before); name != trust.TrustedRootName && !(ok && kept[id]) {
			return fmt.Errorf("target %s is taken away or changed", name)
		}
	}
	return nil
}

// legacyLog is the ID of the log whose key a target holds for older clients.
func legacyLog(t tufroot.ReviewedTarget) (id string, ok bool) {
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	block, rest := pem.Decode(t.Data)
	if err := json.Unmarshal(t.Custom, &custom); err != nil || custom.Sigstore.Usage != "Rekor" {
		return "", false
	}
	if block == nil || len(rest) > 0 || block.Type != "PUBLIC KEY" {
		return "", false
	}
	return idOf(block.Bytes), true
}

func idOf(spki []byte) string {
	id := pki.LogID(spki)
	return hex.EncodeToString(id[:])
}

// addsLog demands that a trusted root has one log of that ID, and besides exactly
// what the one before has, and returns the IDs of the logs that were there.
func addsLog(before, after []byte, logID string) (were []string, err error) {
	old, oldLogs, err := splitLogs(before)
	if err != nil {
		return nil, err
	}
	now, logs, err := splitLogs(after)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(old, now) {
		return nil, errors.New("something else than the logs differs")
	}
	added := 0
	for _, log := range logs {
		id, err := logOf(log)
		if err != nil {
			return nil, err
		}
		if id == logID {
			added++
		}
		switch {
		case len(oldLogs) > 0 && reflect.DeepEqual(log, oldLogs[0]):
			were, oldLogs = append(were, id), oldLogs[1:]
		case id != logID:
			return nil, fmt.Errorf("log %s is added or changed, want %s alone", id, logID)
		}
	}
	switch {
	case len(oldLogs) > 0:
		return nil, errors.New("a log is taken away")
	case added != 1:
		return nil, fmt.Errorf("log %s is there %d times, want once", logID, added)
	}
	return were, nil
}

// splitLogs decodes a trusted root and takes its logs out of it.
func splitLogs(trustedRoot []byte) (rest map[string]any, logs []any, err error) {
	return splitOff(trustedRoot, "tlogs")
}

// splitOff decodes a trusted root and takes one of its lists out of it.
func splitOff(trustedRoot []byte, name string) (rest map[string]any, list []any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(trustedRoot))
	decoder.UseNumber()
	if err := decoder.Decode(&rest); err != nil {
		return nil, nil, fmt.Errorf("decode: %w", err)
	}
	list, ok := rest[name].([]any)
	if !ok {
		return nil, nil, fmt.Errorf("it has no %s", name)
	}
	delete(rest, name)
	return rest, list, nil
}

// logOf is the ID of a log of a trusted root, by its key.
func logOf(log any) (string, error) {
	text, err := json.Marshal(log)
	if err != nil {
		return "", err
	}
	var l struct {
		PublicKey struct {
			RawBytes string `json:"rawBytes"`
		} `json:"publicKey"`
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return "", fmt.Errorf("decode a log: %w", err)
	}
	spki, err := base64.StdEncoding.DecodeString(l.PublicKey.RawBytes)
	if err != nil || len(spki) == 0 {
		return "", errors.New("a log has no key")
	}
	return idOf(spki), nil
}
