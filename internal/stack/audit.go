package stack

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/signing"
	"sigstack/internal/trust"
	"sigstack/services/tlog/rekorv1"
)

// auditService is the audit record's name in readiness and in records.
const auditService = "audit"

// Audit is the directory of the audit record.
func (l Layout) Audit() string { return filepath.Join(l.Dir, "audit") }

// makeAudit begins the record, and returns the configuration's section that names
// it.
func (cfg InitConfig) makeAudit(ctx context.Context, l Layout) (*config.Audit, error) {
	key, err := cfg.service.Load(keyAudit)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, audit.Options{Dir: l.Audit(), Signer: key, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	return &config.Audit{Key: keyAudit, Chain: log.Chain()}, log.Close()
}

// openAudit opens the audit record, which services are given then: without it
// nothing starts.
func (s *Stack) openAudit(ctx context.Context) error {
	if err := durable.MkdirAll(s.layout.Audit(), 0o700); err != nil {
		return err
	}
	opts := audit.Options{
		Dir: s.layout.Audit(), Report: s.reportAudit,
		Now: s.opts.Now, Log: s.opts.Log, Metrics: s.metrics,
	}
	if conf := s.conf.Audit; conf != nil {
		key, err := s.key(conf.Key)
		if err != nil {
			return err
		}
		opts.Signer, opts.Chain = key, conf.Chain
		opts.Anchor, opts.AnchorEvery = s.anchorWith(key), conf.Interval()
		s.auditKey = key.SPKI()
	}
	log, err := audit.Open(ctx, opts)
	if err != nil {
		s.doubtRecord(ctx, opts.Chain, err)
		return err
	}
	s.audit = log
	s.onClose(log.Close)
	return s.wantSeenRecord(ctx)
}

// record puts an event on record, with what is known of the request that ctx
// belongs to. It returns once the event is on disk; an error must be answered
// instead of what the event tells of.
func (s *Stack) record(ctx context.Context, e audit.Event) error {
	if e.RequestID == "" {
		e.RequestID = httpd.RequestID(ctx)
	}
	if addr := httpd.ClientAddr(ctx); e.Address == "" && addr.IsValid() {
		e.Address = addr.String()
	}
	return s.audit.Record(ctx, e)
}

// recordDenied tells of a request to write that lacked the credentials that
// section access asks for.
func (s *Stack) recordDenied(ctx context.Context, service string, cause error) error {
	return s.record(ctx, audit.Event{
		Action: audit.ActionAccess, Outcome: audit.Refused, Service: service,
		Detail: map[string]string{"cause": fault.Public(cause)},
	})
}

// recordStart tells what starts, and under which configuration.
func (s *Stack) recordStart(ctx context.Context) error {
	conf, err := os.ReadFile(s.layout.Config())
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	detail := map[string]string{
		"version": s.opts.Version, "profile": s.conf.Profile, "url": s.conf.URL, "listen": s.Address(),
		"services": strings.Join(s.serviceNames(), " "), "config_sha256": fmt.Sprintf("%x", sha256.Sum256(conf)),
	}
	if s.conf.Peers != nil {
		detail["process"] = s.conf.Peers.Name
	}
	for i, issuer := range s.opts.ExtraIssuers {
		detail[fmt.Sprint("extra_issuer_", i+1)] = issuer.URL
	}
	err = s.record(ctx, audit.Event{Action: audit.ActionStart, Outcome: audit.OK, Service: "stack", Detail: detail})
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	s.reportAudit(audit.Health{})
	return nil
}

// runAudit anchors the record until ctx ends, and then once more, over the record
// that the stack stopped.
func (s *Stack) runAudit(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.audit.Run(running) }()
	s.showRecord(ctx)
	err := s.record(running, audit.Event{Action: audit.ActionStop, Outcome: audit.OK, Service: "stack"})
	stop()
	err = errors.Join(err, <-done)
	s.showLast(running)
	return err
}

// reportAudit: without a record nothing is signed; a record that is not anchored
// yet is still one.
func (s *Stack) reportAudit(h audit.Health) {
	switch {
	case h.Write != nil:
		s.ready.Set(auditService, httpd.Down, "the audit record cannot be written, so no certificate, token or login is given; the log says why")
	case h.Anchor != nil:
		s.ready.Set(auditService, httpd.Warn, "the newest audit records could not be entered in the transparency log; it is tried again")
	case s.conf.Audit == nil:
		s.ready.Set(auditService, httpd.Warn, "the audit record has no key, so that nobody can tell whether its end was cut off: see docs/audit.md")
	default:
		s.ready.Set(auditService, httpd.OK, "events are recorded")
	}
}

// anchorWith returns an AnchorFunc that signs with key.
func (s *Stack) anchorWith(key crypto.Signer) audit.AnchorFunc {
	return func(ctx context.Context, statement []byte) ([]byte, error) {
		if s.anew.Load() {
			return nil, audit.ErrLeftToNext // its log may be one that takes no entries any more
		}
		kit, err := s.anchorKit()
		if err != nil {
			return nil, err
		}
		client, err := s.anchorClient()
		if err != nil {
			return nil, err
		}
		defer client.CloseIdleConnections()
		session, err := signing.NewSession(signing.SessionConfig{Kit: kit, Key: key, HTTP: client, Now: s.opts.Now, Log: s.opts.Log})
		if err != nil {
			return nil, err
		}
		if m := s.opts.member; m != nil { // first, so that others tell whose every entry is
			if err := m.fleet.PutStatements(ctx, statement); err != nil {
				return nil, err
			}
		}
		signed, err := session.SignDigest(ctx, sha256.Sum256(statement))
		var away *signing.UnreachableError
		if errors.As(err, &away) && away.Next == "" {
			return nil, fmt.Errorf("%s at %s cannot be reached: %w", away.Service, away.URL, away.Err) // nobody is at a command here
		}
		if err != nil {
			return nil, err
		}
		return signed.JSON, nil
	}
}

// anchorKit is the kit that anchors are made and checked with: the published
// trusted root, and of the services this stack's log alone.
func (s *Stack) anchorKit() (*signing.Kit, error) {
	path := filepath.Join(s.layout.Client(), trust.TrustedRootName)
	root, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	log := trust.Service{URL: s.conf.URL, APIVersion: 1, Window: trust.Window{Start: s.opts.Now()}}
	services, err := trust.Material{Operator: s.conf.OperatorName(), TLogServices: []trust.Service{log}}.SigningConfig()
	if err != nil {
		return nil, err
	}
	return signing.NewKit(path, root, services)
}

// anchorClient reaches the log: in this process without its listener, in another
// one by the link to it or, where there is none, as clients do.
func (s *Stack) anchorClient() (*http.Client, error) {
	if s.services.tlog != nil {
		return &http.Client{Transport: httpd.InProcess{Handler: s.services.anchors}}, nil
	}
	if link := s.linkTo("tlog"); link != nil {
		return &http.Client{Transport: link.client}, nil
	}
	authorities, err := signing.LoadAuthorities(s.layout.Client())
	if err != nil {
		return nil, err
	}
	return authorities.HTTPClient(s.conf.URL)
}

// mountAnchors gives the audit record a way into the log that no guard of the
// public listener stands in.
func (b *builder) mountAnchors(api *rekorv1.API) {
	b.services.anchors = httpd.NewMux(httpd.MuxConfig{Log: b.opts.Log.With(slog.String("for", auditService)), Metrics: prometheus.NewRegistry(), Now: b.opts.Now})
	api.Mount(b.services.anchors)
}

// auditKeys are those that clients tell the record's heads by.
func (s *Stack) auditKeys() [][]byte {
	if s.auditKey == nil {
		return nil
	}
	return [][]byte{s.auditKey}
}
