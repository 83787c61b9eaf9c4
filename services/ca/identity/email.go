package identity

import (
	"net/mail"
	"strings"

	"sigstack/internal/fault"
)

// emailPrincipal names a person by the address that the issuer has verified.
func emailPrincipal(i Issuer, c Claims) (Principal, error) {
	address, err := emailClaim(c)
	if err != nil {
		return Principal{}, err
	}
	if !i.SkipEmailVerification && !c.flag("email_verified") {
		return Principal{}, fault.New(fault.Invalid, "the email is not verified: claim email_verified is not true")
	}
	return Principal{
		Name:       Name{RFC822Name, address},
		Challenges: []string{address},
	}, nil
}

// verifiedEmail returns the address that the issuer vouches for, false if there
// is none.
func verifiedEmail(c Claims) (string, bool) {
	if !c.flag("email_verified") {
		return "", false
	}
	address, err := emailClaim(c)
	return address, err == nil
}

func emailClaim(c Claims) (string, error) {
	address, err := c.Text("email")
	if err != nil {
		return "", err
	}
	if !validEmail(address) {
		return "", fault.New(fault.Invalid, "claim email is not a plain ASCII email address")
	}
	return address, nil
}

// validEmail accepts local@domain as an rfc822Name can hold it (RFC 5280
// §4.2.1.6): ASCII, no display name, no quoting, no comment, no address literal.
// Unlike upstream it takes domains without a dot, which closed networks have.
func validEmail(s string) bool {
	return len(s) <= 254 && visible(s) && bareAddress(s) && !strings.ContainsAny(s, `"\()<>[],;:`)
}

// addressLike reports whether a subject reads as an email address, in any script.
func addressLike(s string) bool {
	domain := s[strings.LastIndexByte(s, '@')+1:]
	return bareAddress(s) && strings.Contains(domain, ".")
}

func bareAddress(s string) bool {
	parsed, err := mail.ParseAddress(s)
	return err == nil && parsed.Address == s // thus without a display name
}
