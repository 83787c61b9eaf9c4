package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
	"sigstack/services/ca"
	cagrpc "sigstack/services/ca/grpc"
	"sigstack/services/oidc"
	"sigstack/services/oidc/attempts"
	"sigstack/services/tlog"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tsa"
	"sigstack/services/tuf"
)

// Tree names in storage, and head files in checkpoints/.
const (
	treeCTLog = "ctlog"
	treeTLog  = "tlog"
)

// ctRefresh keeps an idle CT log's head well inside the usual maximum merge
// delay of a day.
const ctRefresh = time.Hour

// component is a long-running part of a service.
type component struct {
	name string
	run  func(context.Context) error
}

// services holds what runs, nil for what the configuration leaves out.
type services struct {
	ca    *ca.Service
	ctlog *ctLogs
	tlog  *tlog.Service
	tsa   *tsa.Service
	oidc  *oidc.Service
	tuf   *tuf.Service

	foreign    foreignCT         // CT logs of others, and what the CA asks
	anchors    *httpd.Mux        // the log, for the audit record; nil without one
	storage    *storage          // nil without a log
	nodes      *merkle.NodeCache // of all its trees
	reindexing *reindexing       // nil without a transparency log

	components []component

	mu    sync.Mutex
	keys  []keys.Key              // guarded by mu: all that sign
	trees map[string]*merkle.Tree // guarded by mu: by name
}

// allKeys returns those that sign.
func (s *services) allKeys() []keys.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

func (s *services) addKey(key keys.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

// hasKey reports whether a key of that name signs.
func (s *services) hasKey(name string) bool {
	return slices.ContainsFunc(s.allKeys(), func(k keys.Key) bool { return k.Name == name })
}

// dropKey forgets a key that signs nothing any more.
func (s *services) dropKey(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(s.keys, func(k keys.Key) bool { return k.Name == name })
}

// allTrees returns the logs' trees by name.
func (s *services) allTrees() map[string]*merkle.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.trees)
}

func (s *services) addTree(name string, tree *merkle.Tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees[name] = tree
}

// builder builds services.
type builder struct{ *Stack }

// buildServices builds every configured service and mounts it.
func (s *Stack) buildServices(ctx context.Context) error {
	s.services = &services{trees: map[string]*merkle.Tree{}, nodes: merkle.NewNodeCache(merkle.DefaultNodeCache)}
	b := &builder{s}
	s.later = newLater()
	b.run("later", s.later.run)
	if err := s.openAudit(ctx); err != nil {
		return fmt.Errorf("start audit: %w", err)
	}
	if err := s.openCompromises(); err != nil {
		return err
	}
	if err := s.openChains(); err != nil {
		return err
	}
	if err := s.openCTRecords(); err != nil {
		return err
	}
	if s.conf.CTLog != nil || s.conf.TLog != nil {
		store, err := s.layout.openStorage(s.conf, s.opts.Now, s.opts.Log)
		if err != nil {
			return err
		}
		s.services.storage = store
		s.onClose(store.Close)
	}
	steps := []struct {
		name   string
		wanted bool
		build  func(context.Context) error
	}{
		{"tlog", s.conf.TLog != nil, b.buildTLog},
		{"ctlog", s.conf.CTLog != nil, b.buildCTLog},
		{"tsa", s.conf.TSA != nil, b.buildTSA},
		{"oidc", s.conf.OIDC != nil, b.buildOIDC},
		{"ca", s.conf.CA != nil, b.buildCA},
		{"access", s.asksForTokens(), b.buildAccess},
	}
	for _, step := range steps {
		if !step.wanted {
			continue
		}
		if err := step.build(ctx); err != nil {
			return fmt.Errorf("start %s: %w", step.name, err)
		}
	}
	b.run("audit", s.runAudit) // after what it records, and what it is anchored in
	return nil
}

// key loads a service key, which the start check will test.
func (s *Stack) key(name string) (keys.Key, error) {
	key, err := s.keys.Load(name)
	if err == nil {
		s.services.addKey(key)
	}
	return key, err
}

// run adds a long-running part.
func (b *builder) run(name string, run func(context.Context) error) {
	b.services.components = append(b.services.components, component{name, run})
}

// openTree opens a tree, which nothing runs yet.
func (s *Stack) openTree(ctx context.Context, name string, id int64, adjust func(*merkle.Config)) (*merkle.Tree, error) {
	store, err := s.services.storage.of(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg := merkle.Config{
		Storage: store, TreeID: id, Now: s.opts.Now, Log: s.opts.Log, Metrics: s.metrics,
		HeadFile: s.layout.Head(name), Nodes: s.services.nodes, Election: s.election(), Forward: s.forward(name),
	}
	adjust(&cfg)
	tree, err := merkle.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.services.addTree(name, tree)
	return tree, nil
}

func (b *builder) buildTLog(ctx context.Context) error {
	conf := b.conf.TLog
	shards, err := b.openShards(ctx)
	if err != nil {
		return err
	}
	last := len(shards) - 1
	b.services.tlog, err = tlog.New(tlog.Config{
		Shard: shards[last], Earlier: shards[:last], Host: b.conf.Host(), URL: b.conf.URL,
		AttestationLimit: conf.StoredAttestation(),
		Now:              b.opts.Now, Log: b.opts.Log, Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	b.services.reindexing = newReindexing()
	b.run("reindex", b.runReindex)
	api, err := rekorv1.New(rekorv1.Config{
		Log: b.services.tlog, Kinds: conf.Kinds, Disabled: conf.DisabledOperations,
		StrictDuplicates: conf.StrictDuplicates, MaySearchNames: b.maySearchNames(), Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	api.Mount(b.mux)
	b.tellBuild("rekor")
	own, err := rekorv1.New(rekorv1.Config{Log: b.services.tlog})
	if err != nil {
		return err
	}
	b.mountAnchors(own)
	return nil
}

func (b *builder) buildTSA(context.Context) error {
	certs, err := b.tsa.first()
	if err != nil {
		return err
	}
	b.services.tsa, err = tsa.New(tsa.Config{
		Chain: certs, Signer: b.tsa.key, URL: b.conf.URL,
		Now: b.opts.Now, Log: b.opts.Log, Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	if err := b.tsa.begin(certs); err != nil { // they fit
		return err
	}
	b.services.tsa.Mount(b.mux)
	return nil
}

func (b *builder) buildOIDC(ctx context.Context) error {
	secret, err := b.keys.Secret(b.conf.OIDC.Secret)
	if err != nil {
		return err
	}
	cfg := oidc.Config{
		Issuer: b.issuerURL(), Dir: b.layout.OIDCDB(), Secret: secret, PasswordGrant: b.conf.OIDC.PasswordGrant, Test: b.test(),
		Logins: attempts.Rate(b.conf.Limits.Logins), Audit: b.record, AuditReady: b.audit.Ready,
		Now: b.opts.Now, Log: b.opts.Log, Metrics: b.metrics,
	}
	if cfg.Database, err = b.layout.issuerDatabase(b.conf); err != nil {
		return err
	}
	if m := b.opts.member; m != nil {
		cfg.Attempts = sharedAttempts{m.fleet.Attempts(), b.opts.Log}
	}
	if since := b.conf.OIDC.Since; since != "" {
		if cfg.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return err
		}
	} else if b.conf.TUF != nil {
		// The issuer's own keys come and go in its database. It is as old as the
		// trust root, whose signing configuration tells clients since when.
		key, err := b.keys.Load(b.conf.TUF.TimestampKey)
		if err != nil {
			return err
		}
		cfg.Since = key.Created
	}
	for _, u := range b.conf.OIDC.Users {
		cfg.Users = append(cfg.Users, oidc.User{Email: u.Email, Username: u.Name, UserID: u.ID, PasswordHash: []byte(u.PasswordHash)})
	}
	if cfg.Connectors, err = b.layout.connectors(b.conf.OIDC.Connectors, b.layout.secret); err != nil {
		return errors.Join(err, CheckConfig(b.conf)) // every problem at once
	}
	if b.services.oidc, err = oidc.New(ctx, cfg); err != nil {
		return (&database{dir: b.layout.Dir}).explained(err)
	}
	b.onClose(b.services.oidc.Close)
	b.services.oidc.Mount(b.mux)
	return nil
}

func (b *builder) buildCA(context.Context) error {
	certs, err := b.ca.first()
	if err != nil {
		return err
	}
	issuers, err := b.issuers(b.conf)
	if err != nil {
		return err
	}
	logs, err := b.firstCTLogs()
	if err != nil {
		return err
	}
	b.services.ca, err = ca.New(ca.Config{
		Chain: certs, Signer: b.ca.key, Issuers: issuers, Algorithms: b.conf.CA.SigningAlgorithms, Retired: b.ca.chains.others(certs),
		CTLogs: logs, CTReport: b.reportCTLog, IssuersAway: b.reportIssuers, Audit: b.record, AuditReady: b.audit.Ready, Limit: b.issuanceLimit(),
		URL: b.conf.URL, Now: b.opts.Now, Log: b.opts.Log, Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	if err := b.ca.begin(certs); err != nil { // they fit
		return err
	}
	b.services.ca.Mount(b.mux)
	b.tellBuild("fulcio")
	cagrpc.Mount(b.services.ca, b.mux)
	b.run("ca", b.after("oidc", b.services.ca.Run)) // which fetches the issuer's keys
	return nil
}

// material gathers the public half of every service.
func (s *Stack) material() trust.Material {
	m := trust.Material{Operator: s.conf.OperatorName()}
	if s.conf.Front() {
		m = m.With(s.othersMaterial()...)
	}
	s.ca.addTo(&m, &m.CAServices)
	m.CTLogs = append(m.CTLogs, s.ctMaterial()...)
	if svc := s.services.tlog; svc != nil {
		logs := svc.Trust()
		m.TLogs = append(append(m.TLogs, logs...), s.shards.ahead(svc)...)
		// The service is as old as its first shard: what is published of it does not
		// change with the others.
		m.TLogServices = append(m.TLogServices, trust.Service{URL: logs[0].BaseURL, APIVersion: logs[0].APIVersion, Window: logs[0].Window})
	}
	s.tsa.addTo(&m, &m.TSAServices)
	if svc := s.services.oidc; svc != nil {
		m.OIDCServices = append(m.OIDCServices, svc.Trust())
	}
	return s.withEnds(m)
}
