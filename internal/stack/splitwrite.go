package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// makePeerKey makes the key of a process and returns its pin.
func (p *splitPlan) makePeerKey(l Layout) (string, error) {
	key, err := keys.Open(l.Keys(), p.Passphrase).Create(keyPeer, keys.ECDSAP256, p.Now())
	if err != nil {
		return "", err
	}
	return peer.PinOf(key.SPKI()).String(), nil
}

// makeAudit begins the record of a process, with a key of its own.
func (p *splitPlan) makeAudit(ctx context.Context, sh *share) error {
	if p.conf.Audit == nil {
		return nil
	}
	key, err := keys.Open(sh.layout.Keys(), p.Passphrase).Create(p.conf.Audit.Key, keys.ECDSAP256, p.Now())
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(sh.layout.Audit(), 0o700); err != nil {
		return err
	}
	log, err := audit.Open(ctx, audit.Options{Dir: sh.layout.Audit(), Signer: key, Now: p.Now, Log: p.Log})
	if err != nil {
		return err
	}
	sh.audit = key.SPKI()
	sh.conf.Audit = &config.Audit{Key: p.conf.Audit.Key, Chain: log.Chain(), AnchorEvery: p.conf.Audit.AnchorEvery}
	return log.Close()
}

// recordSplit ends the record of the directory.
func (p *splitPlan) recordSplit(ctx context.Context) (err error) {
	opts := audit.Options{Dir: p.from.Audit(), Now: p.Now, Log: p.Log}
	if conf := p.conf.Audit; conf != nil {
		key, err := keys.Open(p.from.Keys(), p.Passphrase).Load(conf.Key)
		if err != nil {
			return err
		}
		opts.Signer, opts.Chain = key, conf.Chain
	}
	log, err := audit.Open(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return log.Record(ctx, audit.Event{
		Action: audit.ActionSplit, Outcome: audit.OK, Service: "stack", Detail: map[string]string{"into": p.into},
	})
}

// auditKeys are those of all records of the stack, for the kits: of the one before
// the split and of those of the processes.
func (p *splitPlan) auditKeys(all []*share) []byte {
	var keys []byte
	if p.auditKey != nil {
		keys = pki.PublicKeyPEM(p.auditKey)
	}
	for _, sh := range all {
		if sh.audit != nil {
			keys = append(keys, pki.PublicKeyPEM(sh.audit)...)
		}
	}
	return keys
}

// writePrepared writes the public halves of all processes, and the configuration
// that finish will put in place.
func (p *splitPlan) writePrepared(sh *share, all []*share) error {
	public := map[string][]byte{}
	if p.auditKey != nil {
		public[sh.layout.PeerAudit("before")] = pki.PublicKeyPEM(p.auditKey)
	}
	for _, other := range all {
		data, err := other.part.EncodePart()
		if err != nil {
			return err
		}
		public[sh.layout.Peer(other.name())] = data
		if other.audit != nil {
			public[sh.layout.PeerAudit(other.name())] = pki.PublicKeyPEM(other.audit)
		}
	}
	if keys := p.auditKeys(all); len(keys) > 0 {
		public[filepath.Join(sh.layout.Client(), trust.AuditPEMName)] = keys
		public[filepath.Join(p.from.Client(), trust.AuditPEMName)] = keys
	}
	for path, data := range public {
		if err := durable.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	if err := sh.conf.Validate(); err != nil {
		return fmt.Errorf("process %s: %w", sh.name(), err)
	}
	data, err := sh.conf.Marshal()
	if err != nil {
		return err
	}
	return durable.WriteFile(sh.layout.prepared(), data, 0o600)
}
