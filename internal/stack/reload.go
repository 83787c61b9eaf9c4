package stack

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/services/ca"
	"sigstack/services/ca/token"
)

// Reloaded is the answer to a reload.
type Reloaded struct {
	// Changed is what this process has taken.
	Changed []string `json:"changed"`
	// NeedsRestart are the sections of config.yaml that differ from those this
	// process runs with in what only a start reads. They are valid.
	NeedsRestart []string `json:"needs_restart"`
}

// Details are for the audit record.
func (r Reloaded) Details() map[string]string {
	return map[string]string{
		"changed": strings.Join(r.Changed, "; "), "needs_restart": strings.Join(r.NeedsRestart, ", "),
	}
}

// Reload does for a signal what AdminReload does for a caller.
func (s *Stack) Reload(ctx context.Context, signal string) (Reloaded, error) {
	return s.reloadFor(ctx, "signal "+signal)
}

// reloadFor reloads for somebody who does not ask by the admin channel.
func (s *Stack) reloadFor(ctx context.Context, by string) (Reloaded, error) {
	server := s.admin.Load()
	if server == nil {
		return Reloaded{}, errors.New("the stack is not running yet: nothing was reloaded")
	}
	answer, err := server.Do(ctx, admin.Act{Name: "reload", By: by}, func(ctx context.Context) (any, error) {
		return s.reload(ctx, by)
	})
	if err != nil {
		return Reloaded{}, err
	}
	return answer.(Reloaded), nil
}

// reload takes what can change without a restart: issuers and their policies, the
// CA's chain with its key, the roots of the CT log, and the files of TLS. What
// config.yaml names is checked first, all of it; a problem anywhere is a refusal,
// and nothing has changed then.
func (s *Stack) reload(ctx context.Context, by string) (Reloaded, error) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	var r Reloaded
	err := s.reloads.files.Now()
	var unread *fs.PathError
	if errors.As(err, &unread) {
		_, planned := s.planReload() // which knows the field that names the file
		err = cmp.Or(planned, fault.Wrap(fault.Invalid, err, "nothing was reloaded"))
	}
	if err == nil {
		r = s.reloads.took
		err = s.takeTLS(ctx, by, &r)
	}
	s.noteReload(ctx, by, r, err)
	return r, err
}

// takeFiles is what the watch over the files takes them with. It needs reloads.mu.
func (s *Stack) takeFiles([][]byte) error {
	plan, err := s.planReload()
	if err != nil {
		return err
	}
	if err := s.apply(plan); err != nil {
		return err
	}
	s.reloads.took = Reloaded{Changed: plan.changed, NeedsRestart: plan.restart}
	return nil
}

// reloadPlan is what a reload would change, all of it checked.
type reloadPlan struct {
	file    *config.Config // as config.yaml has it
	conf    *config.Config // with the issuers of the command line
	ca      *ca.Settings   // nil: this process has no CA
	key     keys.Key       // of ca; that in use if it stays
	newKey  bool           // it does not
	bearer  *token.Verifier
	changed []string
	restart []string
}

// planReload reads config.yaml and every file that it names, and refuses what a
// start would refuse.
func (s *Stack) planReload() (*reloadPlan, error) {
	f, err := config.ReadFile(s.layout.Config())
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was reloaded")
	}
	Check(f, s.layout.Dir, s.opts.Now())
	if err := f.Err(); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was reloaded")
	}
	p := &reloadPlan{file: f.Config, changed: []string{}}
	if p.conf, err = withExtraIssuers(f.Config, s.opts.ExtraIssuers); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was reloaded")
	}
	if p.restart = changedSections(s.loaded, f.Config); slices.Contains(p.restart, "profile") || slices.Contains(p.restart, "url") {
		return nil, fault.New(fault.Conflict, "nothing was reloaded: profile and url of config.yaml never change")
	}
	if err := s.planIssuers(p); err != nil {
		var invalid *config.Invalid
		if !errors.As(err, &invalid) {
			invalid = &config.Invalid{Problems: []config.Problem{config.NewProblem(err.Error())}}
		}
		f.Add(invalid.Problems...) // at the lines of their fields
		return nil, fault.Wrap(fault.Invalid, f.Err(), "nothing was reloaded")
	}
	return p, nil
}

// planIssuers plans everything that tokens and certificates depend on.
func (s *Stack) planIssuers(p *reloadPlan) error {
	b := &builder{s}
	set, section := p.conf.Accepted()
	issuers, err := b.issuers(p.conf)
	if err != nil {
		return err
	}
	before, _ := s.reloads.conf.Accepted()
	p.changed = append(p.changed, changedIssuers(before, set)...)
	if s.bearer.Load() != nil {
		p.bearer, err = token.New(token.Config{Issuers: issuers, Now: s.opts.Now, Log: s.opts.Log, Previous: s.bearer.Load()})
		if err != nil {
			return fmt.Errorf("%s.issuers: %w", section, err)
		}
	}
	if s.services.ca == nil || p.conf.CA == nil {
		return nil
	}
	p.changed = changedFiles(p.changed, s.services.ca.Issuers(), issuers)
	p.ca = &ca.Settings{Issuers: issuers, Algorithms: p.conf.CA.SigningAlgorithms}
	if !slices.Equal(s.reloads.conf.CA.SigningAlgorithms, p.ca.Algorithms) {
		p.changed = append(p.changed, "signing algorithms of the ca")
	}
	if err := s.planChain(p); err != nil {
		return err
	}
	return s.services.ca.Check(*p.ca)
}

// planChain plans the chain and its key, which are taken together. The key in use is
// not loaded again: it may be encrypted, or a session in a token.
func (s *Stack) planChain(p *reloadPlan) error {
	certs, err := s.layout.chain(p.conf.CA.Chain)
	if err != nil {
		return err
	}
	now := s.services.ca.Trust().Chain
	p.ca.Chain, p.ca.Retired, p.ca.Signer, p.key = certs, s.chains.others(certs), s.caKey, s.caKey
	if slices.EqualFunc(certs, now, (*x509.Certificate).Equal) && p.conf.CA.Key == s.caKey.Name {
		return nil
	}
	if err := s.chains.mayIssue(certs, s.opts.Now()); err != nil {
		return fmt.Errorf("ca.chain: %w", err)
	}
	if p.key, err = s.keys.Load(p.conf.CA.Key); err != nil {
		return fmt.Errorf("ca.key: %w", err)
	}
	if err := p.key.Test(); err != nil {
		return fmt.Errorf("ca.key: key %s does not work: %w", p.key.Name, err)
	}
	p.ca.Signer, p.newKey = p.key, true
	p.changed = append(p.changed, fmt.Sprintf("ca chain of %s with key %s, in place of %s", certs[0].Subject, p.key.Name, now[0].Subject))
	return nil
}

// apply makes a plan come true. chains.json is written before the switch, so that a
// crash in between leaves what the next start does by itself.
func (s *Stack) apply(p *reloadPlan) error {
	if changed, err := s.takeCTRoots(p.conf); err != nil {
		return err
	} else if changed {
		p.changed = append(p.changed, "roots of the ct log")
	}
	if p.ca != nil {
		if err := s.tellIssuers(p.ca.Issuers); err != nil {
			return err
		}
		list, draft := s.chains.all()
		if next, changed := using(list, p.ca.Chain, p.key.Name, s.opts.Now()); changed {
			if draft != nil && !slices.EqualFunc(p.ca.Chain, s.services.ca.Trust().Chain, (*x509.Certificate).Equal) {
				draft = nil // it was made for the chain before: publishing says to prepare it again
			}
			if err := s.chains.set(next, draft); err != nil {
				return err
			}
		}
		p.ca.Retired = s.chains.others(p.ca.Chain)
		if err := s.services.ca.Reload(*p.ca); err != nil {
			return err
		}
		if p.newKey {
			s.useKey(p.key)
		}
	}
	if p.bearer != nil {
		s.bearer.Store(p.bearer)
	}
	s.reloads.conf = p.conf
	return nil
}

// takeTLS takes the files of TLS, or renews the certificate; a change of other
// files is no reason for that.
func (s *Stack) takeTLS(ctx context.Context, by string, r *Reloaded) error {
	if s.tls == nil || by == byFiles {
		return nil
	}
	before, clients := s.tls.Chain()[0], s.tls.ClientAuthorities()
	err := s.reloadTLS(ctx)
	if after := s.tls.Chain()[0]; !after.Equal(before) {
		r.Changed = append(r.Changed, "tls certificate "+after.SerialNumber.Text(16)+" until "+after.NotAfter.UTC().Format(time.RFC3339))
	}
	if !s.tls.ClientAuthorities().Equal(clients) {
		r.Changed = append(r.Changed, "authorities of tls client certificates")
	}
	switch {
	case err != nil && len(r.Changed) > 0: // the files of each are taken whole, or not at all
		return fault.Wrap(fault.Invalid, err, "took "+strings.Join(r.Changed, ", ")+", and goes on with what it has of the rest")
	case err != nil:
		return fault.Wrap(fault.Invalid, err, "tls goes on with what it has")
	}
	return nil
}

// changedIssuers says in words how two sets of issuers differ.
func changedIssuers(before, after config.IssuerSet) (changed []string) {
	in := func(list []config.Issuer, iss config.Issuer) bool { return slices.ContainsFunc(list, iss.Equal) }
	named := func(list []config.Issuer, url string) bool {
		return slices.ContainsFunc(list, func(x config.Issuer) bool { return x.URL == url })
	}
	note := func(what, url string) {
		if text := "issuer " + url + " " + what; !slices.Contains(changed, text) {
			changed = append(changed, text)
		}
	}
	for _, iss := range after.Issuers {
		switch {
		case !named(before.Issuers, iss.URL):
			note("added", iss.URL)
		case !in(before.Issuers, iss):
			note("changed", iss.URL)
		}
	}
	for _, iss := range before.Issuers {
		switch {
		case !named(after.Issuers, iss.URL):
			note("removed", iss.URL)
		case !in(after.Issuers, iss):
			note("changed", iss.URL)
		}
	}
	if before.IssuersFile != after.IssuersFile {
		changed = append(changed, "issuers_file")
	}
	if !reflect.DeepEqual(before.CIProviders, after.CIProviders) {
		changed = append(changed, "ci_providers")
	}
	return changed
}

// changedSections names the sections of config.yaml in which two configurations
// differ in what only a start reads.
func changedSections(a, b *config.Config) []string {
	names := []string{}
	va, vb := reflect.ValueOf(*startOnly(a)), reflect.ValueOf(*startOnly(b))
	for i := range va.NumField() {
		if !va.Type().Field(i).IsExported() {
			continue
		}
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("yaml"), ",")
			names = append(names, name)
		}
	}
	return names
}

// startOnly is conf without what a reload takes.
func startOnly(conf *config.Config) *config.Config {
	c := *conf
	c.Access.IssuerSet = config.IssuerSet{}
	if c.CA != nil {
		ca := *c.CA
		ca.Chain, ca.Key, ca.IssuerSet, ca.SigningAlgorithms = "", "", config.IssuerSet{}, nil
		c.CA = &ca
	}
	if c.CTLog != nil {
		ct := *c.CTLog
		ct.Roots = nil
		c.CTLog = &ct
	}
	return &c
}

// noteReload tells of a reload wherever somebody may look. It needs reloads.mu.
func (s *Stack) noteReload(ctx context.Context, by string, r Reloaded, err error) {
	s.reloads.note(ReloadStatus{At: s.opts.Now().UTC(), By: by, OK: err == nil, Changed: r.Changed, NeedsRestart: r.NeedsRestart}, err)
	if err != nil {
		s.opts.Log.ErrorContext(ctx, "reload refused: everything goes on as it was", slog.String("by", by), slog.Any("error", err))
		return
	}
	s.opts.Log.InfoContext(ctx, "reloaded", slog.String("by", by), slog.Any("changed", r.Changed))
	if len(r.NeedsRestart) > 0 {
		s.opts.Log.WarnContext(ctx, "a restart is needed for what config.yaml says", slog.Any("sections", r.NeedsRestart))
	}
}
