// Package vaulttest is a fake of HashiCorp Vault for tests: of its HTTP API and
// transit engine what clients that sign need, with Vault's own words for errors.
// Keys are real and in memory; nothing else of Vault is there.
package vaulttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Token is the one that the server takes.
const Token = "hvs.CAESIFakeTokenOfTheTestServer"

// Server is a running fake.
type Server struct {
	*httptest.Server
	CACert string // PEM file that its certificate verifies with

	mu     sync.Mutex
	keys   map[string]*key // guarded by mu
	sealed bool            // guarded by mu
	calls  int             // guarded by mu: operations that were allowed
}

// key is a key of the transit engine with its versions, the first at 0.
type key struct {
	kind     string // ecdsa-p256 or ecdsa-p384, or something that cannot sign
	versions []*ecdsa.PrivateKey
	created  time.Time
}

// New starts a server with TLS.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{keys: map[string]*key{}, CACert: filepath.Join(tb.TempDir(), "vault-ca.pem")}
	s.Server = httptest.NewTLSServer(s.handler())
	tb.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(s.CACert, ca, 0o600); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Environ returns the variables by which clients find the server and prove
// themselves to it.
func (s *Server) Environ() []string {
	return []string{"VAULT_ADDR=" + s.URL, "VAULT_CACERT=" + s.CACert, "VAULT_TOKEN=" + Token}
}

// Seal makes the server refuse everything, as a sealed Vault does; Unseal ends
// that.
func (s *Server) Seal()   { s.setSealed(true) }
func (s *Server) Unseal() { s.setSealed(false) }

func (s *Server) setSealed(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = sealed
}

// Calls returns how many operations were allowed.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Public returns the public half of a version of a key, nil if there is none.
func (s *Server) Public(name string, version int) *ecdsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[name]
	if k == nil || version < 1 || version > len(k.versions) {
		return nil
	}
	return &k.versions[version-1].PublicKey
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/{name}", s.guarded(s.read))
	for _, method := range []string{http.MethodPost, http.MethodPut} { // which are one to Vault
		mux.HandleFunc(method+" /v1/transit/keys/{name}", s.guarded(s.create))
		mux.HandleFunc(method+" /v1/transit/keys/{name}/rotate", s.guarded(s.rotate))
		mux.HandleFunc(method+" /v1/transit/sign/{name}/{hash}", s.guarded(s.sign))
		mux.HandleFunc(method+" /v1/transit/verify/{name}/{hash}", s.guarded(s.verify))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "no handler for route") })
	return mux
}

// operation does something with a key and returns the data of the answer. It is
// called with the lock held.
type operation func(r *http.Request, body map[string]any) (data map[string]any, err error)

// failure is an error with its HTTP status.
type failure struct {
	status  int
	message string // "" for none
}

func (f *failure) Error() string { return f.message }

func invalid(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func (s *Server) guarded(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body := map[string]any{}
		if r.Method != http.MethodGet {
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body); err != nil {
				refuse(w, http.StatusBadRequest, "failed to parse JSON input: "+err.Error())
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.sealed:
			refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
			return
		case r.Header.Get("X-Vault-Token") != Token:
			refuse(w, http.StatusForbidden, "permission denied")
			return
		}
		s.calls++
		data, err := op(r, body)
		var f *failure
		if errors.As(err, &f) {
			refuse(w, f.status, f.message)
			return
		}
		write(w, http.StatusOK, map[string]any{
			"request_id": rand.Text(), "lease_id": "", "renewable": false, "lease_duration": 0,
			"data": data, "wrap_info": nil, "warnings": nil, "auth": nil, "mount_type": "transit",
		})
	}
}

func refuse(w http.ResponseWriter, status int, message string) {
	list := []string{}
	if message != "" {
		list = append(list, message)
	}
	write(w, status, map[string]any{"errors": list})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone away fails its own test
}

func (s *Server) read(r *http.Request, _ map[string]any) (map[string]any, error) {
	k, ok := s.keys[r.PathValue("name")]
	if !ok {
		return nil, &failure{http.StatusNotFound, ""}
	}
	return k.describe(r.PathValue("name"))
}

func (k *key) describe(name string) (map[string]any, error) {
	versions := map[string]any{}
	for i, v := range k.versions {
		der, err := x509.MarshalPKIXPublicKey(&v.PublicKey)
		if err != nil {
			return nil, invalid("%v", err)
		}
		versions[strconv.Itoa(i+1)] = map[string]any{
			"name": v.Params().Name, "creation_time": k.created, "certificate_chain": "",
			"public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		}
	}
	if !k.signs() {
		versions = map[string]any{"1": k.created.Unix()}
	}
	return map[string]any{
		"name": name, "type": k.kind, "latest_version": max(1, len(k.versions)), "keys": versions,
		"supports_signing": k.signs(), "exportable": false, "deletion_allowed": false,
		"min_encryption_version": 0, "min_decryption_version": 1,
	}, nil
}

var kinds = map[string]elliptic.Curve{"ecdsa-p256": elliptic.P256(), "ecdsa-p384": elliptic.P384()}

func (k *key) signs() bool { return kinds[k.kind] != nil }

func (k *key) add() error {
	if !k.signs() {
		return nil
	}
	private, err := ecdsa.GenerateKey(kinds[k.kind], rand.Reader)
	if err != nil {
		return invalid("%v", err)
	}
	k.versions = append(k.versions, private)
	return nil
}

// create leaves a key that is there as it is, as Vault does.
func (s *Server) create(r *http.Request, body map[string]any) (map[string]any, error) {
	name := r.PathValue("name")
	kind, ok := body["type"].(string)
	if !ok {
		kind = "aes256-gcm96"
	}
	if kinds[kind] == nil && kind != "aes256-gcm96" {
		return nil, invalid("unknown key type %v", kind)
	}
	if s.keys[name] == nil {
		k := &key{kind: kind, created: time.Now().UTC()}
		if err := k.add(); err != nil {
			return nil, err
		}
		s.keys[name] = k
	}
	return s.keys[name].describe(name)
}

func (s *Server) rotate(r *http.Request, _ map[string]any) (map[string]any, error) {
	k, ok := s.keys[r.PathValue("name")]
	if !ok {
		return nil, invalid("key not found")
	}
	if err := k.add(); err != nil {
		return nil, err
	}
	return k.describe(r.PathValue("name"))
}

var hashes = map[string]crypto.Hash{"sha2-256": crypto.SHA256, "sha2-384": crypto.SHA384, "sha2-512": crypto.SHA512}

// signed returns the key and the digest that a request is about.
func (s *Server) signed(r *http.Request, body map[string]any) (k *key, digest []byte, err error) {
	hash, ok := hashes[r.PathValue("hash")]
	if !ok {
		return nil, nil, invalid("invalid hash algorithm %q", r.PathValue("hash"))
	}
	if m, ok := body["marshaling_algorithm"].(string); ok && m != "asn1" {
		return nil, nil, invalid("this fake marshals asn1 only, not %q", m)
	}
	k, ok = s.keys[r.PathValue("name")]
	if !ok {
		return nil, nil, invalid("signing key not found")
	}
	if !k.signs() {
		return nil, nil, invalid("key type %s does not support signing", k.kind)
	}
	input, _ := body["input"].(string)
	digest, err = base64.StdEncoding.DecodeString(input)
	if err != nil {
		return nil, nil, invalid("unable to decode input as base64: %s", err)
	}
	if prehashed, _ := body["prehashed"].(bool); !prehashed {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	return k, digest, nil
}

func (s *Server) sign(r *http.Request, body map[string]any) (map[string]any, error) {
	k, digest, err := s.signed(r, body)
	if err != nil {
		return nil, err
	}
	version := len(k.versions)
	switch v := body["key_version"].(type) { // Vault takes numbers as text, too
	case float64:
		version = int(v)
	case string:
		version, _ = strconv.Atoi(v)
	}
	if version == 0 {
		version = len(k.versions)
	}
	if version < 1 || version > len(k.versions) {
		return nil, invalid("requested version for signing is higher than the latest key version")
	}
	signature, err := k.versions[version-1].Sign(rand.Reader, digest, nil)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return map[string]any{
		"signature":   fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(signature)),
		"key_version": version,
	}, nil
}

func (s *Server) verify(r *http.Request, body map[string]any) (map[string]any, error) {
	k, digest, err := s.signed(r, body)
	if err != nil {
		return nil, err
	}
	text, _ := body["signature"].(string)
	head, encoded, ok := strings.Cut(strings.TrimPrefix(text, "vault:v"), ":")
	version, err := strconv.Atoi(head)
	if !ok || err != nil || version < 1 || version > len(k.versions) {
		return nil, invalid("invalid signature: no prefix")
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, invalid("invalid base64 signature value")
	}
	return map[string]any{"valid": ecdsa.VerifyASN1(&k.versions[version-1].PublicKey, digest, signature)}, nil
}
