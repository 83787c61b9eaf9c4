package signing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
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
	code, err := login.wait(ctx, l, func() error { return open(login.url(d.Authorization, o.clientID())) })
	if err != nil {
		return "", err
	}
	token, err := o.exchange(ctx, d, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {redirect},
		"code_verifier": {login.verifier},
	}, "log in again")
	if err != nil {
		return "", err
	}
	return token, login.checkNonce(token)
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

// loginAnswer is what the issuer's redirect brings.
type loginAnswer struct {
	code string
	err  error
}

// wait serves the redirect on listener until it brings an answer to this login
// or ctx ends; start is called once the listener is served.
func (l login) wait(ctx context.Context, listener net.Listener, start func() error) (_ string, err error) {
	answers := make(chan loginAnswer, 1)
	server := &http.Server{Handler: l.handler(answers), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{}) // closed when serving ends, then serveErr is set
	var serveErr error
	go func() {
		defer close(served)
		serveErr = server.Serve(listener)
	}()
	defer func() {
		// The page that answers the redirect may still be on its way.
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, server.Shutdown(deadline))
		<-served
	}()
	if err := start(); err != nil {
		return "", fmt.Errorf("open login page: %w", err)
	}
	select {
	case got := <-answers:
		return got.code, got.err
	case <-served:
		return "", fmt.Errorf("wait for login: %w", serveErr)
	case <-ctx.Done():
		return "", fmt.Errorf("wait for login: %w", ctx.Err())
	}
}

// handler takes the redirect. Requests with another state are not ours: they are
// turned away and the login goes on.
func (l login) handler(answers chan<- loginAnswer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(l.state)) != 1 {
			http.Error(w, "this is not the login that sigstack waits for", http.StatusBadRequest)
			return
		}
		got := loginAnswer{code: q.Get("code")}
		page := "Logged in. You can close this window."
		if got.code == "" {
			got.err = fmt.Errorf("log in: the issuer says %q %q", q.Get("error"), q.Get("error_description"))
			page = "The login failed; the terminal says why."
		}
		select {
		case answers <- got:
		default: // a reload of the page; the first answer counts
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(page + "\n")) // the browser may be gone, the answer is in
	})
	return mux
}

// DevicePrompt is what a user must be shown to log in on another device.
type DevicePrompt struct {
	URL         string // to open
	Code        string // to enter there
	CompleteURL string // URL with the code filled in; may be empty
}

// deviceAnswer is RFC 8628 §3.2.
type deviceAnswer struct {
	DeviceCode  string `json:"device_code"`
	UserCode    string `json:"user_code"`
	URL         string `json:"verification_uri"`
	CompleteURL string `json:"verification_uri_complete"`
	Interval    int    `json:"interval"` // seconds between polls; 0: 5
}

// Device gets a token by the device flow (RFC 8628): show is called once with
// what the user needs, then the issuer is polled until the user is done, the
// issuer gives up, or ctx ends.
func (o OIDC) Device(ctx context.Context, show func(DevicePrompt) error) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	if d.Device == "" {
		return "", fmt.Errorf("OIDC issuer %s has no device flow", o.Issuer)
	}
	verifier := rand.Text() + rand.Text()
	device, err := o.startDevice(ctx, d, verifier)
	if err != nil {
		return "", err
	}
	if err := show(DevicePrompt{URL: device.URL, Code: device.UserCode, CompleteURL: device.CompleteURL}); err != nil {
		return "", fmt.Errorf("show device code: %w", err)
	}
	form := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code":   {device.DeviceCode},
		"code_verifier": {verifier},
	}
	pause := time.Duration(device.Interval) * time.Second
	for {
		if err := sleep(ctx, pause); err != nil {
			return "", fmt.Errorf("wait for login: %w", err)
		}
		token, err := o.exchange(ctx, d, form, "log in again")
		switch {
		case pending(err, "authorization_pending"):
		case pending(err, "slow_down"):
			pause += 5 * time.Second // RFC 8628 §3.5
		default:
			return token, err
		}
	}
}

func (o OIDC) startDevice(ctx context.Context, d discovery, verifier string) (deviceAnswer, error) {
	challenge := sha256.Sum256([]byte(verifier))
	got, err := call(ctx, o.client(), formRequest(d.Device, url.Values{
		"client_id":             {o.clientID()},
		"scope":                 {scopes},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}, "check that the issuer offers the device flow"), http.StatusOK)
	if err != nil {
		return deviceAnswer{}, err
	}
	var device deviceAnswer
	if err := json.Unmarshal(got.body, &device); err != nil {
		return deviceAnswer{}, errors.New("read answer of OIDC issuer: it is not JSON")
	}
	if device.DeviceCode == "" || device.URL == "" || device.Interval < 0 {
		return deviceAnswer{}, fmt.Errorf("OIDC issuer %s gave no usable device code", o.Issuer)
	}
	if device.Interval == 0 {
		device.Interval = 5
	}
	return device, nil
}

// pending reports whether err is the issuer's answer "not yet" of the given code.
func pending(err error, code string) bool {
	var e *ServiceError
	return errors.As(err, &e) && e.code == code
}
