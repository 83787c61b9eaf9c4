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
	conf   *config.Config // with the issuers of the command line, and what a start alone can take as it was
	ca     *ca.Settings   // nil: the CA stays as it is, or this process has none
	chains []*nextChain   // of the authorities that do not stay as they are
	until  time.Time      // when the next chain that config.yaml names and that waits may be used; zero: none does
	ct     *ctPlan        // nil: the CT logs stay as they are
	bearer *token.Verifier
	answer Reloaded
}

// next is what is planned for an authority; nil: it stays as it is, or this process
// has none.
func (p *reloadPlan) next(of Authority) *nextChain {
	i := slices.IndexFunc(p.chains, func(c *nextChain) bool { return c.of.of == of })
	if i < 0 {
		return nil
	}
	return p.chains[i]
}

// nextChain is what an authority is to sign with after a reload.
type nextChain struct {
	of    *authority
	certs []*x509.Certificate
	key   keys.Key
	other bool      // than it signs with
	until time.Time // when it may be used; zero: now
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
	for _, err := range []error{s.planTSA(p), s.planCT(p), s.planIssuers(p, f.Config)} {
		if err == nil {
			continue
		}
		var invalid *config.Invalid
		if !errors.As(err, &invalid) {
			invalid = &config.Invalid{Problems: []config.Problem{config.NewProblem(err.Error())}}
		}
		f.Add(invalid.Problems...) // at the lines of their fields
	}
	if err := f.Err(); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "nothing was reloaded")
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
	if (now.TSA == nil) != (file.TSA == nil) {
		next.TSA = now.TSA
	}
	if (now.CTLog == nil) != (file.CTLog == nil) {
		next.CTLog = now.CTLog
	}
	return &next
}

// planTSA plans the chain of the timestamp authority.
func (s *Stack) planTSA(p *reloadPlan) error {
	if s.services.tsa == nil {
		return nil
	}
	next, err := s.tsa.plan(p.conf)
	if err != nil || !next.other {
		return err
	}
	if err := s.services.tsa.Check(next.certs, next.key); err != nil {
		return fmt.Errorf("tsa.chain: %w", err)
	}
	p.takeOrWait(next)
	return nil
}

// planIssuers plans everything that tokens and certificates depend on, unless section
// ca comes or goes: neither its issuers nor its chain change before a start then.
func (s *Stack) planIssuers(p *reloadPlan, file *config.Config) error {
	if (s.services.ca == nil) != (file.CA == nil) {
		return nil
	}
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
	return s.planCA(p)
}

func (p *reloadPlan) took(what ...string) { p.answer.Changed = append(p.answer.Changed, what...) }

// planCA plans the chain of the CA. What waits is checked too.
func (s *Stack) planCA(p *reloadPlan) error {
	next, err := s.ca.plan(p.conf)
	if err != nil {
		return err
	}
	if err := s.services.ca.Check(p.with(next)); err != nil || !next.other {
		p.chains = append(p.chains, next)
		return err
	}
	return s.services.ca.Check(p.with(p.takeOrWait(next)))
}

// with are the CA's settings with that chain.
func (p *reloadPlan) with(next *nextChain) ca.Settings {
	p.ca.Chain, p.ca.Retired, p.ca.Signer = next.certs, next.of.chains.others(next.certs), next.key
	return *p.ca
}

// plan is the chain with its key that config.yaml names: they are taken together. The
// key in use is not loaded again: it may be encrypted, or a session in a token.
func (a *authority) plan(conf *config.Config) (*nextChain, error) {
	file, name, _ := a.of.settings(conf)
	certs, err := a.s.layout.chain(file)
	if err != nil {
		return nil, err
	}
	next := &nextChain{of: a, certs: certs, key: a.key}
	if sameChain(certs, a.present()) && name == a.key.Name {
		return next, nil
	}
	if at, ended := a.s.endedAt(a.of.String(), certs[0].RawSubjectPublicKeyInfo); ended {
		return nil, fault.Newf(fault.Conflict, "%s.chain: its key is compromised: clients accept nothing of it that is newer than %s", a.of, at.Format(time.RFC3339))
	}
	err = a.mayIssue(certs, a.s.opts.Now())
	if errors.Is(err, errNotYet) {
		next.until, err = a.chains.usableFrom(certs), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s.chain: %w", a.of, err)
	}
	if next.key, err = a.s.keys.Load(name); err != nil {
		return nil, fmt.Errorf("%s.key: %w", a.of, err)
	}
	if err := next.key.Test(); err != nil {
		return nil, fmt.Errorf("%s.key: key %s does not work: %w", a.of, next.key.Name, err)
	}
	next.other = true
	return next, nil
}

func sameChain(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

// usableFrom is when every client has a chain that is published.
func (c *chainSet) usableFrom(certs []*x509.Certificate) time.Time {
	list, _ := c.all()
	return list[find(list, certs)].Distributed
}

// takeOrWait plans a chain that may sign, and returns it. Until it may, the present one
// goes on, and the rest of the plan is taken without it.
func (p *reloadPlan) takeOrWait(next *nextChain) *nextChain {
	now := next.of.present()
	text := fmt.Sprintf("%s chain of %s with key %s", next.of.of, next.certs[0].Subject, next.key.Name)
	if next.until.IsZero() {
		p.took(text + ", in place of " + now[0].Subject.String())
	} else {
		p.answer.Waiting = append(p.answer.Waiting, fmt.Sprintf("%s has not had time to reach every client: it is taken by itself at %s", text, next.until.Format(time.RFC3339)))
		p.until = soonest(p.until, next.until)
		next = &nextChain{of: next.of, certs: now, key: next.of.key}
	}
	p.chains = append(p.chains, next)
	return next
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
		ca.CTLogs = nil
		c.CA = &ca
	}
	if c.TSA != nil {
		tsa := *c.TSA
		tsa.Chain, tsa.Key = "", ""
		c.TSA = &tsa
	}
	if c.CTLog != nil {
		ct := *c.CTLog
		ct.Roots, ct.State, ct.Shards, ct.First = nil, "", nil, ""
		c.CTLog = &ct
	}
	return &c
}
