package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/trust"
	"sigstack/services/tuf"
	tufroot "sigstack/tuf-root"
)

// publishFirst signs the first trust root over the public halves of the services
// as they will run, and writes the client kit.
func publishFirst(ctx context.Context, l Layout, cfg InitConfig, conf *config.Config) (err error) {
	data, err := conf.Marshal()
	if err != nil {
		return err
	}
	if conf, err = config.Parse(data); err != nil { // with the defaults of a start
		return err
	}
	s := &Stack{conf: conf, layout: l, keys: cfg.service, opts: Options{Dir: cfg.Dir, Now: cfg.Now, Log: cfg.Log}}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.prepare()
	if err := s.buildServices(ctx); err != nil {
		return err
	}
	material := s.material()
	if err := material.Validate(); err != nil {
		return fmt.Errorf("trust material: %w", err)
	}
	targets, err := material.Targets(cfg.Now())
	if err != nil {
		return err
	}
	if err := s.prove(ctx, targets, Publication{}); err != nil {
		return err
	}
	tufKeys, err := cfg.tufKeys()
	if err != nil {
		return err
	}
	repo, err := tufroot.Create(l.repository(conf, cfg.Now), tufKeys, targets)
	if err != nil {
		return err
	}
	return s.writeKit(repo)
}

// writeKit writes those files of the client kit that are not as they should be.
func (s *Stack) writeKit(repo *tufroot.Repository) error {
	kit, err := s.kitOf(s.material(), repo)
	if err != nil {
		return err
	}
	return tuf.WriteKit(s.layout.Client(), kit)
}

// kitOf is the client kit with that material.
func (s *Stack) kitOf(m trust.Material, repo *tufroot.Repository) (trust.Kit, error) {
	authorities, err := s.layout.TLSAuthorities(s.conf)
	if err != nil {
		return trust.Kit{}, err
	}
	others, err := s.othersAuditKeys()
	if err != nil {
		return trust.Kit{}, err
	}
	issuers, err := s.firstKitIssuers()
	if err != nil {
		return trust.Kit{}, err
	}
	return trust.Kit{
		Material: m, RootJSON: repo.RootJSON(), URL: s.conf.URL, TLSAuthorities: authorities,
		AuditKeys: append(s.auditKeys(), others...), Issuers: issuers,
	}, nil
}

// tufKeys loads the keys of all TUF roles.
func (cfg InitConfig) tufKeys() (k tufroot.Keys, err error) {
	load := func(store *keys.Store, name string) keys.Key {
		key, loadErr := store.Load(name)
		err = errors.Join(err, loadErr)
		return key
	}
	k.Root, k.Targets = load(cfg.offline, keyTUFRoot), load(cfg.offline, keyTUFTargets)
	k.Snapshot, k.Timestamp = load(cfg.service, keyTUFSnapshot), load(cfg.service, keyTUFTimestamp)
	return k, err
}

// buildTUF opens the repository, holds it against the live services and mounts
// it.
func (s *Stack) buildTUF() error {
	if s.conf.TUF == nil {
		var err error
		s.rootSHA256, err = s.layout.RootSHA256()
		return err
	}
	if waits, err := s.awaitRoot(); waits || err != nil {
		return err
	}
	published := s.layout.repository(s.conf, s.opts.Now)
	published.Before = s.beforeTimestamp()
	repo, err := tufroot.Open(published)
	if err != nil {
		return err
	}
	if err := s.checkPublished(repo); err != nil {
		return err
	}
	// The kit is made anew: the directory may have been moved, which env.sh names,
	// and nobody shall be handed a kit that was changed on disk.
	if err := s.writeKit(repo); err != nil {
		return err
	}
	s.rootSHA256 = trust.RootSHA256(repo.RootJSON())
	s.repo = repo
	if s.online, err = s.onlineKeys(); err != nil {
		return err
	}
	s.services.tuf, err = tuf.New(tuf.Config{
		Repository: repo, Online: s.online,
		KitDir: s.layout.Client(), Report: s.reportTUF, Leads: s.leads(), CheckEvery: s.opts.CheckEvery,
		Now: s.opts.Now, Log: s.opts.Log, Metrics: s.metrics,
	})
	if err != nil {
		return err
	}
	s.services.tuf.Mount(s.mux)
	s.services.components = append(s.services.components, component{"tuf", s.services.tuf.Run})
	return nil
}

func (s *Stack) reportTUF(status httpd.Status, detail string) { s.ready.Set("tuf", status, detail) }

// checkPublished refuses to serve a trusted root that clients would not verify
// this stack's signatures with.
func (s *Stack) checkPublished(repo *tufroot.Repository) error {
	published, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return err
	}
	live, err := s.material().TrustedRoot()
	if err != nil {
		return err
	}
	if bytes.Equal(live, published) {
		return nil
	}
	if s.opts.Unpublished {
		return nil
	}
	if found, err := s.nextIsPublished(repo, published); found || err != nil {
		return err
	}
	root, err := trust.ParseTrustedRoot(published)
	if err != nil {
		return err
	}
	if s.conf.Peers == nil {
		if err := s.refuseCT(root.CTLogs); err != nil {
			return err
		}
	}
	return errors.New("published trusted_root.json does not match the live services' keys and chains: " +
		"the key or chain files were changed, or come from another directory")
}

// RootSHA256 returns the fingerprint of the kit's root.json, in hex.
func (l Layout) RootSHA256() (string, error) {
	root, err := os.ReadFile(filepath.Join(l.Client(), trust.RootName))
	if err != nil {
		return "", fmt.Errorf("read trust root: %w", err)
	}
	return trust.RootSHA256(root), nil
}
