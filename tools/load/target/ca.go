package target

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// caTarget has a fresh key certified: one certificate with embedded SCT.
type caTarget struct {
	*services

	ca   *check.CA
	ids  []identity
	next atomic.Int64
}

// identity is a token and what its claims make of it.
type identity struct {
	token     string
	challenge string // that proves possession of a key
	check.Identity
}

func (s *services) newCA(ctx context.Context) (*caTarget, error) {
	if s.CA == "" {
		return nil, fmt.Errorf("certificate authority: %w", errNoURL)
	}
	if len(s.Trust.CTKeys) == 0 {
		return nil, errors.New("the CT log's key is needed, which no protocol hands out: give it or a trusted root")
	}
	t := &caTarget{services: s}
	for i, token := range s.Tokens {
		id, err := readIdentity(token)
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i+1, err)
		}
		t.ids = append(t.ids, id)
	}
	if len(t.ids) == 0 {
		return nil, errors.New("an identity token is needed")
	}
	chains := s.Trust.CAChains
	if len(chains) == 0 {
		var err error
		if chains, err = s.fetchTrustBundle(ctx); err != nil {
			return nil, fmt.Errorf("fetch the authority's chains: %w", err)
		}
	}
	var err error
	t.ca, err = check.NewCA(chains, s.Trust.CTKeys, s.Lifetime, s.Now())
	return t, err
}

func (s *services) fetchTrustBundle(ctx context.Context) ([][]*x509.Certificate, error) {
	data, err := s.client.get(ctx, s.CA+"/api/v2/trustBundle")
	if err != nil {
		return nil, err
	}
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		return nil, fmt.Errorf("parse trust bundle: %w", err)
	}
	var chains [][]*x509.Certificate
	for _, c := range bundle.Chains {
		chain, err := ParseChain([]byte(strings.Join(c.Certificates, "\n")))
		if err != nil {
			return nil, err
		}
		chains = append(chains, chain)
	}
	return chains, nil
}

// readIdentity reads a token's claims. Nothing is verified: the authority does
// that, and its certificate is compared with them. Errors do not quote the token.
func readIdentity(token string) (identity, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return identity{}, errors.New("it is not a JWT of three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return identity{}, errors.New("its payload is not base64url")
	}
	var c struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
		Email   string `json:"email"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return identity{}, errors.New("its payload is not JSON claims")
	}
	id := identity{token: token, Identity: check.Identity{Issuer: c.Issuer, Email: c.Email}, challenge: c.Email}
	if c.Email == "" {
		id.URI, id.challenge = c.Subject, c.Subject
	}
	if id.challenge == "" || id.Issuer == "" {
		return identity{}, errors.New("it names no issuer, or neither an email nor a subject")
	}
	return id, nil
}

// certificateRequest is a key with the request to certify it.
type certificateRequest struct {
	identity

	key  *ecdsa.PrivateKey
	body []byte
}

func (t *caTarget) newRequest() (certificateRequest, error) {
	r := certificateRequest{identity: t.ids[int(t.next.Add(1))%len(t.ids)]}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return r, fmt.Errorf("make key: %w", err)
	}
	sum := sha256.Sum256([]byte(r.challenge))
	proof, err := ecdsa.SignASN1(rand.Reader, r.key, sum[:])
	if err != nil {
		return r, fmt.Errorf("sign challenge: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(r.key.Public())
	if err != nil {
		return r, fmt.Errorf("encode key: %w", err)
	}
	r.body, err = json.Marshal(map[string]any{"publicKeyRequest": map[string]any{
		"publicKey": map[string]string{
			"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})),
		},
		"proofOfPossession": proof,
	}})
	return r, err
}

func (t *caTarget) send(ctx context.Context, r certificateRequest) ([]byte, error) {
	return t.client.do(ctx, request{
		method: http.MethodPost, url: t.CA + "/api/v2/signingCert", contentType: "application/json",
		token: r.token, body: r.body, want: []int{http.StatusOK, http.StatusCreated},
	})
}

func (t *caTarget) verify(r certificateRequest, answer []byte, at time.Time) (*x509.Certificate, error) {
	return t.ca.Certificate(answer, r.key.Public(), r.Identity, at)
}

func (t *caTarget) prepare(context.Context) (drive.Call, error) {
	r, err := t.newRequest()
	if err != nil {
		return drive.Call{}, err
	}
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.send(ctx, r)
			return err
		},
		Verify: func() error {
			_, err := t.verify(r, answer, t.Now())
			return err
		},
	}, nil
}
