package stack

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// liveCheck asks the services that files name what they are, and holds it against
// the files alone: as a client would that has nothing else.
type liveCheck struct {
	http   *http.Client
	now    time.Time
	files  map[string][]byte // by name
	root   trust.Root
	config trust.Config
	own    string                  // how URLs of this stack's services begin
	asked  func(ctLog string) bool // whether a CT log is to answer
	known  map[string]bool         // CT logs that were published before, by URL

	flaws   []trust.Flaw
	entries uint64 // of the log, once it has answered
}

// newLiveCheck prepares the check of targets, which CheckFiles has found in order.
func (s *Stack) newLiveCheck(ctx context.Context, published, targets []trust.Target, p Publication) (*liveCheck, error) {
	c := &liveCheck{now: s.opts.Now(), files: map[string][]byte{}, known: map[string]bool{}, own: s.conf.URL + "/"}
	for _, t := range targets {
		c.files[t.Name] = t.Data
	}
	var err error
	if c.root, err = trust.ParseTrustedRoot(c.files[trust.TrustedRootName]); err != nil {
		return nil, err
	}
	if c.config, err = trust.ParseSigningConfig(c.files[trust.SigningConfigName]); err != nil {
		return nil, err
	}
	for _, t := range published {
		if old, err := trust.ParseTrustedRoot(t.Data); t.Name == trust.TrustedRootName && err == nil {
			for _, l := range old.CTLogs {
				c.known[l.BaseURL] = true
			}
		}
	}
	// A log of others has to be there when clients are told of it: later it need not be
	// any more. One of this stack that is prepared is not there yet.
	logs := s.material().CTLogs
	c.asked = func(base string) bool {
		i := slices.IndexFunc(logs, func(l trust.Log) bool { return l.BaseURL == base })
		if prefix, own := strings.CutPrefix(base, c.own); own {
			return s.services.ctlog == nil || byPrefix(s.services.ctlog.all(), prefix) != nil
		}
		return !c.known[base] || i < 0 || !logs[i].Idle
	}
	a, err := s.newAsker(!s.serving || slices.Contains(p.Unchecked, checkURL))
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: a}
	if s.serving {
		c.reach(ctx, a, s.conf.URL)
	}
	return c, nil
}

func (c *liveCheck) close() { c.http.CloseIdleConnections() }

// flaw notes what a check of a service at a URL has found.
func (c *liveCheck) flaw(check, next string, err error) {
	if err != nil {
		c.flaws = append(c.flaws, trust.Flaw{Check: check, What: err.Error(), Next: next})
	}
}

// reach finds out whether the stack's URL leads anywhere. If it does not, that is
// told once, and the rest is asked by the inside.
func (c *liveCheck) reach(ctx context.Context, a *asker, base string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/healthz", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = (&http.Client{Transport: a.public}).Do(req); err == nil {
			err = resp.Body.Close()
		}
	}
	if err == nil {
		return
	}
	a.direct = true
	c.flaw(checkURL, "see that this machine resolves the name and reaches the proxy, as clients do", fmt.Errorf("%s cannot be reached from this machine: %w", base, err))
}

// run asks every service once.
func (c *liveCheck) run(ctx context.Context) {
	for _, s := range c.open(c.config.TLogs) {
		c.flaw("tlog@"+s.URL, "see that the log runs with the keys of this directory, and that its URL leads to it", c.checkTLog(ctx, s))
	}
	for _, s := range c.open(c.config.CAs) {
		c.flaw("ca@"+s.URL, "see that the authority issues with a chain that is to be published, and that its URL leads to it", c.checkCA(ctx, s))
	}
	for _, s := range c.open(c.config.TSAs) {
		c.flaw("tsa@"+s.URL, "see that the authority stamps with a chain that is to be published, and that its URL leads to it", c.checkTSA(ctx, s))
	}
	for _, s := range c.open(c.config.OIDC) {
		c.flaw("issuer@"+s.URL, "see that the issuer runs, and that its URL leads to it", c.checkIssuer(ctx, s))
	}
	seen := map[string]bool{}
	for _, l := range c.root.CTLogs {
		if c.asked(l.BaseURL) && !seen[l.BaseURL] {
			seen[l.BaseURL] = true
			c.flaw("ctlog@"+l.BaseURL, "see that the CT log runs with the key that is to be published, and that its URL leads to it", c.checkCTLog(ctx, l.BaseURL))
		}
	}
}

// open are the services that clients may choose now.
func (c *liveCheck) open(list []trust.ConfigService) []trust.ConfigService {
	return slices.DeleteFunc(slices.Clone(list), func(s trust.ConfigService) bool { return !s.Window.Contains(c.now) })
}

// checkTLog verifies the checkpoints of all shards with the keys that clients will
// have for their URL.
func (c *liveCheck) checkTLog(ctx context.Context, s trust.ConfigService) error {
	logs := slices.DeleteFunc(slices.Clone(c.root.TLogs), func(l trust.KnownLog) bool { return l.BaseURL != s.URL })
	if s.APIVersion == 2 {
		note, err := c.get(ctx, s.URL+"/api/v2/checkpoint")
		if err != nil {
			return err
		}
		_, err = verifyCheckpoint(string(note), logs, 2, c.now)
		return err
	}
	type shard struct {
		SignedTreeHead string `json:"signedTreeHead"`
		TreeSize       uint64 `json:"treeSize"`
		TreeID         string `json:"treeID"`
	}
	var info struct {
		shard

		InactiveShards []shard `json:"inactiveShards"`
	}
	if err := c.getJSON(ctx, s.URL+"/api/v1/log", &info); err != nil {
		return err
	}
	c.entries = info.TreeSize
	for _, old := range info.InactiveShards {
		c.entries += old.TreeSize
		if _, err := verifyCheckpoint(old.SignedTreeHead, logs, 1, time.Time{}); err != nil {
			return fmt.Errorf("frozen tree %s: %w", old.TreeID, err)
		}
	}
	active, err := verifyCheckpoint(info.SignedTreeHead, logs, 1, c.now)
	if err != nil {
		return fmt.Errorf("tree %s, which takes entries: %w", info.TreeID, err)
	}
	key, err := c.get(ctx, s.URL+"/api/v1/log/publicKey")
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(key); block == nil || !bytes.Equal(block.Bytes, active.PublicKey) {
		return fmt.Errorf("%s/api/v1/log/publicKey is not the key that signs its checkpoints", s.URL)
	}
	return nil
}

// checkCA compares the authority's trust bundle with the chains of the files: the
// first issues now.
func (c *liveCheck) checkCA(ctx context.Context, s trust.ConfigService) error {
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}
	if err := c.getJSON(ctx, s.URL+"/api/v2/trustBundle", &bundle); err != nil {
		return err
	}
	if len(bundle.Chains) == 0 {
		return fmt.Errorf("%s/api/v2/trustBundle has no chain", s.URL)
	}
	for i, chain := range bundle.Chains {
		certs, err := pki.ParseCertificatesPEM([]byte(strings.Join(chain.Certificates, "\n")))
		if err != nil {
			return fmt.Errorf("%s/api/v2/trustBundle: %w", s.URL, err)
		}
		if err := knows(c.root.CAs, certs, i == 0, c.now); err != nil {
			return err
		}
	}
	return nil
}

// knows demands that a chain is among authorities and, if it signs, that it is
// trusted now.
func knows(as []trust.Authority, certs []*x509.Certificate, signs bool, now time.Time) error {
	same := func(a trust.Authority) bool { return slices.EqualFunc(a.Chain, certs, (*x509.Certificate).Equal) }
	i := slices.IndexFunc(as, same)
	switch {
	case i < 0:
		return fmt.Errorf("the service signs with the chain of %s (sha256:%s), which is not in the %s to be published", certs[0].Subject, fingerprint(certs[0]), trust.TrustedRootName)
	case signs && !slices.ContainsFunc(as, func(a trust.Authority) bool { return same(a) && a.Window.Contains(now) }):
		return fmt.Errorf("the service signs with the chain of %s, which would not be trusted now", certs[0].Subject)
	}
	return nil
}

// checkIssuer compares the name that the issuer gives itself.
func (c *liveCheck) checkIssuer(ctx context.Context, s trust.ConfigService) error {
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if err := c.getJSON(ctx, s.URL+"/.well-known/openid-configuration", &doc); err != nil {
		return err
	}
	if doc.Issuer != s.URL {
		return fmt.Errorf("%s calls itself %q", s.URL, doc.Issuer)
	}
	return nil
}

// hostname is the name that a log at base signs by.
func hostname(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
