package main

import (
	"context"

	"sigstack/internal/signing"
)

// login asks the user to log in, at the first signature. The requests are shown
// in JSON format too: without an answer nothing goes on.
func (a *app) login(issuer string, device bool) signing.TokenSource {
	o := signing.OIDC{Issuer: issuer}
	if device {
		return func(ctx context.Context) (string, error) { return o.Device(ctx, a.showDevice) }
	}
	return func(ctx context.Context) (string, error) {
		return o.Browser(ctx, func(url string) error {
			a.printTo(a.err, "Log in with a browser on this machine (elsewhere: --device) at\n  %s\n", url)
			return nil
		})
	}
}

func (a *app) showDevice(p signing.DevicePrompt) error {
	a.printTo(a.err, "Log in on any device at\n  %s\nand enter the code\n  %s\n", p.URL, p.Code)
	if p.CompleteURL != "" {
		a.printTo(a.err, "or open\n  %s\n", p.CompleteURL)
	}
	return nil
}
