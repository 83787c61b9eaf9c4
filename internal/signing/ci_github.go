package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// github asks the token endpoint of the job that this process runs in. GitHub tells
// jobs with permission about it by two variables.
func (c CI) github() (*Ambient, error) {
	endpoint, bearer := c.Getenv(githubURLVariable), c.Getenv(githubBearerVariable)
	if endpoint == "" || bearer == "" {
		return nil, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("find identity token: the variable %s holds no URL", githubURLVariable)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())) {
		return nil, fmt.Errorf("find identity token: the URL in %s is not https, and a token must not travel in the clear", githubURLVariable)
	}
	query := u.Query()
	query.Set("audience", c.Audience)
	u.RawQuery = query.Encode()
	return &Ambient{fmt.Sprintf("GitHub Actions, for %q", c.Audience), func(ctx context.Context) (string, error) {
		token, err := c.askGitHub(ctx, u.String(), bearer)
		if err != nil {
			return "", err
		}
		if err := c.checkAudience(token); err != nil {
			return "", fmt.Errorf("token of GitHub Actions: %w", err)
		}
		return token, nil
	}}, nil
}

func (c CI) askGitHub(ctx context.Context, endpoint, bearer string) (string, error) {
	client := c.HTTP
	if client == nil {
		client = NewHTTPClient()
	}
	got, err := call(ctx, client, request{
		service: "token endpoint of GitHub Actions", method: http.MethodGet, url: endpoint,
		next:   "check that the job has `permissions: id-token: write`",
		header: http.Header{"Authorization": {"Bearer " + bearer}, "Accept": {"application/json"}},
	}, http.StatusOK)
	var refused *ServiceError
	if errors.As(err, &refused) {
		refused.Message = http.StatusText(refused.Status) // its own words may repeat what it was sent
	}
	if err != nil {
		return "", err
	}
	return parseGitHubToken(got.body)
}

// parseGitHubToken reads the endpoint's answer. No error quotes it.
func parseGitHubToken(body []byte) (string, error) {
	var answer struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Value == "" || len(answer.Value) > maxToken {
		return "", errors.New("read answer of GitHub Actions: it holds no token")
	}
	return answer.Value, nil
}

// loopbackHost reports whether a URL's host is this machine.
func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
