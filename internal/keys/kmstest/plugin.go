package kmstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
)

// plugin does one operation, or misbehaves as the name of the key says.
func plugin(argv []string) {
	var args common.PluginArgs
	if len(argv) != 3 || argv[1] != common.ProtocolVersion {
		panic(fmt.Sprintf("arguments %q", argv))
	}
	if err := json.Unmarshal([]byte(argv[2]), &args); err != nil {
		panic(err)
	}
	switch args.InitOptions.KeyResourceID {
	case "slow":
		time.Sleep(time.Hour)
	case "flood":
		fmt.Print(strings.Repeat(" ", 65<<10) + "{}")
	case "killed":
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		panic(err)
	case "silent":
	case "silent-once": // when asked for the public half, as a service that is slow just then
		if args.MethodName != common.PublicKeyMethodName {
			respond(work(args))
		}
	case "garbage":
		fmt.Print("{}{}")
	case "null":
		fmt.Print("null")
	case "empty":
		fmt.Print("{}")
	case "fails":
		fmt.Fprintln(os.Stderr, "asked with "+os.Getenv(TokenVariable)+"\x1b[31m")
		respond(common.PluginResp{}, errors.New("token "+os.Getenv(TokenVariable)+" is not allowed to"))
	case "environment":
		respond(common.PluginResp{}, errors.New(strings.Join(os.Environ(), " ")))
	default:
		respond(work(args))
	}
}

func respond(resp common.PluginResp, err error) {
	if err != nil {
		resp.ErrorMessage = err.Error()
	}
	data, err := json.Marshal(resp)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(data))
}

func work(args common.PluginArgs) (resp common.PluginResp, err error) {
	name := args.InitOptions.KeyResourceID
	path := filepath.Join(os.Getenv(keysVariable), name)
	switch args.MethodName {
	case common.PublicKeyMethodName:
		public, err := publicPEM(path, name)
		return common.PluginResp{PublicKey: &common.PublicKeyResp{PublicKeyPEM: public}}, err
	case common.CreateKeyMethodName:
		public, err := create(path, args.CreateKey)
		return common.PluginResp{CreateKey: &common.CreateKeyResp{PublicKeyPEM: public}}, err
	case common.SignMessageMethodName:
		key, err := private(path)
		if err != nil {
			return resp, err
		}
		o := args.SignMessage.SignOptions.MessageOptions
		sig, err := key.Sign(rand.Reader, *o.Digest, *o.HashFunc)
		return common.PluginResp{SignMessage: &common.SignMessageResp{Signature: sig}}, err
	default:
		return resp, fmt.Errorf("unsupported method: %s", args.MethodName)
	}
}

func create(path string, args *common.CreateKeyArgs) ([]byte, error) {
	curve, ok := map[string]elliptic.Curve{"ecdsa-p256": elliptic.P256(), "ecdsa-p384": elliptic.P384()}[args.Algorithm]
	if !ok || args.CtxDeadline == nil {
		return nil, fmt.Errorf("cannot make a key of algorithm %q", args.Algorithm)
	}
	if _, err := os.Stat(path); err != nil { // what exists stays, as in real services
		if _, err := makeKey(path, curve); err != nil {
			return nil, err
		}
	}
	return publicPEM(path, "")
}

// publicPEM returns the public half. Keys called rsa and two are not what they
// should be.
func publicPEM(path, name string) ([]byte, error) {
	key, err := private(path)
	if err != nil {
		return nil, err
	}
	var public crypto.PublicKey = &key.PublicKey
	if name == "rsa" {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		public = &other.PublicKey
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if name == "two" {
		data = append(data, data...)
	}
	return data, nil
}

func private(path string) (*ecdsa.PrivateKey, error) {
	der, err := os.ReadFile(path)
	if _, away := os.Stat(filepath.Dir(path)); away != nil {
		return nil, errors.New("the service does not answer")
	}
	if err != nil {
		return nil, errors.New("there is no such key")
	}
	return x509.ParseECPrivateKey(der)
}
