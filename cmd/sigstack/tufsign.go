package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// targetsFlags say where the keys are that sign TUF's targets: at hand, or with
// signers who come together in a ceremony.
type targetsFlags struct {
	offline         []string
	passphraseFiles []string // one for each of offline, or none
	ceremony        string
	unchecked       []string
}

func (s *targetsFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.offline, "offline", nil, "`directory` of the root keys (default DIR/offline); repeat it where several must sign")
	f.StringArrayVar(&s.passphraseFiles, "offline-passphrase-file", nil, "`file` with their passphrase (default: passphrase in that directory); one for each --offline")
	f.StringVar(&s.ceremony, "ceremony", "", "`folder` in which signers of TUF's targets sign, instead of --offline: made by the first run, taken by the next")
	uncheckedFlag(cmd, &s.unchecked)
}

// targetsDraft is a new version of TUF's targets that wants signatures.
type targetsDraft struct {
	What    string // what publishing it does, for signers: publish the key of log shard tlog-2
	Targets []byte // TUF metadata as an act of the stack has drafted it
	// Approve refuses a draft that changes more than the command means to. It is
	// shown the change against what the keys at hand signed last. In a ceremony the
	// signers judge by themselves.
	Approve func(tufroot.Change) error
}

// targetsSigner gets drafts of TUF's targets signed, for every command that has
// one. The process that drafts is believed nothing.
type targetsSigner struct {
	app      *app
	layout   stack.Layout
	ceremony string
	keys     []keys.Key

	unchecked []string // checks that may fail when it is published
}

// publication is what a draft that was signed is published by.
func (s *targetsSigner) publication(signed []byte) stack.Publication {
	return stack.Publication{Targets: signed, Unchecked: s.unchecked}
}

// targetsSigner finds the keys, before a command makes anything.
func (a *app) targetsSigner(ctx context.Context, f shardFlags, p targetsFlags) (*targetsSigner, error) {
	s := &targetsSigner{app: a, layout: stack.Layout{Dir: f.dir}, ceremony: p.ceremony, unchecked: p.unchecked}
	if p.ceremony != "" {
		if len(p.offline) > 0 {
			return nil, usagef("--ceremony and --offline exclude each other: signers bring their keys to the folder, or the keys are at hand")
		}
		return s, nil
	}
	o, err := a.offlineKeys(ctx, f, p)
	if err != nil {
		return nil, err
	}
	key, err := o.targets()
	s.keys = []keys.Key{key}
	return s, err
}

// sign returns a draft with the signatures that its root demands. The error is a
// *signaturesNeededError while a ceremony has not come to its end.
func (s *targetsSigner) sign(_ context.Context, _ shardChannel, d targetsDraft) ([]byte, error) {
	if s.ceremony != "" {
		return nil, &signaturesNeededError{Folder: s.ceremony, What: d.What}
	}
	change, err := tufroot.Review(s.layout.TUF(), d.Targets, s.keys[0])
	if err != nil {
		return nil, err
	}
	if err := d.Approve(stack.WithoutRenames(change)); err != nil {
		return nil, err
	}
	return tufroot.SignTargets(d.Targets, s.keys[0])
}

// signaturesNeededError says that a draft waits for signers. The same command, run
// again when they have signed, goes on.
type signaturesNeededError struct {
	Folder string // of the ceremony
	What   string // of the draft
}

func (e *signaturesNeededError) Error() string {
	return fmt.Sprintf("nothing was published: to %s, the targets in %s need signatures", e.What, e.Folder)
}

// offlineKeys are where the root keys are, and how to open them.
type offlineKeys struct {
	dir        string
	passphrase []byte
	devices    keys.Devices
}

// offlineKeys opens the first folder of root keys.
func (a *app) offlineKeys(ctx context.Context, f shardFlags, p targetsFlags) (o offlineKeys, err error) {
	l := stack.Layout{Dir: f.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return o, err
	}
	o.dir = l.Offline()
	if len(p.offline) > 0 {
		o.dir = p.offline[0]
	}
	given := ""
	if len(p.passphraseFiles) > 0 {
		given = p.passphraseFiles[0]
	}
	log, err := f.log.logger(a.err)
	if err != nil {
		return o, err
	}
	o.devices = keys.Devices{PluginDir: f.plugins.dir, Log: log}
	file := cmp.Or(given, filepath.Join(o.dir, "passphrase"))
	_, missing := os.Stat(file)
	if conf.Profile == config.ProfileServe && (given != "" || !errors.Is(missing, fs.ErrNotExist)) {
		o.passphrase, err = readSecret(ctx, passphraseWord, file)
	}
	return o, err
}

func (o offlineKeys) targets() (keys.Key, error) {
	key, err := stack.TargetsKey(o.dir, o.passphrase, o.devices)
	return key, explainOffline(err)
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
