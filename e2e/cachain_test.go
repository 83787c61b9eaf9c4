package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// chains runs a command about the chains of the CA.
func chains(t *testing.T, s *e2etest.Stack, command string, args ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append([]string{"ca", "chain", command, "--dir", s.Dir, "--output", "json"}, args...)...)
}

func chainList(t *testing.T, s *e2etest.Stack) []stack.ChainStatus {
	t.Helper()
	r := chains(t, s, "list")
	var list stack.ChainList
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("ca chain list: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return list.Chains
}

// editConfig replaces text in the configuration of the process with a service.
func editConfig(t *testing.T, s *e2etest.Stack, service string, replace ...string) {
	t.Helper()
	path := filepath.Join(s.ServiceDir(service), "config.yaml")
	before := e2etest.ReadFile(t, path)
	after := strings.NewReplacer(replace...).Replace(before)
	if after == before {
		t.Fatalf("%s has nothing of %q", path, replace)
	}
	if err := os.WriteFile(path, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func reload(t *testing.T, s *e2etest.Stack, service string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), "reload", "--dir", s.ServiceDir(service))
}

// useChain lets config.yaml name the chain of a key, and waits until it issues. A
// reload takes it when every client has it, or says that it waits; then it is taken by
// itself.
func useChain(t *testing.T, s *e2etest.Stack, from, to string) {
	t.Helper()
	editConfig(t, s, "ca", "\n  key: "+from+"\n", "\n  key: "+to+"\n", "keys/"+from+".chain.pem", "keys/"+to+".chain.pem")
	if r := reload(t, s, "ca"); r.Code != 0 || !strings.Contains(r.Stdout, "with key "+to) {
		t.Fatalf("reload: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	active := func(c stack.ChainStatus) bool { return c.State == stack.ChainActive && c.Key == to }
	for deadline := time.Now().Add(time.Minute); !slices.ContainsFunc(chainList(t, s), active); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the chain of key %s is not used within a minute", to)
		}
	}
}

// foreignChain is a chain of another root, as a company's own authority would issue
// it, and its key.
func foreignChain(t *testing.T) (chain, key string) {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	interKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-time.Minute)
	top, err := pki.NewRoot(rootKey, pkix.Name{CommonName: "corp root", Organization: []string{"corp"}}, since)
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(top, rootKey, interKey.Public(), pkix.Name{CommonName: "corp code signing", Organization: []string{"corp"}}, x509.ExtKeyUsageCodeSigning, since)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(interKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return e2etest.WriteFile(t, dir, "chain.pem", string(pki.CertificatesPEM([]*x509.Certificate{inter, top}))),
		e2etest.WriteFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// certified is a certificate and the trusted root that was current when it was asked
// for.
type certified struct {
	chain       []*x509.Certificate
	trustedRoot string
}

// writer asks for certificates until it is stopped. Each has to come.
func writer(ctx context.Context, s *e2etest.Stack, token string) (out []certified, err error) {
	client := &http.Client{Transport: e2etest.Transport()}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		trusted, err := os.ReadFile(s.Kit("trusted_root.json"))
		if err != nil {
			return out, err
		}
		body, err := certificateRequest(token)
		if err != nil {
			return out, err
		}
		status, answer, err := e2etest.Post(context.WithoutCancel(ctx), client, s.URL+"/api/v2/signingCert", body)
		if err != nil || status != http.StatusOK {
			return out, errors.Join(err, fmt.Errorf("status %d: %s", status, answer))
		}
		parsed, _, err := parseCertified(answer)
		if err != nil {
			return out, err
		}
		c := certified{trustedRoot: string(trusted)}
		for _, p := range parsed {
			cert, err := x509.ParseCertificate(p.Raw)
			if err != nil {
				return out, err
			}
			c.chain = append(c.chain, cert)
		}
		out = append(out, c)
	}
	return out, nil
}

// startWriters lets 32 clients ask for certificates. stop ends that, and returns all
// that they got; a request that failed has failed the test.
func startWriters(t *testing.T, s *e2etest.Stack) (stop func() []certified) {
	t.Helper()
	const writers = 32
	token := s.Token(t)
	var mu sync.Mutex
	var all []certified
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range writers {
		wg.Go(func() {
			got, err := writer(ctx, s, token)
			if err != nil {
				t.Errorf("a request failed: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, got...)
		})
	}
	end := func() []certified {
		cancel()
		wg.Wait()
		return all
	}
	t.Cleanup(func() { end() })
	return end
}

// verifyWith verifies a certificate and its SCT as sigstore-go does, with nothing
// but a trusted root.
func (c certified) verifyWith(trusted *root.TrustedRoot) error {
	chains, err := verify.VerifyLeafCertificate(c.chain[0].NotBefore.Add(time.Second), c.chain[0], trusted)
	if err != nil {
		return err
	}
	return verify.VerifySignedCertificateTimestamp(chains, 1, trusted)
}

// TestChainSwitchUnderWriters: 32 clients ask for certificates while the CA goes over
// to a new chain of its root, and on to one of another root. No request fails; each
// certificate verifies with the trusted root that was current when it was issued,
// and with the newest, closed windows and all; and so do cosign's signatures.
func TestChainSwitchUnderWriters(t *testing.T) {
	oneProcess(t)
	s := e2etest.Start(t, t.TempDir())
	first := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	stop := startWriters(t, s)
	signed := []signedBlob{signWithBoth(t, s, "before")}
	if r := chains(t, s, "prepare"); r.Code != 0 {
		t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
	}
	useChain(t, s, "ca", "ca-2")
	signed = append(signed, signWithBoth(t, s, "second chain"))
	chain, key := foreignChain(t)
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "keys", "import", "corp", "--dir", s.Dir, "--from", key)
	if r := chains(t, s, "prepare", "--chain", chain, "--key", "corp"); r.Code != 0 {
		t.Fatalf("prepare of another root: exit %d\n%s", r.Code, r.Stderr)
	}
	useChain(t, s, "ca-2", "corp")
	signed = append(signed, signWithBoth(t, s, "third chain"))
	if r := chains(t, s, "close", "--yes"); r.Code != 0 {
		t.Fatalf("close: exit %d\n%s", r.Code, r.Stderr)
	}
	time.Sleep(time.Second) // some certificates more
	all := stop()

	newest := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	checkCertified(t, all, 3, first, newest)
	for _, b := range signed {
		b.verify(t, s, b.trustedRoot)
		b.verify(t, s, newest)
	}
	if r := signed[2].try(t, s, first); r.Code == 0 {
		t.Error("cosign accepts the third chain with the first trusted root")
	}
	for _, c := range chainList(t, s) {
		if c.State == stack.ChainRetired && c.End.IsZero() {
			t.Errorf("chain %s is open after close", c.Subject)
		}
	}
	s.Stop()
	s = e2etest.Start(t, s.Dir) // with its write-through test
	for _, b := range signed {
		b.verify(t, s, e2etest.ReadFile(t, s.Kit("trusted_root.json")))
	}
}

// checkCertified verifies each certificate with its trusted root and with the newest.
func checkCertified(t *testing.T, all []certified, chains int, first, newest string) {
	t.Helper()
	roots := map[string]*root.TrustedRoot{}
	trusted := func(text string) *root.TrustedRoot {
		if roots[text] == nil {
			r, err := root.NewTrustedRootFromJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			roots[text] = r
		}
		return roots[text]
	}
	issuers, unknown := map[string]int{}, 0
	for _, c := range all {
		issuers[c.chain[1].Subject.CommonName]++
		for what, text := range map[string]string{"current at its time": c.trustedRoot, "newest": newest} {
			if err := c.verifyWith(trusted(text)); err != nil {
				t.Fatalf("certificate by %s does not verify with the trusted root %s: %v", c.chain[1].Subject, what, err)
			}
		}
		if c.verifyWith(trusted(first)) != nil {
			unknown++
		}
	}
	t.Logf("%d certificates by %v, verified with %d trusted roots", len(all), issuers, len(roots))
	if len(issuers) != chains || unknown == 0 {
		t.Errorf("certificates by %v, of which the first trusted root does not know %d: want some of %d chains", issuers, unknown, chains)
	}
}

// signedBlob is a blob that was signed by two clients, and the trusted root of then.
type signedBlob struct{ blob, cosign, sigstack, trustedRoot string }

func signWithBoth(t *testing.T, s *e2etest.Stack, what string) signedBlob {
	t.Helper()
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", what+"\n")
	b := signedBlob{blob, blob + ".cosign", blob + ".sigstack", e2etest.ReadFile(t, s.Kit("trusted_root.json"))}
	s.SignWithCosign(t, blob, b.cosign)
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", b.sigstack, blob)
	return b
}

func (b signedBlob) try(t *testing.T, s *e2etest.Stack, trustedRoot string) e2etest.Result {
	t.Helper()
	file := e2etest.WriteFile(t, t.TempDir(), "trusted_root.json", trustedRoot)
	return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append([]string{"verify-blob", "--trusted-root", file, "--bundle", b.cosign, b.blob}, s.IdentityArgs()...)...)
}

func (b signedBlob) verify(t *testing.T, s *e2etest.Stack, trustedRoot string) {
	t.Helper()
	e2etest.WantAccepted(t, "cosign 3, "+string(bytes.TrimSpace([]byte(e2etest.ReadFile(t, b.blob)))), b.try(t, s, trustedRoot))
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, b.blob, b.sigstack))
}

// TestPreparedChainAfterSplit: the process with the authority goes over to a chain that
// was prepared before the stack was split, under as many writers.
func TestPreparedChainAfterSplit(t *testing.T) {
	oneProcess(t)
	dir := t.TempDir()
	s := e2etest.StartToSplit(t, dir)
	first := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	before := signWithBoth(t, s, "before the split")
	if r := chains(t, s, "prepare"); r.Code != 0 {
		t.Fatalf("prepare: exit %d\n%s", r.Code, r.Stderr)
	}
	s.Stop()
	s = e2etest.StartSplit(t, dir)
	ca := filepath.Join(dir, "processes", "ca")
	front := filepath.Join(dir, "processes", "front")
	kit := e2etest.ReadFile(t, filepath.Join(front, "client", "trusted_root.json"))
	if kit != e2etest.ReadFile(t, s.Kit("trusted_root.json")) {
		t.Error("the split changed the trusted root")
	}
	stop := startWriters(t, s)
	path := filepath.Join(ca, "config.yaml")
	config := strings.NewReplacer("\n  key: ca\n", "\n  key: ca-2\n", "keys/ca.chain.pem", "keys/ca-2.chain.pem").Replace(e2etest.ReadFile(t, path))
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r := e2etest.Run(t, nil, e2etest.Sigstack(t), "ca", "chain", "list", "--dir", ca)
		if strings.Contains(r.Stdout, "active   ca-2") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process did not go over to the chain by itself: %s%s", r.Stdout, r.Stderr)
		}
	}
	after := signWithBoth(t, s, "after the switch")
	checkCertified(t, stop(), 2, first, kit)
	before.verify(t, s, kit)
	after.verify(t, s, kit)
	r := e2etest.Run(t, nil, e2etest.Sigstack(t), "ca", "chain", "prepare", "--dir", ca, "--offline", filepath.Join(dir, "offline"))
	if r.Code != 1 || !strings.Contains(r.Stderr, "before `sigstack split`") {
		t.Errorf("prepare in a split stack: exit %d, want that it is refused\n%s", r.Code, r.Stderr)
	}
	s.Stop()
	s = e2etest.StartSplit(t, dir)
	after.verify(t, s, kit)
}
