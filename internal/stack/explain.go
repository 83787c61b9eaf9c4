package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/signing"
	"sigstack/internal/trust"
	"sigstack/services/ca/explain"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/policy"
)

// Explanation is what becomes of a token, and why.
type Explanation = explain.Report

// What checks come to.
const (
	CheckPassed     = explain.Pass
	CheckFailed     = explain.Fail
	CheckSkipped    = explain.Skipped
	CheckNotReached = explain.NotReached
)

// TokenQuestion asks what a certificate authority would do with a token.
type TokenQuestion struct {
	Token string
	// Offline asks no issuer for its keys.
	Offline bool
	Now     func() time.Time
	Log     *slog.Logger
}

// ExplainToken answers for the authority of a data directory, by its configuration
// as it is in the file; nothing there is started, opened or changed. Issuers are
// asked for their keys as the authority asks them, the built-in one over the
// network, too. An error says that the answer could not be found.
func ExplainToken(ctx context.Context, l Layout, q TokenQuestion) (*Explanation, error) {
	conf, err := config.Load(l.Config())
	if err != nil {
		return nil, err
	}
	if conf.CA == nil {
		return nil, fmt.Errorf("the process of %s has no certificate authority: name the directory of the process that has", l.Dir)
	}
	b := &builder{&Stack{conf: conf, layout: l, opts: Options{Now: q.Now, Log: q.Log}}}
	issuers, err := b.issuers(conf)
	if err != nil {
		return nil, err
	}
	client, err := l.clientOf(conf)
	if err != nil {
		return nil, err
	}
	for i := range issuers {
		if issuers[i].URL == conf.IssuerURL() {
			issuers[i].HTTPClient = client
		}
	}
	policies, err := policiesOf(conf.CA.Issuers)
	if err != nil {
		return nil, err
	}
	return explain.Token(ctx, explain.Config{
		Issuers: issuers, Policies: policies, Offline: q.Offline, Now: q.Now, Log: q.Log,
	}, q.Token)
}

func policiesOf(issuers []config.Issuer) (map[explain.Key]*policy.Policy, error) {
	policies := map[explain.Key]*policy.Policy{}
	for _, iss := range issuers {
		p, err := policyOf(iss)
		if err != nil {
			return nil, err
		}
		if p != nil {
			policies[explain.Key{URL: iss.URL, ClientID: iss.ClientID}] = p
		}
	}
	return policies, nil
}

// clientOf reaches the listener of a directory that is served, else its URL.
func (l Layout) clientOf(conf *config.Config) (*http.Client, error) {
	authorities, err := signing.LoadAuthorities(l.Client())
	if err != nil {
		return nil, err
	}
	address, err := os.ReadFile(filepath.Join(l.Run(), "address"))
	if errors.Is(err, fs.ErrNotExist) {
		return authorities.HTTPClient(conf.URL)
	}
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	return authorities.HTTPClientTo(strings.TrimSpace(string(address)), conf.URL)
}

// ExplainTokenAt answers for an authority somewhere, by what it publishes: rules,
// lifetimes and the metadata of CI systems are not in it. client asks the authority
// and the issuers. The error is *signing.UnreachableError if the authority gives no
// usable answer.
func ExplainTokenAt(ctx context.Context, url string, client *http.Client, q TokenQuestion) (*Explanation, error) {
	issuers, err := publishedIssuers(ctx, url, client)
	if err != nil {
		away := signing.Unreachable("certificate authority", url, err)
		away.Next = "check that it is running and that --url is its URL"
		return nil, away
	}
	backed, err := publishedMarks(ctx, url, client)
	if err != nil {
		return nil, err
	}
	return explain.Token(ctx, explain.Config{
		Issuers: issuers, Published: true, Backed: backed, Offline: q.Offline, Now: q.Now, Log: q.Log,
	}, q.Token)
}

func publishedIssuers(ctx context.Context, url string, client *http.Client) ([]identity.Issuer, error) {
	status, body, err := getBounded(ctx, client, url+"/api/v2/configuration")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("/api/v2/configuration answered %d", status)
	}
	return explain.PublishedIssuers(body, client)
}

// publishedMarks returns the issuers that the authority's client kit calls locally
// backed. One without a kit, as Fulcio is, has no place for marks.
func publishedMarks(ctx context.Context, url string, client *http.Client) ([]string, error) {
	status, body, err := getBounded(ctx, client, url+"/client/"+trust.IssuersName)
	if err != nil {
		return nil, signing.Unreachable("certificate authority", url, err)
	}
	if status != http.StatusOK {
		return nil, nil
	}
	told, err := trust.ParseIssuers(body)
	if err != nil {
		return nil, fmt.Errorf("read which issuers %s backs itself: %w", url, err)
	}
	return told.LocallyBacked, nil
}

func getBounded(ctx context.Context, client *http.Client, url string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}
