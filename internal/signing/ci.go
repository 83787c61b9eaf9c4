package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
)

// Variables by which systems say that, and where, they have identity tokens.
const (
	// TokenFileVariable names a file with a token that somebody keeps fresh: a
	// projected volume that is mounted elsewhere, or what spiffe-helper writes.
	TokenFileVariable = "SIGSTACK_ID_TOKEN_FILE"

	githubVariable       = "GITHUB_ACTIONS"
	githubURLVariable    = "ACTIONS_ID_TOKEN_REQUEST_URL"
	githubBearerVariable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	gitlabVariable       = "GITLAB_CI"
	spiffeVariable       = "SPIFFE_ENDPOINT_SOCKET"
)

// ProjectedTokenFile is where pods mount the token for signing, by the convention
// that cosign began.
const ProjectedTokenFile = "/var/run/sigstore/cosign/oidc-token"

// CI finds the identity token that a CI system or platform has for this process.
type CI struct {
	Audience  string              // whom tokens must be for; empty: DefaultClientID
	Getenv    func(string) string // nil: os.Getenv
	HTTP      *http.Client        // nil: NewHTTPClient
	TokenFile string              // empty: ProjectedTokenFile
}

// Ambient is an identity token that lies ready.
type Ambient struct {
	Where string      // for people: what it is of, and for whom
	Token TokenSource // asks anew, or reads anew, at each call
}

// Find returns the token that lies ready, in the order of the functions below, nil
// if there is none. A system that could give one and was not told to is an error,
// which says what to tell it: nobody can log in there. Find asks nobody yet.
func (c CI) Find() (*Ambient, error) {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Audience == "" {
		c.Audience = DefaultClientID
	}
	for _, find := range []func(CI) (*Ambient, error){CI.variable, CI.namedFile, CI.github, CI.projected, CI.spiffe} {
		if found, err := find(c); found != nil || err != nil {
			return found, err
		}
	}
	switch {
	case c.Getenv(githubVariable) == "true":
		return nil, fmt.Errorf("find identity token: this is a job of GitHub Actions that may ask for none (%s is not set): give the job `permissions: id-token: write`, or a token in %s",
			githubURLVariable, TokenVariable)
	case c.Getenv(gitlabVariable) == "true":
		return nil, fmt.Errorf("find identity token: this is a job of GitLab CI without one: give the job `id_tokens: %s: aud: %s`", TokenVariable, c.Audience)
	}
	return nil, nil
}

// variable is the token in TokenVariable, whoever put it there: people, or a job's
// id_tokens in GitLab.
func (c CI) variable() (*Ambient, error) {
	token := strings.TrimSpace(c.Getenv(TokenVariable))
	if token == "" {
		return nil, nil
	}
	where := "the variable " + TokenVariable
	if c.Getenv(gitlabVariable) == "true" {
		where += " of GitLab CI"
	}
	return &Ambient{where, StaticToken(token)}, nil
}

func (c CI) namedFile() (*Ambient, error) {
	path := c.Getenv(TokenFileVariable)
	if path == "" {
		return nil, nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find identity token: the variable %s: %w", TokenFileVariable, err)
	}
	return c.file(path), nil
}

// projected is the token that the kubelet keeps in a pod's volume. A pod's token for
// the API server, which lies elsewhere, is none of ours to show to anybody.
func (c CI) projected() (*Ambient, error) {
	path := c.TokenFile
	if path == "" {
		path = ProjectedTokenFile
	}
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find identity token: %w", err)
	}
	return c.file(path), nil
}

// file reads the token whenever one is needed, since others renew it there.
func (c CI) file(path string) *Ambient {
	return &Ambient{fmt.Sprintf("the file %s, for %q", path, c.Audience), func(context.Context) (string, error) {
		token, err := ReadToken(path, nil)
		if err != nil {
			return "", err
		}
		if err := c.checkAudience(token); err != nil {
			return "", fmt.Errorf("token in %s: %w", path, err)
		}
		return token, nil
	}}
}

// checkAudience keeps a token that is for somebody else from being shown to the CA.
func (c CI) checkAudience(token string) error {
	var claims struct {
		Audience audiences `json:"aud"`
	}
	payload, err := tokenPayload(token)
	if err != nil {
		return err
	}
	if json.Unmarshal(payload, &claims) != nil {
		return errors.New("its payload is not a JSON object of claims with an audience")
	}
	if !slices.Contains(claims.Audience, c.Audience) {
		return fmt.Errorf("it is for %q, want %q: have it made for that audience, or name another with --audience", []string(claims.Audience), c.Audience)
	}
	return nil
}

// audiences is the claim aud: one, or a list (RFC 7519 §4.1.3).
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}
