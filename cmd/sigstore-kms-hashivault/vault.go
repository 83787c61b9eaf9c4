package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// vault is a server and what proves to it who asks.
type vault struct {
	base      *url.URL // of the transit engine, with a final slash
	token     string
	namespace string
	client    *http.Client
}

// maxAnswer bounds an answer of the server, in bytes.
const maxAnswer = 1 << 20

// newVault reads Vault's variables.
func newVault(env func(string) string) (*vault, error) {
	address, err := parseAddress(env("VAULT_ADDR"))
	if err != nil {
		return nil, err
	}
	mount := env("TRANSIT_SECRET_ENGINE_PATH")
	if mount == "" {
		mount = "transit"
	}
	if !mountForm.MatchString(mount) {
		return nil, fmt.Errorf("TRANSIT_SECRET_ENGINE_PATH is %.80q: want the path of a transit engine", mount)
	}
	v := &vault{base: address.JoinPath("v1", mount, "/"), namespace: env("VAULT_NAMESPACE")}
	if v.token, err = token(env); err != nil {
		return nil, err
	}
	conf, err := tlsConfig(env)
	if err != nil {
		return nil, err
	}
	v.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		CheckRedirect: v.checkRedirect,
	}
	return v, nil
}

var mountForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)

// parseAddress refuses to send a token in the clear to another machine.
func parseAddress(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("VAULT_ADDR is not set: it is the server's URL, such as https://vault.example:8200")
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("VAULT_ADDR is not a URL such as https://vault.example:8200")
	}
	if inTheClear(u) {
		return nil, fmt.Errorf("VAULT_ADDR is %s: without TLS everybody on the way reads the token; use https", u)
	}
	return u, nil
}

// inTheClear reports whether what is sent to u can be read on the way.
func inTheClear(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme != "https" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// token comes from one place. Its file is not open to other users.
func token(env func(string) string) (string, error) {
	value, path := env("VAULT_TOKEN"), env("VAULT_TOKEN_FILE")
	switch {
	case value != "" && path != "":
		return "", errors.New("both VAULT_TOKEN and VAULT_TOKEN_FILE are set: keep one")
	case value != "":
		return value, nil
	case path == "":
		return "", errors.New("neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set: one of them says who asks")
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o027 != 0 {
		return "", fmt.Errorf("read token: %s has mode %04o, so others may read or replace it: chmod 600 it", path, mode.Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if value = strings.TrimSpace(string(data)); value == "" || strings.ContainsAny(value, "\r\n") {
		return "", fmt.Errorf("read token: %s does not hold one line", path)
	}
	return value, nil
}

func tlsConfig(env func(string) string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: env("VAULT_TLS_SERVER_NAME")}
	if path := env("VAULT_CACERT"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read VAULT_CACERT: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read VAULT_CACERT: %s holds no certificate", path)
		}
	}
	cert, key := env("VAULT_CLIENT_CERT"), env("VAULT_CLIENT_KEY")
	if (cert == "") != (key == "") {
		return nil, errors.New("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY go together")
	}
	if cert == "" {
		return conf, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read VAULT_CLIENT_CERT: %w", err)
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}

// checkRedirect lets a standby send us to the active server, once, and never to
// where the token would be read on the way.
func (v *vault) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > 1 {
		return errors.New("the server redirects more than once")
	}
	if req.URL.Scheme != v.base.Scheme || inTheClear(req.URL) {
		return fmt.Errorf("the server redirects to %s", req.URL.Scheme)
	}
	return nil
}

// call asks the engine and decodes the data of its answer into out, if not nil.
func (v *vault) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("X-Vault-Token", v.token)
	req.Header.Set("X-Vault-Request", "true") // what agents demand against forged requests
	req.Header.Set("Content-Type", "application/json")
	if v.namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.namespace)
	}
	if method == http.MethodGet {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return err // names method and URL, in which there is no secret
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("the server's answer has more than %d bytes", maxAnswer)
	}
	return decodeAnswer(resp.StatusCode, data, out)
}

// decodeAnswer reads {"data":…} or {"errors":[…]}.
func decodeAnswer(status int, data []byte, out any) error {
	if status == http.StatusNoContent {
		return nil
	}
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []string        `json:"errors"`
	}
	err := json.Unmarshal(data, &answer)
	switch {
	case status == http.StatusNotFound && err == nil && answer.Errors != nil && len(answer.Errors) == 0:
		// What Vault says of a path that its engine knows nothing of. sigstack takes
		// an error that begins like this for certain.
		return errors.New("there is no such key in the transit engine")
	case status == http.StatusNotFound:
		return errors.New("the server has no such key or transit engine")
	case status != http.StatusOK && err == nil && len(answer.Errors) > 0:
		return fmt.Errorf("the server answered %d: %.500s", status, strings.Join(answer.Errors, "; "))
	case status != http.StatusOK:
		return fmt.Errorf("the server answered %d", status)
	case err != nil:
		return fmt.Errorf("read the server's answer: %w", err)
	case out == nil:
		return nil
	case len(answer.Data) == 0:
		return errors.New("the server's answer has no data")
	}
	if err := json.Unmarshal(answer.Data, out); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
