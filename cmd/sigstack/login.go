package main

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/term"

	"sigstack/internal/signing"
)

// loginPatience is how long a login in the browser may take. A pipeline without a
// token must end, not hang.
const loginPatience = 10 * time.Minute

// login asks the user to log in, at the first signature. The requests are shown
// in JSON format too: without an answer nothing goes on.
func (a *app) login(o signing.OIDC, device bool) signing.TokenSource {
	if device {
		return func(ctx context.Context) (string, error) { return o.Device(ctx, a.showDevice) }
	}
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, loginPatience, errNobody)
		defer cancel()
		token, err := o.Browser(ctx, a.showLogin)
		if errors.Is(context.Cause(ctx), errNobody) {
			return "", errors.Join(errNobody, err)
		}
		return token, err
	}
}

var errNobody = errors.New("nobody has logged in within " + loginPatience.String() +
	": give a token with --identity-token or the variable " + signing.TokenVariable + ", or log in elsewhere with --device")

// showLogin opens the login page, and prints its URL for whoever prefers another
// browser or has none that we find.
func (a *app) showLogin(url string) error {
	if err := openBrowser(url); err != nil {
		a.printTo(a.err, "No browser could be opened here (%v). Log in with one on this machine at\n  %s\nor run the command again with --device, to log in elsewhere.\n", err, url)
		return nil
	}
	a.printTo(a.err, "Log in with the browser that opens, or another on this machine, at\n  %s\n", url)
	if !isTerminal(a.in) {
		a.printTo(a.err, "If nobody is at this machine: stop, and give a token with --identity-token or %s, or use --device.\n", signing.TokenVariable)
	}
	return nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) showDevice(p signing.DevicePrompt) error {
	a.printTo(a.err, "Log in on any device at\n  %s\nand enter the code\n  %s\n", p.URL, p.Code)
	if p.CompleteURL != "" {
		a.printTo(a.err, "or open\n  %s\n", p.CompleteURL)
	}
	return nil
}
