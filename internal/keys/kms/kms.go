// Package kms uses keys that live in a key management service, through sigstore's
// plugin protocol, version 1: a program sigstore-kms-SCHEME is run once for each
// operation. It bounds what a program may take; secrets reach one by its own
// environment only, and what a key is trusted for is internal/keys'.
package kms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/fault"
)

// programPrefix begins the name of every program of the protocol.
const programPrefix = "sigstore-kms-"

// Bounds of the use of one key.
const (
	maxProcesses   = 8                // at a time
	defaultTimeout = 15 * time.Second // for one operation, waiting included
)

// Options say where programs are and where what they report goes.
type Options struct {
	Dir     string        // where programs are looked for; empty: PATH
	Timeout time.Duration // for one operation, waiting included; 0: 15 s
	Log     *slog.Logger
}

// Key is a key in a service. It is safe for concurrent use.
type Key struct {
	program  string
	resource string // the URI without its scheme, as the protocol wants it
	log      *slog.Logger
	timeout  time.Duration
	permits  *semaphore.Weighted // one for each process
}

// reference is SCHEME://REST. REST has no "@", so that no password hides in it,
// and nothing that cannot be printed. How long both may be is not in the pattern, whose
// compilation each command would wait for.
var reference = regexp.MustCompile(`^([a-z][a-z0-9-]*)://([!-?A-~]+)$`)

// The longest SCHEME and REST.
const (
	maxScheme   = 32
	maxResource = 512
)

// CheckURI refuses what is not a reference to a key.
func CheckURI(uri string) error {
	_, _, err := split(uri)
	return err
}

func split(uri string) (scheme, resource string, err error) {
	m := reference.FindStringSubmatch(uri)
	if m == nil || len(m[1]) > maxScheme || len(m[2]) > maxResource {
		return "", "", errors.New("want SCHEME://KEY, without spaces or @, for which a program sigstore-kms-SCHEME is run")
	}
	return m[1], m[2], nil
}

// absent begins the error message of a program that has asked its service and
// knows that there is no such key. The protocol itself has no way to say so.
const absent = "there is no such key"

// Open finds the program for uri. It is not run yet. Errors of the methods are
// fault.NotFound where the program says that there is no such key, and
// fault.Unavailable otherwise: the protocol does not tell any other absent key from
// an absent service.
func Open(uri string, opts Options) (*Key, error) {
	scheme, resource, err := split(uri)
	if err != nil {
		return nil, err
	}
	name, where := programPrefix+scheme, "on PATH"
	if opts.Dir != "" {
		name, where = filepath.Join(opts.Dir, name), "in "+opts.Dir
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("there is no program %s %s: install the plugin for %s:// there, or name its directory with --kms-plugins", programPrefix+scheme, where, scheme)
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("find program %s: %w", name, err)
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	return &Key{
		program: program, resource: resource, log: opts.Log, timeout: opts.Timeout,
		permits: semaphore.NewWeighted(maxProcesses),
	}, nil
}

// Public returns the public half as the service has it.
func (k *Key) Public() (*ecdsa.PublicKey, error) {
	resp, err := k.call(func(deadline *time.Time) *common.MethodArgs {
		return &common.MethodArgs{
			MethodName: common.PublicKeyMethodName,
			PublicKey:  &common.PublicKeyArgs{PublicKeyOptions: &common.PublicKeyOptions{RPCOptions: common.RPCOptions{CtxDeadline: deadline}}},
		}
	})
	if err != nil {
		return nil, err
	}
	if resp.PublicKey == nil {
		return nil, k.misbehaved("it sent no public key")
	}
	return k.parsePublic(resp.PublicKey.PublicKeyPEM)
}

// Create makes the key, of an algorithm that the program knows by that name.
func (k *Key) Create(algorithm string) (*ecdsa.PublicKey, error) {
	resp, err := k.call(func(deadline *time.Time) *common.MethodArgs {
		return &common.MethodArgs{
			MethodName: common.CreateKeyMethodName,
			CreateKey:  &common.CreateKeyArgs{CtxDeadline: deadline, Algorithm: algorithm},
		}
	})
	if err != nil {
		return nil, err
	}
	if resp.CreateKey == nil {
		return nil, k.misbehaved("it sent no public key")
	}
	return k.parsePublic(resp.CreateKey.PublicKeyPEM)
}

// Sign returns an ECDSA signature of digest, which hash made, as DER.
func (k *Key) Sign(digest []byte, hash crypto.Hash) ([]byte, error) {
	resp, err := k.call(func(deadline *time.Time) *common.MethodArgs {
		return &common.MethodArgs{
			MethodName: common.SignMessageMethodName,
			SignMessage: &common.SignMessageArgs{SignOptions: &common.SignOptions{
				RPCOptions:     common.RPCOptions{CtxDeadline: deadline},
				MessageOptions: common.MessageOptions{Digest: &digest, HashFunc: &hash},
			}},
		}
	})
	if err != nil {
		return nil, err
	}
	if resp.SignMessage == nil || len(resp.SignMessage.Signature) == 0 {
		return nil, k.misbehaved("it sent no signature")
	}
	return resp.SignMessage.Signature, nil
}

// call runs the program once.
func (k *Key) call(method func(deadline *time.Time) *common.MethodArgs) (*common.PluginResp, error) {
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	if err := k.permits.Acquire(ctx, 1); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the key service is busy")
	}
	defer k.permits.Release(1)
	deadline, _ := ctx.Deadline()
	deadline = deadline.UTC()
	return k.run(ctx, &common.PluginArgs{
		InitOptions: &common.InitOptions{
			CtxDeadline: &deadline, ProtocolVersion: common.ProtocolVersion, KeyResourceID: k.resource,
			HashFunc: crypto.SHA256, RPCOptions: &common.RPCOptions{CtxDeadline: &deadline},
		},
		MethodArgs: method(&deadline),
	})
}

func (k *Key) parsePublic(data []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, k.misbehaved("its public key is not one PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, k.misbehaved(err.Error())
	}
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is of type %T: want ECDSA", key)
	}
	return pub, nil
}

// misbehaved is the error of a program that ran and did not keep the protocol.
func (k *Key) misbehaved(reason string) error {
	return fault.Newf(fault.Unavailable, "program %s: %s", filepath.Base(k.program), reason)
}
