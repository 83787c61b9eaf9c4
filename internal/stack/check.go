package stack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/merkle"
	"sigstack/internal/signing"
)

// Retries of failed start checks.
const (
	checkTimeout  = 30 * time.Second
	firstRetry    = time.Second
	longestRetry  = 30 * time.Second
	checkedDetail = "start check passed"
)

// checkUntilReady runs the start's checks until they pass once or ctx ends; the
// stack answers 503 at /readyz and names the failing step meanwhile. It reports
// whether they passed.
func (s *Stack) checkUntilReady(ctx context.Context) bool {
	if s.conf.Front() && !s.awaitLinks(ctx) {
		return false
	}
	for wait := firstRetry; ; wait = min(2*wait, longestRetry) {
		err := s.startCheck(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.opts.Log.ErrorContext(ctx, "start check failed", slog.Any("error", err), slog.Duration("retry_in", wait))
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// startCheck makes every service ready, or down with the reason.
func (s *Stack) startCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	check := s.readOnlyCheck
	if s.test() && !s.conf.Behind() && s.maySelfTest() {
		check = s.writeThroughCheck
	}
	err := check(ctx)
	for _, name := range s.serviceNames() {
		if name == "tuf" {
			s.reportTUF(s.services.tuf.Health()) // it rates itself
			continue
		}
		if err != nil {
			s.ready.Set(name, httpd.Down, fault.Public(err)) // the log has the rest
			continue
		}
		s.ready.Set(name, httpd.OK, checkedDetail)
	}
	s.setChecked(ctx, err)
	return err
}

// readOnlyCheck tries every key, proves the newest entry of every log and asks
// the listener by TLS.
func (s *Stack) readOnlyCheck(ctx context.Context) error {
	for _, key := range s.services.allKeys() {
		if err := key.Test(); err != nil {
			return fault.Wrap(fault.Unavailable, err, "start check failed: key "+key.Name)
		}
	}
	for name, tree := range s.services.allTrees() {
		if err := proveNewest(ctx, tree); err != nil {
			return fault.Wrap(fault.Unavailable, err, "start check failed: newest entry of the "+name+" tree")
		}
	}
	if err := s.checkTLS(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, err, "start check failed: TLS of the listener")
	}
	return nil
}

// proveNewest reads the tree's last entry and verifies it against the head.
func proveNewest(ctx context.Context, tree *merkle.Tree) error {
	head := tree.Head()
	if head.Size == 0 {
		return nil
	}
	entry, err := tree.Entry(ctx, head.Size-1)
	if err != nil {
		return err
	}
	p, err := tree.Inclusion(ctx, entry.Index, head.Size)
	if err != nil {
		return err
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry.Leaf.Value)
	return proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, leaf, p.Hashes, head.Root[:])
}

// writeThroughCheck signs and verifies as a stranger would, over the listener:
// token by the demo user's password, certificate, entry, timestamp.
func (s *Stack) writeThroughCheck(ctx context.Context) error {
	client := s.selfClient()
	defer client.CloseIdleConnections()
	shown := &showToken{to: client.Transport}
	client.Transport = shown
	kit, err := signing.LoadKit(s.layout.Client())
	if err != nil {
		return selfTestFailed(err)
	}
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: kit, HTTP: client, Now: s.opts.Now, Log: s.opts.Log,
		Token: func(ctx context.Context) (string, error) {
			email, password, err := s.layout.DemoPassword()
			if err != nil {
				return "", err
			}
			shown.token, err = signing.OIDC{Issuer: s.conf.URL + "/dex", HTTP: client}.Password(ctx, email, password)
			return shown.token, err
		},
	})
	if err != nil {
		return selfTestFailed(err)
	}
	// The artifact is random, so that every start adds an entry of its own.
	if _, err := session.SignDigest(ctx, sha256.Sum256([]byte(rand.Text()))); err != nil {
		return selfTestFailed(err)
	}
	return nil
}

// toSelf speaks plain HTTP, as a listener behind a proxy does, whatever scheme
// the URL has: the proxy need not be there yet.
type toSelf struct{ *http.Transport }

func (t toSelf) RoundTrip(r *http.Request) (*http.Response, error) {
	plain := r.Clone(r.Context())
	plain.URL.Scheme = "http"
	return t.Transport.RoundTrip(plain)
}

// selfTestFailed shows the whole error to everybody: a test stack has nothing to
// hide, and who runs one wants to know.
func selfTestFailed(err error) error {
	return fault.Wrap(fault.Unavailable, err, "self-test: "+err.Error())
}

// dialSelf connects to the stack's own listener whatever the URL says, which
// need not resolve on this machine.
func (s *Stack) dialSelf(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, s.listener.Addr().String())
}

// DemoPassword reads how the demo user of a test stack logs in.
func (l Layout) DemoPassword() (email, password string, err error) {
	data, err := os.ReadFile(l.DemoUser())
	if err != nil {
		return "", "", fmt.Errorf("only a test stack has a demo user: %w", err)
	}
	email, password, ok := strings.Cut(strings.TrimSuffix(string(data), "\n"), "\n")
	if !ok || strings.Contains(password, "\n") {
		return "", "", fmt.Errorf("%s: want two lines, e-mail and password", l.DemoUser())
	}
	return email, password, nil
}
