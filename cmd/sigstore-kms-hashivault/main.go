// Command sigstore-kms-hashivault is a plugin of sigstore's KMS protocol, version
// 1, for keys in the transit engine of HashiCorp Vault, or of a server with its
// API: sigstack runs it for hashivault://KEY. Where the server is and what proves
// who asks comes from Vault's own variables, never from an argument.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
)

const usage = `sigstore-kms-hashivault is run by sigstack, cosign and others, not by people.

It reaches keys in Vault's transit engine: sigstack keys create ca --in hashivault://ca.
Its settings are variables: VAULT_ADDR, VAULT_TOKEN or VAULT_TOKEN_FILE, and where
needed VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME,
VAULT_NAMESPACE and TRANSIT_SECRET_ENGINE_PATH (default: transit).
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// defaultTimeout bounds an operation whose caller names no deadline.
const defaultTimeout = 15 * time.Second

// run does one operation and writes the answer. The exit code is for people: to
// the protocol an answer with an error is as good as any.
func run(ctx context.Context, argv []string, env func(string) string, in io.Reader, out, remarks io.Writer) int {
	if len(argv) != 3 {
		_, _ = io.WriteString(remarks, usage)
		return 2
	}
	resp, err := operate(ctx, argv[1], argv[2], env, in)
	if err != nil {
		resp = &common.PluginResp{ErrorMessage: err.Error()}
	}
	data, encodeErr := json.Marshal(resp)
	if encodeErr != nil {
		panic("answer cannot be encoded: " + encodeErr.Error())
	}
	if _, writeErr := out.Write(data); writeErr != nil || err != nil {
		return 1
	}
	return 0
}

func operate(ctx context.Context, version, encoded string, env func(string) string, in io.Reader) (*common.PluginResp, error) {
	if version != common.ProtocolVersion {
		return nil, fmt.Errorf("protocol version %.20q is not known, want %s", version, common.ProtocolVersion)
	}
	args, err := parseArgs(encoded)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	if d := args.InitOptions.CtxDeadline; d != nil {
		var cancelAt context.CancelFunc
		ctx, cancelAt = context.WithDeadline(ctx, *d)
		defer cancelAt()
	}
	key, err := parseReference(args.InitOptions.KeyResourceID)
	if err != nil {
		return nil, err
	}
	// What these ask about is the program, not the server.
	switch args.MethodName {
	case common.DefaultAlgorithmMethodName:
		return &common.PluginResp{DefaultAlgorithm: &common.DefaultAlgorithmResp{DefaultAlgorithm: algorithms[0]}}, nil
	case common.SupportedAlgorithmsMethodName:
		return &common.PluginResp{SupportedAlgorithms: &common.SupportedAlgorithmsResp{SupportedAlgorithms: algorithms}}, nil
	}
	server, err := newVault(env)
	if err != nil {
		return nil, err
	}
	return transit{server, key}.do(ctx, args, in)
}

// parseArgs reads the protocol's argument.
func parseArgs(encoded string) (*common.PluginArgs, error) {
	var args common.PluginArgs
	if err := json.Unmarshal([]byte(encoded), &args); err != nil {
		return nil, fmt.Errorf("read arguments: %w", err)
	}
	if args.InitOptions == nil || args.MethodArgs == nil {
		return nil, fmt.Errorf("read arguments: initOptions or methodName is missing")
	}
	return &args, nil
}
