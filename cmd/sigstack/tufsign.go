package main

import (
	"context"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	"sigstack/internal/trust"
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
	at       []offlineKeys // where keys are, without a ceremony

	unchecked []string // checks that may fail when it is published
	// judge looks at the files that a draft would publish, before anybody signs. nil:
	// nobody does.
	judge func(context.Context, []trust.Target) error
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
	var err error
	s.at, err = a.signersAtHand(ctx, f, p)
	return s, err
}

// sign returns a draft with the signatures that its root demands. The error is a
// *signaturesNeededError while a ceremony has not come to its end.
func (s *targetsSigner) sign(ctx context.Context, c shardChannel, d targetsDraft) ([]byte, error) {
	var st stack.TUFStatus
	if err := c.Get(ctx, stack.AdminTUF, &st); err != nil {
		return nil, err
	}
	if s.judge != nil {
		files, err := s.layout.TargetFiles(d.Targets)
		if err == nil {
			err = s.judge(ctx, files)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.ceremony != "" {
		return s.inCeremony(st, d)
	}
	signers, err := s.signers(st)
	if err != nil {
		return nil, err
	}
	change, err := tufroot.Review(s.layout.TUF(), d.Targets, signers...)
	if err != nil {
		return nil, err
	}
	if err := d.Approve(stack.WithoutRenames(change)); err != nil {
		return nil, err
	}
	signed := d.Targets
	for _, key := range signers {
		if signed, err = tufroot.SignRole(signed, key); err != nil {
			return nil, err
		}
	}
	return signed, nil
}
