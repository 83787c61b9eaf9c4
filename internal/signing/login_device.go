package signing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

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
