package e2etest

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// pageWithin bounds one step in a browser, from the click to the loaded page.
const pageWithin = 30 * time.Second

// Browser is a Chromium of one test: an empty profile, and no way off this
// machine.
type Browser struct {
	t   *testing.T
	ctx context.Context // the tab's: chromedp hangs its state on it
}

// StartBrowser starts Chromium, which ends with the test and trusts the stacks
// that run already. A failed test logs what the page showed last.
func StartBrowser(t *testing.T) *Browser {
	t.Helper()
	home := t.TempDir()
	trustInBrowser(t, home)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.NoInheritEnv,
		chromedp.Env("HOME="+home, "PATH="+os.Getenv("PATH")),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
	)
	alloc, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(end)
	b := &Browser{t: t}
	b.ctx, _ = chromedp.NewContext(alloc,
		// Events that are newer than the protocol of chromedp are none of ours.
		chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		if err := chromedp.Cancel(b.ctx); err != nil {
			t.Errorf("end chromium: %v", err)
		}
	})
	// The browser lives as long as the context of its first use.
	if err := chromedp.Do(b.ctx); err != nil {
		t.Fatalf("start chromium: %v (run `make deps` first)", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the browser is at %s, which says:\n%s", b.URL(), b.Text())
		}
	})
	return b
}

// trustInBrowser puts the stacks' TLS authorities where Chromium looks for a
// user's own, the NSS database below home.
func trustInBrowser(t *testing.T, home string) {
	t.Helper()
	bundle := trusted.bundle()
	if len(bundle) == 0 {
		return
	}
	if _, err := exec.LookPath("certutil"); err != nil {
		t.Fatalf("%v: run `make deps` first", err)
	}
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	MustRun(t, nil, "certutil", "-N", "-d", "sql:"+db, "--empty-password")
	for n := 1; ; n++ {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return
		}
		file := WriteFile(t, home, "authority.pem", string(pem.EncodeToMemory(block)))
		MustRun(t, nil, "certutil", "-A", "-d", "sql:"+db, "-n", fmt.Sprintf("stack %d", n), "-t", "C,,", "-i", file)
	}
}

// In is the same browser for a subtest, whose failures are then its own.
func (b *Browser) In(t *testing.T) *Browser { return &Browser{t: t, ctx: b.ctx} }

// Open loads a page and returns its HTTP status, after redirects.
func (b *Browser) Open(url string) int {
	b.t.Helper()
	return b.load("open "+url, chromedp.Navigate(url))
}

// Click presses the first element that selector finds, which must lead to a
// page, and returns that page's HTTP status, after redirects.
func (b *Browser) Click(selector string) int {
	b.t.Helper()
	return b.load("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (b *Browser) load(what string, step chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageWithin)
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, step)
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	return int(resp.Status)
}

// Type enters text in the field that selector finds, in place of what it held.
func (b *Browser) Type(selector, text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageWithin)
	defer cancel()
	field := chromedp.CSS(selector)
	if err := chromedp.Do(ctx, chromedp.Clear(field), chromedp.SendKeys(field, text)); err != nil {
		b.t.Fatalf("type in %s: %v", selector, err)
	}
}

// Has tells whether the page has an element that selector finds.
func (b *Browser) Has(selector string) bool {
	b.t.Helper()
	return evaluate[bool](b, "document.querySelector("+quote(selector)+") !== null")
}

// Value is what the field that selector finds holds.
func (b *Browser) Value(selector string) string {
	b.t.Helper()
	return evaluate[string](b, "document.querySelector("+quote(selector)+")?.value ?? ''")
}

// Text is the page's text as people see it.
func (b *Browser) Text() string {
	b.t.Helper()
	return evaluate[string](b, "document.body.innerText")
}

// URL is the page's address.
func (b *Browser) URL() string {
	b.t.Helper()
	return evaluate[string](b, "location.href")
}

// WantText fails the test unless the page shows every one of texts, whatever
// their case.
func (b *Browser) WantText(texts ...string) {
	b.t.Helper()
	page := strings.ToLower(b.Text())
	for _, text := range texts {
		if !strings.Contains(page, strings.ToLower(text)) {
			b.t.Errorf("page %s does not say %q:\n%s", b.URL(), text, page)
		}
	}
}

func evaluate[T any](b *Browser, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageWithin)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Errorf("ask the page for %s: %v", script, err)
	}
	return got
}

// quote returns s as a JavaScript string; selectors hold no more than ASCII.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
