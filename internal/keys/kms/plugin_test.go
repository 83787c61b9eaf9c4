package kms_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"sigstack/internal/keys/kms"
)

// keyFile names the variable with the file in which the plugin keeps its key.
const keyFile = "FAKE_KMS_KEY"

// TestMain is a plugin when it is run under a plugin's name.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "sigstore-kms-") {
		plugin()
		os.Exit(1) // which means nothing
	}
	os.Exit(m.Run())
}

// plugin behaves as the name of the key says.
func plugin() {
	var args common.PluginArgs
	if os.Args[1] != common.ProtocolVersion {
		panic("protocol version " + os.Args[1])
	}
	if err := json.Unmarshal([]byte(os.Args[2]), &args); err != nil {
		panic(err)
	}
	switch args.InitOptions.KeyResourceID {
	case "slow":
		time.Sleep(time.Hour)
	case "flood":
		fmt.Print(strings.Repeat(" ", 65<<10) + "{}")
	case "killed":
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Kill()
		time.Sleep(time.Hour)
	case "silent":
	case "garbage":
		fmt.Print("{}{}")
	case "null":
		fmt.Print("null")
	case "empty":
		fmt.Print("{}")
	case "fails":
		fmt.Fprintln(os.Stderr, "asked with "+os.Getenv("FAKE_KMS_TOKEN")+"\x1b[31m")
		answer(common.PluginResp{ErrorMessage: "token " + os.Getenv("FAKE_KMS_TOKEN") + " is not allowed to"})
	case "environment":
		answer(common.PluginResp{ErrorMessage: strings.Join(os.Environ(), " ")})
	default:
		work(args)
	}
}

func work(args common.PluginArgs) {
	switch args.MethodName {
	case common.PublicKeyMethodName:
		answer(common.PluginResp{PublicKey: &common.PublicKeyResp{PublicKeyPEM: publicPEM(args.InitOptions.KeyResourceID)}})
	case common.CreateKeyMethodName:
		if args.CreateKey.Algorithm != "ecdsa-p256" || args.CreateKey.CtxDeadline == nil {
			answer(common.PluginResp{ErrorMessage: "cannot make a key of algorithm " + args.CreateKey.Algorithm})
			return
		}
		answer(common.PluginResp{CreateKey: &common.CreateKeyResp{PublicKeyPEM: publicPEM("")}})
	case common.SignMessageMethodName:
		o := args.SignMessage.SignOptions.MessageOptions
		sig, err := private().Sign(rand.Reader, *o.Digest, *o.HashFunc)
		if err != nil {
			panic(err)
		}
		answer(common.PluginResp{SignMessage: &common.SignMessageResp{Signature: sig}})
	}
}

func publicPEM(kind string) []byte {
	var pub crypto.PublicKey = &private().PublicKey
	if kind == "rsa" {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		pub = &key.PublicKey
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if kind == "two" {
		data = append(data, data...)
	}
	return data
}

func private() *ecdsa.PrivateKey {
	der, err := os.ReadFile(os.Getenv(keyFile))
	if err != nil {
		panic(err)
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		panic(err)
	}
	return key
}

func answer(resp common.PluginResp) {
	data, err := json.Marshal(resp)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(data))
}

// install puts the plugin under the scheme fake into a directory and returns
// that and the key that it will use.
func install(tb testing.TB) (dir string, key *ecdsa.PrivateKey) {
	tb.Helper()
	dir = tb.TempDir()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-fake")); err != nil {
		tb.Fatal(err)
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, der, 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv(keyFile, file)
	return dir, key
}

func open(tb testing.TB, resource string, opts kms.Options) *kms.Key {
	tb.Helper()
	k, err := kms.Open("fake://"+resource, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}
