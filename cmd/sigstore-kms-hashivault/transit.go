package main

import (
	"context"
	"crypto"
	_ "crypto/sha256" // hashes that messages may ask for
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
)

// algorithms are the types of key, as the transit engine calls them, that this
// program works with; the first is the default.
var algorithms = []string{"ecdsa-p256", "ecdsa-p384"}

// hashes are those a signature may be over, as the transit engine calls them.
var hashes = map[crypto.Hash]string{crypto.SHA256: "sha2-256", crypto.SHA384: "sha2-384", crypto.SHA512: "sha2-512"}

// reference names one version of a key.
type reference struct {
	name    string
	version int // 0: the newest
}

// referenceForm is KEY or KEY?version=N. cosign's own client takes the former.
var referenceForm = regexp.MustCompile(`^([A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?)(?:\?version=([1-9][0-9]{0,5}))?$`)

// parseReference reads what the protocol calls the key's resource ID. Some
// callers leave the scheme in front.
func parseReference(id string) (reference, error) {
	if _, rest, ok := strings.Cut(id, "://"); ok {
		id = rest
	}
	m := referenceForm.FindStringSubmatch(id)
	if m == nil {
		return reference{}, fmt.Errorf("%.80q names no key: want KEY or KEY?version=N, such as hashivault://ca", id)
	}
	r := reference{name: m[1]}
	if m[2] != "" {
		r.version, _ = strconv.Atoi(m[2]) // up to six digits
	}
	return r, nil
}

// transit does the protocol's operations on one key.
type transit struct {
	server *vault
	key    reference
}

func (t transit) do(ctx context.Context, args *common.PluginArgs, in io.Reader) (*common.PluginResp, error) {
	switch {
	case args.MethodName == common.CreateKeyMethodName && args.CreateKey != nil:
		public, err := t.create(ctx, args.CreateKey.Algorithm)
		return &common.PluginResp{CreateKey: &common.CreateKeyResp{PublicKeyPEM: public}}, err
	case args.MethodName == common.PublicKeyMethodName:
		_, public, err := t.public(ctx)
		return &common.PluginResp{PublicKey: &common.PublicKeyResp{PublicKeyPEM: public}}, err
	case args.MethodName == common.SignMessageMethodName && args.SignMessage != nil:
		hash, digest, err := digestOf(args.SignMessage.SignOptions, args.InitOptions.HashFunc, in)
		if err != nil {
			return nil, err
		}
		signature, err := t.sign(ctx, hash, digest)
		return &common.PluginResp{SignMessage: &common.SignMessageResp{Signature: signature}}, err
	case args.MethodName == common.VerifySignatureMethodName && args.VerifySignature != nil:
		o := (*common.SignOptions)(args.VerifySignature.VerifyOptions)
		hash, digest, err := digestOf(o, args.InitOptions.HashFunc, in)
		if err != nil {
			return nil, err
		}
		return &common.PluginResp{VerifySignature: &common.VerifySignatureResp{}}, t.verify(ctx, hash, digest, args.VerifySignature.Signature)
	default:
		return nil, fmt.Errorf("unsupported method: %.40q", args.MethodName)
	}
}

// maxMessage bounds a message that is hashed here, in bytes.
const maxMessage = 64 << 20

// digestOf returns what to sign: the digest that the caller made, or that of the
// message on stdin.
func digestOf(o *common.SignOptions, hash crypto.Hash, in io.Reader) (crypto.Hash, []byte, error) {
	if o != nil && o.MessageOptions.HashFunc != nil {
		hash = *o.MessageOptions.HashFunc
	}
	if hashes[hash] == "" {
		return 0, nil, fmt.Errorf("hash function %d is not supported: want SHA-256, SHA-384 or SHA-512", uint(hash))
	}
	if o != nil && o.MessageOptions.Digest != nil {
		digest := *o.MessageOptions.Digest
		if len(digest) != hash.Size() {
			return 0, nil, fmt.Errorf("digest has %d bytes, %v has %d", len(digest), hash, hash.Size())
		}
		return hash, digest, nil
	}
	h := hash.New()
	n, err := io.Copy(h, io.LimitReader(in, maxMessage+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read message: %w", err)
	}
	if n > maxMessage {
		return 0, nil, fmt.Errorf("message has more than %d bytes: send its digest", maxMessage)
	}
	return hash, h.Sum(nil), nil
}

// keyAnswer is what the engine says of a key.
type keyAnswer struct {
	Type   string `json:"type"`
	Latest int    `json:"latest_version"`
	// Keys is, for types of algorithms, by version:
	Keys json.RawMessage `json:"keys"`
}

type keyVersion struct {
	PublicKey string `json:"public_key"` // PEM
}

// public returns the version that t.key names and its public half as PEM.
func (t transit) public(ctx context.Context) (version int, public []byte, err error) {
	var answer keyAnswer
	if err := t.server.call(ctx, http.MethodGet, "keys/"+t.key.name, nil, &answer); err != nil {
		return 0, nil, err
	}
	if !slices.Contains(algorithms, answer.Type) {
		return 0, nil, fmt.Errorf("key %s is of type %.40q, want %s", t.key.name, answer.Type, strings.Join(algorithms, " or "))
	}
	version = t.key.version
	if version == 0 {
		version = answer.Latest
	}
	var versions map[string]keyVersion
	if err := json.Unmarshal(answer.Keys, &versions); err != nil {
		return 0, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	key := versions[strconv.Itoa(version)]
	if key.PublicKey == "" {
		return 0, nil, fmt.Errorf("key %s has no version %d", t.key.name, version)
	}
	return version, []byte(key.PublicKey), nil
}

// create makes the key. The engine leaves one that is there as it is, so this
// one is not told apart from a new one unless it is of another type.
func (t transit) create(ctx context.Context, algorithm string) ([]byte, error) {
	if algorithm == "" {
		algorithm = algorithms[0]
	}
	if !slices.Contains(algorithms, algorithm) {
		return nil, fmt.Errorf("algorithm %.40q is not supported: want %s", algorithm, strings.Join(algorithms, " or "))
	}
	if err := t.server.call(ctx, http.MethodPost, "keys/"+t.key.name, map[string]any{"type": algorithm}, nil); err != nil {
		return nil, err
	}
	var answer keyAnswer
	if err := t.server.call(ctx, http.MethodGet, "keys/"+t.key.name, nil, &answer); err != nil {
		return nil, err
	}
	if answer.Type != algorithm {
		return nil, fmt.Errorf("there is a key %s already, of type %.40q", t.key.name, answer.Type)
	}
	_, public, err := t.public(ctx)
	return public, err
}

// sign returns the signature as DER.
func (t transit) sign(ctx context.Context, hash crypto.Hash, digest []byte) ([]byte, error) {
	request := map[string]any{
		"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "marshaling_algorithm": "asn1",
	}
	if t.key.version != 0 {
		request["key_version"] = t.key.version
	}
	var answer struct {
		Signature string `json:"signature"`
	}
	if err := t.server.call(ctx, http.MethodPost, "sign/"+t.key.name+"/"+hashes[hash], request, &answer); err != nil {
		return nil, err
	}
	return parseSignature(answer.Signature)
}

// signatureForm is the engine's: vault:vN: and base64.
var signatureForm = regexp.MustCompile(`^vault:v[1-9][0-9]{0,5}:([A-Za-z0-9+/]+={0,2})$`)

func parseSignature(text string) ([]byte, error) {
	m := signatureForm.FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New("the server's signature is not vault:vN:BASE64")
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(m[1])
	if err != nil {
		return nil, fmt.Errorf("the server's signature: %w", err)
	}
	return signature, nil
}

// verify asks the server; nil means that the signature is the key's.
func (t transit) verify(ctx context.Context, hash crypto.Hash, digest, signature []byte) error {
	version, _, err := t.public(ctx)
	if err != nil {
		return err
	}
	request := map[string]any{
		"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "marshaling_algorithm": "asn1",
		"signature": fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(signature)),
	}
	var answer struct {
		Valid bool `json:"valid"`
	}
	if err := t.server.call(ctx, http.MethodPost, "verify/"+t.key.name+"/"+hashes[hash], request, &answer); err != nil {
		return err
	}
	if !answer.Valid {
		return errors.New("the signature is not this key's")
	}
	return nil
}
