package signing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// TokenVariable is the environment variable that holds an identity token.
const TokenVariable = "SIGSTORE_ID_TOKEN"

// maxToken is the most bytes that a token may have.
const maxToken = 64 << 10

// TokenSource returns an identity token (a JWT). A Session calls it whenever it
// needs a certificate, one call at a time.
type TokenSource func(ctx context.Context) (string, error)

// StaticToken is a source of one token, for as long as it lives.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// ReadToken reads a token from the named file, or from stdin if name is "-".
func ReadToken(name string, stdin io.Reader) (string, error) {
	if name == "-" {
		return readToken("standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read identity token: %w", err)
	}
	token, err := readToken(name, f)
	return token, errors.Join(err, f.Close())
}

func readToken(name string, r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read identity token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || token == "" {
		return "", fmt.Errorf("read identity token: %s holds %d bytes, want 1 to %d", name, len(data), maxToken)
	}
	return token, nil
}

// claims is what the client itself reads of a token. Nothing here is verified:
// it only picks the bytes to sign as challenge; the CA judges the token.
type claims struct {
	Subject       string  `json:"sub"`
	Email         string  `json:"email"`
	EmailVerified anyBool `json:"email_verified"`
	Nonce         string  `json:"nonce"`
}

// anyBool is a JSON boolean, or its name as a string, as some issuers send it.
type anyBool bool

// UnmarshalJSON implements json.Unmarshaler.
func (b *anyBool) UnmarshalJSON(data []byte) error {
	switch strings.ToLower(strings.Trim(string(data), `"`)) {
	case "true":
		*b = true
	case "false", "null":
		*b = false
	default:
		return fmt.Errorf("%q is no boolean", data)
	}
	return nil
}

// readClaims decodes a token's payload. The error never quotes the token.
func readClaims(token string) (claims, error) {
	payload, err := tokenPayload(token)
	if err != nil {
		return claims{}, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return claims{}, errors.New("read identity token: its payload is not a JSON object of claims")
	}
	return c, nil
}

// tokenPayload returns the JSON of a token's claims, if it is JSON. The error never
// quotes the token.
func tokenPayload(token string) ([]byte, error) {
	if strings.Count(token, ".") != 2 {
		return nil, errors.New("read identity token: it is not a JWT of three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, errors.New("read identity token: its payload is not base64url")
	}
	return payload, nil
}

// challenge returns what the proof of possession signs (contract ca §4): the
// e-mail address if it is verified, else the subject.
func (c claims) challenge() (string, error) {
	switch {
	case c.Email != "" && bool(c.EmailVerified):
		return c.Email, nil
	case c.Subject != "":
		return c.Subject, nil
	default:
		return "", errors.New("read identity token: it names neither a verified email nor a subject")
	}
}
