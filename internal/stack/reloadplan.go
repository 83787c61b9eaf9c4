package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/services/ca"
	"sigstack/services/ca/token"
)

// reloadPlan is what a reload would change, all of it checked.
type reloadPlan struct {
	conf     *config.Config // with the issuers of the command line, and what a start alone can take as it was
	ca       *ca.Settings   // nil: the CA stays as it is, or this process has none
	key      keys.Key       // of ca; that in use if it stays
	newChain bool           // it is of another chain or key than is in use
	until    time.Time      // when the chain that config.yaml names may be used; zero: it is
	bearer   *token.Verifier
	answer   Reloaded
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
	p := &reloadPlan{answer: Reloaded{Changed: []string{}, NeedsRestart: changedSections(s.loaded, f.Config), Waiting: []string{}}}
	if restart := p.answer.NeedsRestart; slices.Contains(restart, "profile") || slices.Contains(restart, "url") {
		return nil, fault.New(fault.Conflict, "nothing was reloaded: profile and url of config.yaml never change")
	}
	if p.conf, err = withExtraIssuers(s.withServices(f.Config), s.opts.ExtraIssuers); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was reloaded")
	}
	if (s.services.ca == nil) != (f.Config.CA == nil) {
		return p, nil // neither its issuers nor its chain change before a start
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

// withServices is what config.yaml says, with the sections in force in place of
// those whose service only a start can take up or give up.
func (s *Stack) withServices(file *config.Config) *config.Config {
	now, next := s.reloads.conf, *file
	if (now.CA == nil) != (file.CA == nil) {
		next.CA, next.Access.IssuerSet = now.CA, now.Access.IssuerSet
	}
	if (now.CTLog == nil) != (file.CTLog == nil) {
		next.CTLog = now.CTLog
	}
	return &next
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
	p.took(changedIssuers(before, set)...)
	if s.bearer.Load() != nil {
		p.bearer, err = token.New(token.Config{Issuers: issuers, Now: s.opts.Now, Log: s.opts.Log, Previous: s.bearer.Load()})
		if err != nil {
			return fmt.Errorf("%s.issuers: %w", section, err)
		}
	}
	if s.services.ca == nil {
		return nil
	}
	p.answer.Changed = changedFiles(p.answer.Changed, s.services.ca.Issuers(), issuers)
	p.ca = &ca.Settings{Issuers: issuers, Algorithms: p.conf.CA.SigningAlgorithms}
	if !slices.Equal(s.reloads.conf.CA.SigningAlgorithms, p.ca.Algorithms) {
		p.took("signing algorithms of the ca")
	}
	if err := s.planChain(p); err != nil {
		return err
	}
	if err := s.services.ca.Check(*p.ca); err != nil || !p.newChain {
		return err
	}
	return s.takeOrWait(p)
}

func (p *reloadPlan) took(what ...string) { p.answer.Changed = append(p.answer.Changed, what...) }

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
	err = s.chains.mayIssue(certs, s.opts.Now())
	if errors.Is(err, errNotYet) {
		p.until, err = s.chains.usableFrom(certs), nil
	}
	if err != nil {
		return fmt.Errorf("ca.chain: %w", err)
	}
	if p.key, err = s.keys.Load(p.conf.CA.Key); err != nil {
		return fmt.Errorf("ca.key: %w", err)
	}
	if err := p.key.Test(); err != nil {
		return fmt.Errorf("ca.key: key %s does not work: %w", p.key.Name, err)
	}
	p.ca.Signer, p.newChain = p.key, true
	return nil
}

// usableFrom is when every client has a chain that is published.
func (c *caChains) usableFrom(certs []*x509.Certificate) time.Time {
	list, _ := c.all()
	return list[find(list, certs)].Distributed
}

// takeOrWait takes a chain that may issue. Until it may the present one goes on, and
// the rest of the plan is taken without it.
func (s *Stack) takeOrWait(p *reloadPlan) error {
	now := s.services.ca.Trust().Chain
	next := fmt.Sprintf("ca chain of %s with key %s", p.ca.Chain[0].Subject, p.key.Name)
	if p.until.IsZero() {
		p.took(next + ", in place of " + now[0].Subject.String())
		return nil
	}
	p.answer.Waiting = append(p.answer.Waiting, fmt.Sprintf("%s has not had time to reach every client: it is taken by itself at %s", next, p.until.Format(time.RFC3339)))
	p.ca.Chain, p.ca.Retired, p.ca.Signer, p.key, p.newChain = now, s.chains.others(now), s.caKey, s.caKey, false
	return s.services.ca.Check(*p.ca)
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
