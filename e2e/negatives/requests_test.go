package negatives

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/signing"
)

const alice = "alice@example.com"

// badToken is how the CA begins what it says of a token; its clients pass it on.
const badToken = "error processing the identity token: "

// refusedRequests are requests for a certificate. What the CA says of a token,
// its clients pass on; those in front of it refuse some by themselves.
func refusedRequests() []negative {
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	badProof := reasons{byCA: {"signature supplied in the request could not be verified"}}
	return []negative{
		claimed("expired token", "the token has expired", func(c testissuer.Claims) { c["exp"] = in(-time.Second) }),
		claimed("token without an end", "claim exp is missing", func(c testissuer.Claims) { delete(c, "exp") }),
		claimed("token of tomorrow", "the token is not valid yet", func(c testissuer.Claims) { c["nbf"] = in(24 * time.Hour) }),
		claimed("token for another audience", "the token is for another audience", func(c testissuer.Claims) { c["aud"] = "other" }),
		claimed("token for no audience", "claim aud is missing", func(c testissuer.Claims) { delete(c, "aud") }),
		unverifiedEmail("unverified e-mail", func(c testissuer.Claims) { c["email_verified"] = false }),
		unverifiedEmail("e-mail of which the issuer says nothing", func(c testissuer.Claims) { delete(c, "email_verified") }),
		{
			// The CA asks when a token ends and begins to be valid, not when it was
			// made, as upstream's does.
			name: "token made tomorrow",
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				c := n.issuer.Claims(alice)
				if wrong {
					c["iat"] = in(24 * time.Hour)
				}
				return n.request(n.issuer.Mint(t, c))
			},
		},
		forged("token signed by another key", badToken+"no key of the issuer verifies the signature", func(n *negatives, t *testing.T, c testissuer.Claims) string {
			return n.issuer.MintUnpublished(t, c)
		}),
		forged("token without a signature", badToken+"the token's signature algorithm is not accepted", func(_ *negatives, _ *testing.T, c testissuer.Claims) string {
			return unsigned(object{"alg": "none", "typ": "JWT"}, c) + "."
		}),
		forged("token of algorithm none", badToken+"the token's signature algorithm is not accepted", func(_ *negatives, _ *testing.T, c testissuer.Claims) string {
			return unsigned(object{"alg": "none", "typ": "JWT"}, c) + "." + base64.RawURLEncoding.EncodeToString([]byte("none"))
		}),
		forged("token signed with the public key as a password", badToken+"the token's signature algorithm is not accepted", func(n *negatives, t *testing.T, c testissuer.Claims) string {
			token := unsigned(object{"alg": "HS256", "typ": "JWT", "kid": "key-1"}, c)
			mac := hmac.New(sha256.New, n.issuerKeyPEM(t))
			mac.Write([]byte(token))
			return token + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		}),
		forged("token that brings its own key", badToken+"no key of the issuer verifies the signature", func(_ *negatives, t *testing.T, c testissuer.Claims) string {
			return withOwnKey(t, c)
		}),
		{
			name:    "token of an untrusted issuer",
			refused: byTokenJudges(badToken + "the issuer is not trusted here"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				issuer := pick(wrong, n.stranger, n.issuer)
				return n.request(issuer.Mint(t, issuer.Claims(alice)))
			},
		},
		{
			name:    "token of an untrusted issuer in the name of a trusted one",
			refused: byTokenJudges(badToken + "no key of the issuer verifies the signature"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				return n.request(pick(wrong, n.stranger, n.issuer).Mint(t, n.issuer.Claims(alice)))
			},
		},
		// Clients make their own proof, and so cannot get it wrong.
		proven("proof of possession by another key", badProof, func(t *testing.T, n *negatives, p *proof) { p.by = newP256(t) }),
		proven("proof of possession for another person", badProof, func(_ *testing.T, _ *negatives, p *proof) { p.challenge = "mallory@example.com" }),
		{
			name:    "certificate request signed by another key",
			refused: reasons{byCA: {"signature supplied in the request could not be verified"}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				csr := newCSR(t)
				if wrong {
					flipLast(csr)
				}
				body := object{"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})}
				token := n.issuer.Mint(t, n.issuer.Claims(alice))
				return attempt{byCA: func(t *testing.T) verdict { return n.askCA(t, token, body) }}
			},
		},
	}
}

// byTokenJudges is for what the CA says to all of its clients.
func byTokenJudges(reason string) reasons {
	return reasons{byCA: {reason}, bySigstack: {reason}, byCosign3: {reason}, byCosign2: {reason}, byJS: {reason}}
}

// claimed is a case of one claim that is wrong.
func claimed(name, reason string, change func(testissuer.Claims)) negative {
	return negative{name, byTokenJudges(badToken + reason), func(n *negatives, t *testing.T, wrong bool) attempt {
		c := n.issuer.Claims(alice)
		if wrong {
			change(c)
		}
		return n.request(n.issuer.Mint(t, c))
	}}
}

// unverifiedEmail is a case that upstream's clients do not even ask the CA about.
func unverifiedEmail(name string, change func(testissuer.Claims)) negative {
	c := claimed(name, "the email is not verified", change)
	c.refused[byCosign3] = []string{"not verified by identity provider"}
	c.refused[byCosign2] = []string{"not verified by identity provider"}
	c.refused[byJS] = []string{"JWT email not verified by issuer"}
	return c
}

// forged is a case of a good token's claims in a token of other making.
func forged(name, reason string, forge func(*negatives, *testing.T, testissuer.Claims) string) negative {
	return negative{name, byTokenJudges(reason), func(n *negatives, t *testing.T, wrong bool) attempt {
		c := n.issuer.Claims(alice)
		if wrong {
			return n.request(forge(n, t, c))
		}
		return n.request(n.issuer.Mint(t, c))
	}}
}

// unsigned is a token up to its signature.
func unsigned(header object, c testissuer.Claims) string {
	return base64.RawURLEncoding.EncodeToString([]byte(text(header))) + "." + base64.RawURLEncoding.EncodeToString([]byte(text(c)))
}

// withOwnKey is a token that is rightly signed by the key in its own header.
func withOwnKey(t *testing.T, c testissuer.Claims) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	token := unsigned(object{"alg": "RS256", "typ": "JWT", "jwk": object{
		"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
	}}, c)
	digest := sha256.Sum256([]byte(token))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// issuerKeyPEM is the trusted issuer's public key.
func (n *negatives) issuerKeyPEM(t *testing.T) []byte {
	t.Helper()
	_, body := e2etest.Get(t, n.issuer.URL+"/keys")
	var set struct {
		Keys []struct {
			N string `json:"n"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("issuer's keys %s: %v", body, err)
	}
	modulus, err := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(e2etest.PublicPEM(t, &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}))
}

// request puts a token before the CA, and before clients that sign with it.
func (n *negatives) request(token string) attempt {
	env := []string{signing.TokenVariable + "=" + token}
	cosign := func(name string) func(*testing.T) verdict {
		return func(t *testing.T) verdict {
			t.Helper()
			dir := t.TempDir()
			return verdictOf(t, e2etest.Run(t, env, e2etest.Client(t, name), "sign-blob", "--yes",
				"--signing-config", n.stack.Kit("signing_config.v0.2.json"), "--trusted-root", n.stack.Kit("trusted_root.json"),
				"--bundle", filepath.Join(dir, "bundle"), e2etest.WriteFile(t, dir, "blob", "hello\n")))
		}
	}
	return attempt{
		byCA: func(t *testing.T) verdict { return n.prove(t, n.newProof(t, token)) },
		bySigstack: func(t *testing.T) verdict {
			blob := e2etest.WriteFile(t, t.TempDir(), "blob", "hello\n")
			return verdictOf(t, e2etest.Run(t, env, e2etest.Sigstack(t), "sign", "--client", n.stack.Kit(""), blob))
		},
		byCosign3: cosign("cosign-v3"),
		byCosign2: cosign("cosign-v2"),
		byJS:      func(t *testing.T) verdict { return n.js.judge(t, question{CA: n.stack.URL, Token: token}) },
	}
}

// proof is a request for a certificate: a key, and a challenge signed by a key.
type proof struct {
	token     string
	key, by   crypto.Signer
	challenge string
}

func (n *negatives) newProof(t *testing.T, token string) proof {
	t.Helper()
	key := newP256(t)
	return proof{token, key, key, alice}
}

// proven is a case of what stands in the proof of possession.
func proven(name string, refused reasons, change func(*testing.T, *negatives, *proof)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		p := n.newProof(t, n.issuer.Mint(t, n.issuer.Claims(alice)))
		if wrong {
			change(t, n, &p)
		}
		return attempt{byCA: func(t *testing.T) verdict { return n.prove(t, p) }}
	}}
}

// prove asks for a certificate by either version of the API, which must agree.
func (n *negatives) prove(t *testing.T, p proof) verdict {
	t.Helper()
	digest := sha256.Sum256([]byte(p.challenge))
	pub, signature := e2etest.PublicPEM(t, p.key.Public()), signer{key: p.by}.sign(t, digest[:])
	v := n.askCA(t, p.token, object{"publicKeyRequest": object{
		"publicKey": object{"algorithm": "ECDSA", "content": pub}, "proofOfPossession": signature,
	}})
	old := n.ask(t, "/api/v1/signingCert", p.token, object{
		"publicKey": object{"algorithm": "ecdsa", "content": []byte(pub)}, "signedEmailAddress": signature,
	})
	if old.accepted != v.accepted {
		t.Errorf("CA accepts %v by v2 and %v by v1: %s %s", v.accepted, old.accepted, v.words, old.words)
	}
	return v
}

// askCA asks for a certificate by v2 of the API, with the token in the body.
func (n *negatives) askCA(t *testing.T, token string, body object) verdict {
	t.Helper()
	body["credentials"] = object{"oidcIdentityToken": token}
	return n.ask(t, "/api/v2/signingCert", "", body)
}

// ask posts to the CA. A refusal must be a 400: anything else fails the test.
func (n *negatives) ask(t *testing.T, path, bearer string, body object) verdict {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.stack.URL+path, strings.NewReader(text(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := e2etest.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	e2etest.WantNoLeak(t, "the answer of "+path, answer)
	accepted := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated
	if !accepted && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%s answers %d, want 200, 201 or 400: %s", path, resp.StatusCode, answer)
	}
	return verdict{accepted, string(answer)}
}

func newCSR(t *testing.T) []byte {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: alice}}, newP256(t))
	if err != nil {
		t.Fatal(err)
	}
	return csr
}
