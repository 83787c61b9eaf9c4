package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/issuerfile"
	"sigstack/services/ca/token"
)

// maxIssuerFile bounds a file of issuers or of their keys, in bytes.
const maxIssuerFile = 1 << 20

// clusterFiles are where a pod finds what it asks its own cluster with (contract:
// ca.md §3).
type clusterFiles struct{ authority, token string }

func podFiles() clusterFiles {
	return clusterFiles{"/var/run/fulcio/ca.crt", "/var/run/secrets/kubernetes.io/serviceaccount/token"}
}

// clusterIssuer is the URL that makes a configuration one of a cluster's own CA.
const clusterIssuer = "https://kubernetes.default.svc"

// ownCluster reports whether a URL is that of the cluster which the pod runs in.
func ownCluster(url string) bool {
	return url == clusterIssuer || url == clusterIssuer+".cluster.local"
}

// issuerLoad makes issuers of a configuration, and gathers every problem.
type issuerLoad struct {
	Layout
	conf      *config.Config
	section   string
	providers map[string]*identity.CIProvider // nil for one with a problem
	fields    []string                        // of issuers
	issuers   []identity.Issuer
	problems  []config.Problem
}

func (l *issuerLoad) add(field, format string, args ...any) {
	l.problems = append(l.problems, config.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// issuersOf returns everybody whose tokens conf accepts, with what the files say
// that it names, and every problem. The built-in issuer has a client that reaches
// nothing.
func (l Layout) issuersOf(conf *config.Config, cluster clusterFiles) ([]identity.Issuer, []config.Problem) {
	set, section := conf.Accepted()
	load := &issuerLoad{Layout: l, conf: conf, section: section}
	load.providers, load.problems = ciProviders(set, section)
	load.problems = append(load.problems, checkPolicies(conf)...)
	for i, iss := range set.Issuers {
		load.issuer(fmt.Sprintf("%s.issuers[%d]", section, i), iss)
	}
	if set.IssuersFile != "" {
		load.file(set.IssuersFile)
	}
	load.inCluster(cluster)
	load.check()
	return load.issuers, load.problems
}

// ciProviders compiles the templates of every CI provider.
func ciProviders(set config.IssuerSet, section string) (map[string]*identity.CIProvider, []config.Problem) {
	providers := map[string]*identity.CIProvider{}
	var problems []config.Problem
	for _, name := range slices.Sorted(maps.Keys(set.CIProviders)) {
		p, err := identity.NewCIProvider(name, identity.CIMetadata(set.CIProviders[name]))
		if err != nil && set.CIProviders[name].SubjectAlternativeNameTemplate != "" { // which the configuration says itself
			message := strings.TrimPrefix(err.Error(), fmt.Sprintf("ci provider %q: ", name))
			problems = append(problems, config.Problem{Field: section + ".ci_providers." + name, Message: message})
		}
		providers[name] = p
	}
	return providers, problems
}

// issuer adds one of the configuration.
func (l *issuerLoad) issuer(field string, iss config.Issuer) {
	lifetime, _ := iss.CertificateLifetime() // the configuration says what is wrong with it
	i := identity.Issuer{
		URL: iss.URL, ClientID: iss.ClientID, Type: identity.Type(iss.Type),
		SubjectDomain: iss.SubjectDomain, SPIFFETrustDomain: iss.SPIFFETrustDomain, IssuerClaim: iss.IssuerClaim,
		AdvertisedChallenge: iss.ChallengeClaim, SkipEmailVerification: iss.SkipEmailVerification, Lifetime: lifetime,
		CIProvider: l.providers[iss.CIProvider], DiscoveryURL: iss.DiscoveryURL,
	}
	var err error
	if iss.CACert != "" {
		if i.RootCAs, err = l.chain(iss.CACert); err != nil {
			l.add(field+".ca_cert", "%v", err)
		}
	}
	if iss.Keys != "" {
		if i.Keys, err = l.keySet(iss.Keys); err != nil {
			l.add(field+".keys", "%v", err)
		}
	}
	if iss.ServiceAccountToken != "" {
		i.BearerTokenFile = l.path(iss.ServiceAccountToken)
		if err := readable(i.BearerTokenFile); err != nil {
			l.add(field+".service_account_token", "%v", err)
		}
	}
	i.Policy = l.policy(field+".policy", iss)
	if l.builtIn(iss.URL) {
		i.HTTPClient = &http.Client{}
	}
	l.fields, l.issuers = append(l.fields, field), append(l.issuers, i)
}

// policy returns what decides beside the token's signature, nil for no rules. Rules
// that cannot be compiled are a problem and let nobody in, so that no issuer is ever
// without its rules.
func (l *issuerLoad) policy(field string, iss config.Issuer) func(identity.Claims) error {
	rules, err := policyOf(iss)
	switch {
	case err != nil:
		said := func(p config.Problem) bool { return strings.HasPrefix(p.Field, field) }
		if iss.Validate() == nil && !slices.ContainsFunc(l.problems, said) { // checkPolicies tells more exactly
			l.add(field, "%v", err)
		}
		return func(identity.Claims) error { return err }
	case rules == nil:
		return nil
	}
	return rules.Check
}

// builtIn reports whether a URL is that of the stack's own issuer.
func (l *issuerLoad) builtIn(url string) bool {
	_, elsewhere := l.conf.With("oidc")
	return (l.conf.OIDC != nil || elsewhere) && url == l.conf.IssuerURL()
}

func (l Layout) keySet(path string) ([]byte, error) {
	data, err := readBounded(l.path(path), maxIssuerFile)
	if err != nil {
		return nil, err
	}
	if err := token.CheckKeySet(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// readBounded reads a file of at most that many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, nil
}

// file adds those of an issuer file in upstream's form.
func (l *issuerLoad) file(path string) {
	field := l.section + ".issuers_file"
	data, err := readBounded(l.path(path), maxIssuerFile)
	if err != nil {
		l.add(field, "%v", err)
		return
	}
	issuers, err := issuerfile.Parse(data)
	var invalid *issuerfile.Invalid
	if errors.As(err, &invalid) {
		for _, p := range invalid.Problems {
			l.add(field, "%s: %s", path, p)
		}
		return
	}
	if err != nil {
		l.add(field, "%s: %v", path, err)
		return
	}
	for _, i := range issuers {
		if l.builtIn(i.URL) {
			i.HTTPClient = &http.Client{}
		}
		l.fields, l.issuers = append(l.fields, field), append(l.issuers, i)
	}
}

// inCluster gives issuers of type kubernetes what their cluster asks for, if the
// one of this very cluster is among them: its authority, unless they have one of
// their own, and to this cluster alone the pod's token, if the pod has one. The
// contract (ca.md §3) lets every such issuer have the token; but with it whoever
// runs another cluster would be the pod towards this one. Others are shown a token
// where service_account_token says so.
func (l *issuerLoad) inCluster(files clusterFiles) {
	if !slices.ContainsFunc(l.issuers, func(i identity.Issuer) bool { return i.URL == clusterIssuer }) {
		return
	}
	for n := range l.issuers {
		i := &l.issuers[n]
		if i.Type != identity.Kubernetes || i.Wildcard() || i.LocallyBacked() || len(i.RootCAs) > 0 {
			continue
		}
		var err error
		if i.RootCAs, err = l.clusterAuthority(files.authority); err != nil {
			l.add(l.fields[n], "%s is a cluster's: %v: name its authority in ca_cert, or give its keys", i.URL, err)
		}
		if i.BearerTokenFile != "" || !ownCluster(i.URL) {
			continue
		}
		if found, err := exists(files.token); err != nil {
			l.add(l.fields[n], "%s is a cluster's: %v", i.URL, err)
		} else if found {
			i.BearerTokenFile = files.token
		}
	}
}

func (l *issuerLoad) clusterAuthority(path string) ([]*x509.Certificate, error) {
	if found, err := exists(path); !found && err == nil {
		return nil, fmt.Errorf("there is no %s: %w", path, fs.ErrNotExist)
	}
	return l.chain(path)
}

// check looks at each issuer by itself, unless something was found there already,
// and then at all together.
func (l *issuerLoad) check() {
	for n, i := range l.issuers {
		known := func(p config.Problem) bool {
			return strings.HasPrefix(p.Field, l.fields[n]) || i.CIProvider == nil && strings.HasPrefix(p.Field, l.section+".ci_providers.")
		}
		if err := i.Check(); err != nil && !slices.ContainsFunc(l.problems, known) && !l.saidByItself(n) {
			l.add(l.fields[n], "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("issuer %q: ", i.URL)))
		}
	}
	if len(l.problems) > 0 || len(l.issuers) == 0 || l.conf.Validate() != nil {
		return
	}
	_, err := token.New(token.Config{Issuers: l.issuers, Now: func() time.Time { return time.Time{} }, Log: slog.New(slog.DiscardHandler)})
	for _, err := range parts(err) {
		l.add(l.section+".issuers", "%v", err)
	}
}

// saidByItself reports whether the configuration finds something wrong in an issuer
// without looking at files.
func (l *issuerLoad) saidByItself(n int) bool {
	var invalid *config.Invalid
	if !errors.As(l.conf.Validate(), &invalid) {
		return false
	}
	return slices.ContainsFunc(invalid.Problems, func(p config.Problem) bool { return strings.HasPrefix(p.Field, l.fields[n]) })
}
