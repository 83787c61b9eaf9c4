package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"sigstack/internal/config"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/keys/token"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sigstack": main, "sigstore-kms-fake": kmstest.Plugin})
}

// TestScripts runs each subcommand as testdata/script describes: inputs,
// command, expected output and exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition: func(name string) (bool, error) {
			if name != "pkcs11" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return token.Supported, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"waitready": waitReady,
			"waitfor":   waitFor,
			"mintkeys":  mintKeys,
			"minttoken": mintToken,

			"eventually": eventually,
			"mode":       mode,
			"tamper":     tamper,

			"certificate": certificate,

			"privatefiles": privateTree,

			"registry":  startRegistry,
			"pushimage": pushImage,
			"pushindex": pushIndex,

			"githubtokens": githubTokens,

			"postgres": postgres(t),
			"sql":      sql,
		},
	})
}

// exits N PROGRAM ARG... runs a program and demands exit code N. Its output is
// left for stdout and stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N program arg...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// waitready DIR waits until the stack in DIR, running in the background, is
// ready, and sets URL.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitready dir")
	}
	file := filepath.Join(ts.MkAbs(args[0]), "run", "address")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		address, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		base, client := reach(ts, args[0], strings.TrimSpace(string(address)))
		resp, err := client.Get(base + "/readyz")
		if err != nil {
			continue
		}
		ts.Check(resp.Body.Close())
		if resp.StatusCode == http.StatusOK {
			ts.Setenv("ADDRESS", base)
			return
		}
	}
	ts.Fatalf("stack in %s did not get ready within a minute", args[0])
}

// reach returns how to ask the stack in dir at address: by TLS if it speaks that,
// as the kit has it.
func reach(ts *testscript.TestScript, dir, address string) (string, *http.Client) {
	l := stack.Layout{Dir: ts.MkAbs(dir)}
	conf, err := config.Load(l.Config())
	ts.Check(err)
	if conf.TLS == nil {
		return "http://" + address, http.DefaultClient
	}
	authorities, err := signing.LoadAuthorities(l.Client())
	ts.Check(err)
	client, err := authorities.HTTPClientTo(address, conf.URL)
	ts.Check(err)
	return conf.URL, client
}

// certificate HOST NAME makes a certificate for a host, signed by its own key:
// NAME.crt and NAME.key.
func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate host name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: args[:1],
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: cert}, ".key": {Type: "PRIVATE KEY", Bytes: der}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]+name), pem.EncodeToMemory(block), 0o600))
	}
}

// registry api|plain starts a registry in this process, with the Referrers API or
// without, and sets REGISTRY.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "api" && args[0] != "plain" {
		ts.Fatalf("usage: registry api|plain")
	}
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))
	server := httptest.NewServer(registry.New(quiet, registry.WithReferrersSupport(args[0] == "api")))
	ts.Defer(server.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
}

// pushimage REFERENCE pushes an image of random content.
func pushImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pushimage reference")
	}
	img, err := random.Image(64, 1)
	ts.Check(err)
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}

// mode OCTAL FILE... demands the permission bits of files.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode octal file...")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := info.Mode().Perm(); uint64(got) != want {
			ts.Fatalf("%s has mode %o, want %o", file, got, want)
		}
	}
}

// privatefiles DIR demands that no file below DIR is open to other users.
func privateTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: privatefiles dir")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %o, want nothing for others", path, info.Mode().Perm())
		}
		return err
	}))
}

// tamper FILE flips the lowest bit of the last byte.
func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tamper file")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	data[len(data)-1] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}
