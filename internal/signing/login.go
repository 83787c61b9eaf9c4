package signing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const callbackPath = "/auth/callback"

// Browser gets a token by an interactive login: authorization code with PKCE
// (RFC 7636) and a redirect to a listener of ours on loopback (RFC 8252). open
// must show the given URL to the user and return; the login ends with ctx.
func (o OIDC) Browser(ctx context.Context, open func(loginURL string) error) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	if d.Authorization == "" {
		return "", fmt.Errorf("OIDC issuer %s has no login page", o.Issuer)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("wait for login: %w", err)
	}
	redirect := fmt.Sprintf("http://localhost:%d%s", l.Addr().(*net.TCPAddr).Port, callbackPath)
	login := newLogin(redirect)
	// The URL may be shown, logged and named on a browser's command line: it holds
	// no secret. State and nonce are of use only with the code, which is of use
	// only with the verifier, of which the URL holds the hash.
	return login.wait(ctx, l, o.host(),
		func() error { return open(login.url(d.Authorization, o.clientID())) },
		func(code string) (string, error) { return o.trade(ctx, d, login, code) })
}

// trade exchanges the code of a login for a token.
func (o OIDC) trade(ctx context.Context, d discovery, l login, code string) (string, error) {
	token, err := o.exchange(ctx, d, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {l.redirect},
		"code_verifier": {l.verifier},
	}, "log in again")
	if err != nil {
		return "", err
	}
	return token, l.checkNonce(token)
}

// host names the issuer to people.
func (o OIDC) host() string {
	u, err := url.Parse(o.Issuer)
	if err != nil {
		return o.Issuer
	}
	return u.Host
}

// login is the secret half of one login: what ties answer and token to it.
type login struct {
	redirect, state, nonce, verifier string
}

func newLogin(redirect string) login {
	// rand.Text gives 130 bits; a verifier must have at least 43 characters.
	return login{redirect: redirect, state: rand.Text(), nonce: rand.Text(), verifier: rand.Text() + rand.Text()}
}

// url returns the page to show to the user.
func (l login) url(endpoint, clientID string) string {
	challenge := sha256.Sum256([]byte(l.verifier))
	return endpoint + "?" + url.Values{
		"response_type":         {"code"},
		"client_id":             {clientID},
		"redirect_uri":          {l.redirect},
		"scope":                 {scopes},
		"state":                 {l.state},
		"nonce":                 {l.nonce},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}.Encode()
}

// checkNonce checks that token was made for this login.
func (l login) checkNonce(token string) error {
	c, err := readClaims(token)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(l.nonce)) != 1 {
		return errors.New("log in: the token is of another login")
	}
	return nil
}

// wait serves the redirect on listener until it brings the code of this login
// and finish has traded that for a token, or ctx ends; start is called once the
// listener is served. The page that answers the redirect says how it ended.
func (l login) wait(ctx context.Context, listener net.Listener, host string, start func() error, finish func(code string) (string, error)) (token string, err error) {
	page := newCallback(l.state, host)
	server := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{}) // closed when serving ends, then serveErr is set
	var serveErr error
	go func() {
		defer close(served)
		serveErr = server.Serve(listener)
	}()
	defer func() {
		page.decide(err)
		// The page may still be on its way.
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, server.Shutdown(deadline))
		<-served
	}()
	if err := start(); err != nil {
		return "", fmt.Errorf("open login page: %w", err)
	}
	select {
	case got := <-page.answers:
		if got.err != nil {
			return "", got.err
		}
		return finish(got.code)
	case <-served:
		return "", fmt.Errorf("wait for login: %w", serveErr)
	case <-ctx.Done():
		return "", fmt.Errorf("wait for login: %w", ctx.Err())
	}
}
