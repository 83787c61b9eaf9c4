package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

// signersAtHand opens every folder that is given, before a command makes anything.
func (a *app) signersAtHand(ctx context.Context, f shardFlags, p targetsFlags) (out []offlineKeys, err error) {
	if n := len(p.passphraseFiles); n > 0 && n != max(1, len(p.offline)) {
		return nil, usagef("--offline-passphrase-file is given %d times and --offline %d times: want one for each, or none", n, len(p.offline))
	}
	for i := range max(1, len(p.offline)) {
		o, err := a.offlineKeysAt(ctx, f, p, i)
		if err != nil {
			return nil, err
		}
		if err := o.mayHave(); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// signers are those keys at hand that the root lets sign targets: as many as it
// demands, or more.
func (s *targetsSigner) signers(st stack.TUFStatus) (out []crypto.Signer, err error) {
	i := slices.IndexFunc(st.Roles, func(r stack.TUFRole) bool { return r.Role == "targets" })
	if i < 0 {
		return nil, errors.New("the stack does not say who signs its targets")
	}
	role, dirs := st.Roles[i], []string{}
	for _, o := range s.at {
		dirs = append(dirs, o.dir)
	}
	held, err := s.held(role)
	if err != nil {
		return nil, err
	}
	for _, key := range held {
		out = append(out, key)
	}
	if len(out) < role.Threshold {
		return nil, fmt.Errorf("nothing was signed: the targets need %d signatures of %d keys, and %s has %d of these: name the directories of further keys with --offline, or have them sign in a ceremony with --ceremony FOLDER",
			role.Threshold, len(role.Keys), strings.Join(dirs, " and "), len(out))
	}
	return out, nil
}

// inCeremony takes the draft from a folder in which it was signed, or puts it there.
func (s *targetsSigner) inCeremony(st stack.TUFStatus, d targetsDraft) ([]byte, error) {
	c, err := ceremony.Open(s.ceremony)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.begin(st, d)
	}
	if err != nil {
		return nil, err
	}
	if err := s.sameDraft(c, st, d); err != nil {
		return nil, err
	}
	root, targets, err := c.Signed()
	if errors.Is(err, ceremony.ErrTooFew) {
		return nil, &signaturesNeededError{Folder: s.ceremony, What: d.What, Missing: err}
	}
	if err != nil {
		return nil, err
	}
	if root != nil {
		return nil, fmt.Errorf("%s holds a ceremony for a root: sigstack tuf ceremony finish publishes that; name another folder", s.ceremony)
	}
	return targets, c.Record()
}

// begin writes the folder.
func (s *targetsSigner) begin(st stack.TUFStatus, d targetsDraft) error {
	draft := stack.TUFDraft{Targets: d.Targets}
	var err error
	if draft.Files, err = s.layout.TargetFiles(d.Targets); err != nil {
		return err
	}
	c, err := s.app.propose(s.ceremony, strings.ToUpper(d.What[:1])+d.What[1:], s.layout, st, draft)
	if err != nil {
		return err
	}
	_, _, missing := c.Signed()
	return &signaturesNeededError{Folder: s.ceremony, What: d.What, Missing: missing}
}

// sameDraft demands that a folder is about the very files that are to be published
// now: what was signed there is published in their place.
func (s *targetsSigner) sameDraft(c *ceremony.Ceremony, st stack.TUFStatus, d targetsDraft) error {
	if err := fits(c, s.layout, st); err != nil {
		return err
	}
	files, err := s.layout.TargetFiles(d.Targets)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(files, c.Files()) {
		return fmt.Errorf("nothing was published: %s holds a ceremony for something else (%s); to %s, name an empty folder", s.ceremony, c.Title(), d.What)
	}
	return nil
}

// signaturesNeededError says that a draft waits for signers. The same command, run
// again when they have signed, goes on.
type signaturesNeededError struct {
	Folder  string // of the ceremony
	What    string // of the draft
	Missing error  // who has not signed
}

func (e *signaturesNeededError) Error() string {
	return fmt.Sprintf("nothing is published yet: to %s, %v\nEach signer: sigstack tuf ceremony sign --folder %s --dir KEYS --key NAME\nThen run this command again, as it was: it goes on from there",
		e.What, e.Missing, e.Folder)
}

func (e *signaturesNeededError) Unwrap() error { return e.Missing }

// offlineKeys are where the root keys are, and how to open them.
type offlineKeys struct {
	dir        string
	passphrase []byte
	devices    keys.Devices
}

// offlineKeys opens the first folder of root keys.
func (a *app) offlineKeys(ctx context.Context, f shardFlags, p targetsFlags) (offlineKeys, error) {
	return a.offlineKeysAt(ctx, f, p, 0)
}

// offlineKeysAt opens the folder of that number.
func (a *app) offlineKeysAt(ctx context.Context, f shardFlags, p targetsFlags, i int) (o offlineKeys, err error) {
	l := stack.Layout{Dir: f.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return o, err
	}
	o.dir = l.Offline()
	if len(p.offline) > 0 {
		o.dir = p.offline[i]
	}
	given := ""
	if len(p.passphraseFiles) > i {
		given = p.passphraseFiles[i]
	}
	log, err := f.log.logger(a.err)
	if err != nil {
		return o, err
	}
	o.devices = keys.Devices{PluginDir: f.plugins.dir, Log: log}
	file := cmp.Or(given, filepath.Join(o.dir, "passphrase"))
	_, missing := os.Stat(filepath.Join(o.dir, "passphrase"))
	if there := !errors.Is(missing, fs.ErrNotExist); there || given != "" && conf.Profile == config.ProfileServe { // those of a test stack have none
		o.passphrase, err = readSecret(ctx, passphraseWord, file)
	}
	return o, err
}

// mayHave refuses a folder that has no key that could sign targets: neither that of
// a stack's offline/ nor, in a signer's own, one of any name.
func (o offlineKeys) mayHave() error {
	_, err := stack.TargetsKey(o.dir, o.passphrase, o.devices)
	if errors.Is(err, fs.ErrNotExist) {
		if names, listErr := o.store().Names(); listErr == nil && len(names) > 0 {
			return nil
		}
	}
	return explainOffline(err)
}

func (o offlineKeys) store() *keys.Store {
	return keys.Open(o.dir, o.passphrase, keys.WithDevices(o.devices))
}

// of loads those keys whose IDs a role lists.
func (o offlineKeys) of(role stack.TUFRole) ([]keys.Key, error) {
	store := o.store()
	names, err := store.Names()
	if err != nil {
		return nil, explainOffline(err)
	}
	var out []keys.Key
	for _, name := range names {
		info, err := store.Info(name)
		if err != nil {
			continue // of an earlier version, or for something else
		}
		public, err := x509.ParsePKIXPublicKey(info.SPKI)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		id, err := tufroot.KeyID(public)
		if err != nil || !slices.ContainsFunc(role.Keys, func(k stack.TUFKey) bool { return k.ID == id }) {
			continue // an algorithm that no role has, or a key that this one has not
		}
		key, err := store.Load(name)
		if err != nil {
			return nil, explainOffline(err)
		}
		out = append(out, key)
	}
	return out, nil
}

// explainOffline names the flag that helps.
func explainOffline(err error) error {
	switch {
	case errors.Is(err, keys.ErrNoPassphrase):
		return fmt.Errorf("%w: give it with --offline-passphrase-file", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w, with --offline", err)
	}
	return err
}
