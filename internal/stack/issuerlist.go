package stack

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/trust"
	"sigstack/services/ca/identity"
)

// Who says which tokens are an issuer's.
const (
	BackedByItself    = "itself"    // its own discovery document
	BackedByStack     = "stack"     // the built-in issuer
	BackedByKeys      = "keys"      // a key set of this stack's operator
	BackedByDiscovery = "discovery" // another host, of this stack's operator's choice
)

// IssuerStatus is an issuer whose tokens are accepted.
type IssuerStatus struct {
	URL        string `json:"url"` // a pattern if * is in it
	Audience   string `json:"audience"`
	Type       string `json:"type"`
	CIProvider string `json:"ci_provider,omitempty"`
	Backing    string `json:"backing"` // one of those above
	// LocallyBacked: this stack's operator, and not whom URL names, says which tokens
	// are the issuer's.
	LocallyBacked bool   `json:"locally_backed"`
	DiscoveryURL  string `json:"discovery_url,omitempty"`
	// Policy: rules decide beside the token's signature.
	Policy bool `json:"policy"`
	// Lifetime of certificates in seconds.
	Lifetime int64 `json:"lifetime_seconds"`
}

func issuerStatus(i identity.Issuer, own string) IssuerStatus {
	st := IssuerStatus{
		URL: i.URL, Audience: i.ClientID, Type: string(i.Type), Backing: BackedByItself,
		LocallyBacked: i.LocallyBacked(), DiscoveryURL: i.DiscoveryURL, Policy: i.Policy != nil,
		Lifetime: int64(identity.MaxLifetime / time.Second),
	}
	if i.Lifetime > 0 {
		st.Lifetime = int64(i.Lifetime / time.Second)
	}
	if i.CIProvider != nil {
		st.CIProvider = i.CIProvider.Name()
	}
	switch {
	case i.Keys != nil:
		st.Backing = BackedByKeys
	case i.DiscoveryURL != "":
		st.Backing = BackedByDiscovery
	case i.URL == own:
		st.Backing = BackedByStack
	}
	return st
}

// Issuers returns those that the configuration of a data directory accepts, with
// every problem that one of them has as a *config.Invalid.
func (l Layout) Issuers(conf *config.Config) ([]IssuerStatus, error) {
	issuers, problems := l.issuersOf(conf, podFiles())
	if len(problems) > 0 {
		return nil, &config.Invalid{File: l.Config(), Problems: problems}
	}
	return issuerStatuses(issuers, conf.IssuerURL()), nil
}

func issuerStatuses(issuers []identity.Issuer, own string) []IssuerStatus {
	out := []IssuerStatus{}
	for _, i := range issuers {
		out = append(out, issuerStatus(i, own))
	}
	return out
}

// locallyBacked are the URLs of those that are.
func locallyBacked(issuers []identity.Issuer) (urls []string) {
	for _, i := range issuers {
		if i.LocallyBacked() {
			urls = append(urls, i.URL)
		}
	}
	return urls
}

// kitIssuers is what the client kit tells of issuers, each once: the locally backed
// ones of the CA and all that it told of before, for what was signed by their tokens is
// there for ever. A file that cannot be read is an error: its marks would be lost.
func (s *Stack) kitIssuers(marked []string) (*trust.Issuers, error) {
	path := filepath.Join(s.layout.Client(), trust.IssuersName)
	told := &trust.Issuers{}
	data, err := os.ReadFile(path)
	if err == nil {
		*told, err = trust.ParseIssuers(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which issuers were locally backed, to keep their marks: %w: put %s back as it was, from a backup or another copy of the client kit", err, path)
	}
	told.LocallyBacked = append(told.LocallyBacked, marked...)
	slices.Sort(told.LocallyBacked)
	told.LocallyBacked = slices.Compact(told.LocallyBacked)
	return told, nil
}

// firstKitIssuers is kitIssuers for the issuers of a start. Where another process has
// the CA it is what that told last, nil before it ever has.
func (s *Stack) firstKitIssuers() (*trust.Issuers, error) {
	if s.services.ca != nil {
		return s.kitIssuers(locallyBacked(s.services.ca.Issuers()))
	}
	if told, err := exists(filepath.Join(s.layout.Client(), trust.IssuersName)); err != nil || !told {
		return nil, err
	}
	return s.kitIssuers(nil)
}

// tellIssuers writes anew what the client kit tells of issuers, before others are
// accepted. A process without trust root hands out no kit.
func (s *Stack) tellIssuers(marked []string) error {
	if s.conf.TUF == nil {
		return nil
	}
	told, err := s.kitIssuers(marked)
	if err != nil {
		return err
	}
	data, err := told.Encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(s.layout.Client(), trust.IssuersName), data, 0o644)
}

// issuerStatuses are those of the CA of this process, as it accepts them now.
func (s *Stack) issuerStatuses() []IssuerStatus {
	if s.services.ca == nil {
		return []IssuerStatus{}
	}
	return issuerStatuses(s.services.ca.Issuers(), s.conf.IssuerURL())
}

// changedFiles adds to changed, which config.yaml alone tells, the issuers that
// differ by what is in the files that it names.
func changedFiles(changed []string, before, after []identity.Issuer) []string {
	type id struct{ url, audience string }
	seen := map[id]identity.Issuer{}
	for _, i := range before {
		seen[id{i.URL, i.ClientID}] = i
	}
	note := func(what, url string) {
		about := func(text string) bool { return strings.HasPrefix(text, "issuer "+url+" ") }
		if !slices.ContainsFunc(changed, about) {
			changed = append(changed, "issuer "+url+" "+what)
		}
	}
	for _, i := range after {
		old, known := seen[id{i.URL, i.ClientID}]
		switch {
		case !known:
			note("added", i.URL)
		case !bytes.Equal(old.Keys, i.Keys) || !slices.EqualFunc(old.RootCAs, i.RootCAs, (*x509.Certificate).Equal):
			note("has other keys or authorities", i.URL)
		case issuerStatus(old, "") != issuerStatus(i, "") || old.SubjectDomain != i.SubjectDomain || old.SPIFFETrustDomain != i.SPIFFETrustDomain:
			note("changed", i.URL)
		}
		delete(seen, id{i.URL, i.ClientID})
	}
	for _, i := range before {
		if _, gone := seen[id{i.URL, i.ClientID}]; gone {
			note("removed", i.URL)
		}
	}
	return changed
}
