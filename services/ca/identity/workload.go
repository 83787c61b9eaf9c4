package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"sigstack/internal/fault"
)

// The longest SPIFFE ID and trust domain, in bytes (SPIFFE-ID §2.1 and §2.3).
const (
	maxSPIFFE      = 2048
	maxTrustDomain = 255
)

// spiffePrincipal names a workload by its SPIFFE ID, which is of the issuer's
// trust domain.
func spiffePrincipal(i Issuer, c Claims) (Principal, error) {
	domain, err := trustDomain(i.SPIFFETrustDomain)
	if err != nil {
		return Principal{}, err
	}
	of, ok := parseSPIFFE(c.Subject)
	switch {
	case !ok:
		return Principal{}, fault.New(fault.Invalid, "claim sub is not a SPIFFE ID")
	case of != domain:
		return Principal{}, fault.New(fault.Invalid, "claim sub is not of the issuer's trust domain")
	}
	return Principal{
		Name:       Name{URIName, c.Subject},
		Challenges: []string{c.Subject},
	}, nil
}

// parseSPIFFE returns the trust domain of a SPIFFE ID (SPIFFE-ID §2): no port, no
// empty or dotted segment, no percent-encoding.
func parseSPIFFE(id string) (domain string, ok bool) {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok || len(id) > maxSPIFFE {
		return "", false
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	if !validTrustDomain(domain) {
		return "", false
	}
	if !hasPath {
		return domain, true
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, hostChars+upperCase) != "" {
			return "", false
		}
	}
	return domain, true
}

const (
	hostChars = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func validTrustDomain(domain string) bool {
	return domain != "" && len(domain) <= maxTrustDomain && strings.Trim(domain, hostChars) == "" &&
		!strings.HasPrefix(domain, ".") && !strings.HasSuffix(domain, ".") && !strings.Contains(domain, "..")
}

// trustDomain reads a configured trust domain, by its name or its SPIFFE ID.
func trustDomain(text string) (string, error) {
	if strings.Contains(text, ":/") {
		if domain, ok := parseSPIFFE(text); ok {
			return domain, nil
		}
	} else if validTrustDomain(text) {
		return text, nil
	}
	return "", errors.New(`SPIFFE trust domain is not one, such as "example.org"`)
}

func checkSPIFFE(i Issuer) error {
	if i.Wildcard() {
		return errors.New("a pattern of issuers cannot share one SPIFFE trust domain")
	}
	_, err := trustDomain(i.SPIFFETrustDomain)
	return err
}

// kubernetesPrincipal names a pod by its namespace and service account.
func kubernetesPrincipal(_ Issuer, c Claims) (Principal, error) {
	var pod struct {
		Namespace      string `json:"namespace"`
		ServiceAccount struct {
			Name string `json:"name"`
		} `json:"serviceaccount"`
	}
	raw, ok := c.members["kubernetes.io"]
	if !ok {
		return Principal{}, missing("kubernetes.io")
	}
	if err := json.Unmarshal(raw, &pod); err != nil {
		return Principal{}, fault.Wrap(fault.Invalid, err, "claim kubernetes.io does not name a namespace and a service account")
	}
	if !kubernetesName(pod.Namespace) || !kubernetesName(pod.ServiceAccount.Name) {
		return Principal{}, fault.New(fault.Invalid, "claim kubernetes.io has no valid names of a namespace and a service account")
	}
	uri := fmt.Sprintf("https://kubernetes.io/namespaces/%s/serviceaccounts/%s", pod.Namespace, pod.ServiceAccount.Name)
	return Principal{
		Name:       Name{URIName, uri},
		Challenges: []string{c.Subject},
	}, nil
}

// kubernetesName accepts a DNS subdomain, as Kubernetes names both objects (RFC
// 1123 §2.1).
func kubernetesName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return true
}

// chainguardPrincipal names a Chainguard identity by its id below the issuer's
// URL. Clients sign its email if it has one.
func chainguardPrincipal(_ Issuer, c Claims) (Principal, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return Principal{}, fault.Wrap(fault.Invalid, err, "claim iss is not a URL")
	}
	if err := (ciClaim{name: "sub", kind: inPath}).checkPath(c.Subject); err != nil {
		return Principal{}, err
	}
	challenge := c.Subject
	if address, ok := verifiedEmail(c); ok {
		challenge = address
	}
	return Principal{
		Name:       Name{URIName, under(*issuer, c.Subject)},
		Challenges: []string{challenge},
	}, nil
}
