package identity

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sigstack/internal/fault"
)

// uriPrincipal names a subject by its URL, which lies in the subject domain.
func uriPrincipal(i Issuer, c Claims) (Principal, error) {
	domain, err := url.Parse(i.SubjectDomain)
	if err != nil {
		return Principal{}, fmt.Errorf("parse subject domain: %w", err)
	}
	if addressLike(c.Subject) {
		return Principal{}, fault.New(fault.Invalid, "claim sub is an email address, not a URL")
	}
	subject, err := url.Parse(c.Subject)
	switch {
	case err != nil:
		return Principal{}, fault.Wrap(fault.Invalid, err, "claim sub is not a URL")
	case subject.Scheme != domain.Scheme || subject.Hostname() != domain.Hostname():
		return Principal{}, fault.New(fault.Invalid, "claim sub is not in the issuer's subject domain")
	case !validURI(c.Subject):
		return Principal{}, fault.New(fault.Invalid, "claim sub is not a plain ASCII URL")
	}
	return Principal{
		Name:       Name{URIName, c.Subject},
		Challenges: []string{c.Subject},
	}, nil
}

// usernamePrincipal names a subject by its name and the subject domain (contract:
// ca.md §6).
func usernamePrincipal(i Issuer, c Claims) (Principal, error) {
	switch {
	case strings.Contains(c.Subject, "!"):
		return Principal{}, fault.New(fault.Invalid, "claim sub has a !, which ends names")
	case addressLike(c.Subject):
		return Principal{}, fault.New(fault.Invalid, "claim sub is an email address, not a name")
	case strings.ContainsFunc(c.Subject, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return Principal{}, fault.New(fault.Invalid, "claim sub has characters that cannot be printed")
	}
	return Principal{
		Name:       Name{OtherName, c.Subject + "!" + i.SubjectDomain},
		Challenges: []string{c.Subject},
	}, nil
}

func checkURI(i Issuer) error {
	domain, err := url.Parse(i.SubjectDomain)
	if err != nil {
		return fmt.Errorf("parse subject domain: %w", err)
	}
	bare := url.URL{Scheme: domain.Scheme, Host: domain.Hostname()}
	if domain.Scheme == "" || domain.Hostname() == "" || bare.String() != i.SubjectDomain {
		return errors.New(`subject domain of type uri is not a scheme and a host name, such as "https://example.com"`)
	}
	if scheme, _, _ := strings.Cut(i.URL, ":"); scheme != domain.Scheme {
		return fmt.Errorf("subject domain's scheme %s is not the issuer's %s", domain.Scheme, scheme)
	}
	return i.checkSite(domain.Hostname())
}

func checkUsername(i Issuer) error {
	if i.SubjectDomain == "" || strings.Trim(i.SubjectDomain, hostChars+upperCase) != "" {
		return errors.New(`subject domain of type username is not a host name, such as "example.com"`)
	}
	return i.checkSite(i.SubjectDomain)
}

// checkSite demands a subject domain near the issuer's own, so that one issuer
// cannot name the subjects of another's site.
func (i Issuer) checkSite(domain string) error {
	// A pattern is near the domain if it is whatever stands for its wildcards.
	for _, wildcard := range []string{"x", "y"} {
		issuer, err := url.Parse(strings.ReplaceAll(i.URL, "*", wildcard))
		if err != nil {
			return fmt.Errorf("parse URL: %w", err)
		}
		if !sameSite(issuer.Hostname(), domain) {
			return fmt.Errorf("subject domain %s is not of the issuer's domain %s", domain, issuer.Hostname())
		}
	}
	return nil
}

// sameSite reports whether two hosts are equal or share their last two labels.
func sameSite(a, b string) bool {
	if a == b {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	return len(x) >= 2 && len(y) >= 2 && slices.Equal(x[len(x)-2:], y[len(y)-2:])
}
