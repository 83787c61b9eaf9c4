package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	issuerService = "OIDC issuer"

	// DefaultClientID is the public OIDC client that Sigstore clients use.
	DefaultClientID = "sigstore"

	scopes = "openid email"
)

// OIDC gets identity tokens from one OpenID Connect issuer as a public client.
type OIDC struct {
	Issuer   string       // exactly as the issuer's discovery document names it
	ClientID string       // empty: DefaultClientID
	HTTP     *http.Client // nil: NewHTTPClient
}

// Password gets a token for user by the password grant (RFC 6749 §4.3). Issuers
// offer that grant for tests and machines only. Errors are *ServiceError (a wrong password, or a grant not offered) and
// *UnreachableError.
func (o OIDC) Password(ctx context.Context, user, password string) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	return o.exchange(ctx, d, url.Values{
		"grant_type": {"password"},
		"username":   {user},
		"password":   {password},
		"scope":      {scopes},
	}, "check user and password, and that the issuer offers the password grant")
}

// idTokenType is an ID token as token exchange names it (RFC 8693 §3).
const idTokenType = "urn:ietf:params:oauth:token-type:id_token"

// Exchange trades subject, an ID token that the provider behind the issuer's
// connector has made, for one of the issuer (RFC 8693): a login for machines.
// Errors are *ServiceError (a token that is not taken, or a grant not offered)
// and *UnreachableError.
func (o OIDC) Exchange(ctx context.Context, connector, subject string) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	got, err := o.grant(ctx, d, url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"connector_id":         {connector}, // Dex's own: which provider the token is of
		"subject_token":        {subject},
		"subject_token_type":   {idTokenType},
		"requested_token_type": {idTokenType},
		"scope":                {scopes},
	}, "check the token's issuer, audience and expiry, and that the connector exchanges tokens")
	if err != nil {
		return "", err
	}
	if got.IssuedType != idTokenType || got.AccessToken == "" {
		return "", fmt.Errorf("OIDC issuer %s gave no ID token", o.Issuer)
	}
	return got.AccessToken, nil // it holds whatever was issued (RFC 8693 §2.2.1)
}

// discovery is what we use of an issuer's metadata (OpenID Connect Discovery §3).
type discovery struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Device        string `json:"device_authorization_endpoint"`
}

// discover fetches and checks the issuer's metadata.
func (o OIDC) discover(ctx context.Context) (discovery, error) {
	where := strings.TrimSuffix(o.Issuer, "/") + "/.well-known/openid-configuration"
	got, err := call(ctx, o.client(), request{
		service: issuerService, method: http.MethodGet, url: where,
		next: "check the issuer URL",
	}, http.StatusOK)
	if err != nil {
		return discovery{}, err
	}
	var d discovery
	if err := json.Unmarshal(got.body, &d); err != nil {
		return discovery{}, fmt.Errorf("read metadata of OIDC issuer at %s: %w", where, err)
	}
	if d.Issuer != o.Issuer {
		return discovery{}, fmt.Errorf("read metadata of OIDC issuer at %s: it calls itself %q, not %q", where, d.Issuer, o.Issuer)
	}
	for _, endpoint := range []string{d.Authorization, d.Token, d.Device} {
		if err := o.checkEndpoint(endpoint); err != nil {
			return discovery{}, fmt.Errorf("read metadata of OIDC issuer at %s: %w", where, err)
		}
	}
	return d, nil
}

// checkEndpoint refuses to be led from an https issuer to a plaintext endpoint.
// An absent endpoint is fine until it is used.
func (o OIDC) checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("parse endpoint: %w", err)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(o.Issuer, "https:")) {
		return fmt.Errorf("endpoint %s is less protected than its issuer", endpoint)
	}
	return nil
}

// exchange posts form to the token endpoint and returns the ID token.
func (o OIDC) exchange(ctx context.Context, d discovery, form url.Values, next string) (string, error) {
	got, err := o.grant(ctx, d, form, next)
	if err != nil {
		return "", err
	}
	if got.IDToken == "" {
		return "", fmt.Errorf("OIDC issuer %s gave no ID token", o.Issuer)
	}
	return got.IDToken, nil
}

// granted is the token endpoint's answer (OpenID Connect Core §3.1.3.3).
type granted struct {
	IDToken     string `json:"id_token"`
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"` // of an exchange only
}

func (o OIDC) grant(ctx context.Context, d discovery, form url.Values, next string) (granted, error) {
	if d.Token == "" {
		return granted{}, fmt.Errorf("OIDC issuer %s has no token endpoint", o.Issuer)
	}
	form.Set("client_id", o.clientID())
	got, err := call(ctx, o.client(), formRequest(d.Token, form, next), http.StatusOK)
	if err != nil {
		return granted{}, err
	}
	var body granted
	if err := json.Unmarshal(got.body, &body); err != nil {
		return granted{}, errors.New("read answer of OIDC issuer: it is not JSON") // the body may hold tokens
	}
	return body, nil
}

func formRequest(endpoint string, form url.Values, next string) request {
	return request{
		service: issuerService, method: http.MethodPost, url: endpoint, next: next,
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
		body:   []byte(form.Encode()),
	}
}

func (o OIDC) client() *http.Client {
	if o.HTTP == nil {
		return NewHTTPClient()
	}
	return o.HTTP
}

func (o OIDC) clientID() string {
	if o.ClientID == "" {
		return DefaultClientID
	}
	return o.ClientID
}
