package negatives

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/signing"
)

// who may refuse: the certificate authority over HTTP, and two clients, which
// sign or verify as the case demands.
type who string

const (
	byCA       who = "CA"
	bySigstack who = "sigstack"
	byCosign   who = "cosign"

	// byCosignTimed is cosign told to trust timestamp authorities.
	byCosignTimed who = "cosign --use-signed-timestamps"
)

// negative is one fact that must not be accepted, and who refuses it.
type negative struct {
	name string
	// refused holds who refuses. Whoever can judge the case and is not here is
	// known to accept it, which is tested too.
	refused reasons
	// make makes the case, with the one fact wrong or right; all else is the same.
	make func(n *negatives, t *testing.T, wrong bool) attempt
}

// attempt is a case ready to be put before those who can judge it.
type attempt map[who]func(t *testing.T) verdict

// reasons are what must stand in the reason that each gives.
type reasons map[who][]string

type verdict struct {
	accepted bool
	words    string
}

// negatives is what the cases are made with.
type negatives struct {
	*forge
	issuer   *testissuer.Issuer // which the stack trusts
	stranger *testissuer.Issuer // which it does not
}

const alice = "alice@example.com"

// TestNegatives makes each case twice. With its one fact right everybody accepts
// it, so that nothing but that fact can be what is refused when it is wrong.
func TestNegatives(t *testing.T) {
	issuer := testissuer.Start(t)
	s := e2etest.Start(t, t.TempDir(), "--trust-issuer", issuer.URL)
	n := &negatives{newForge(t, s), issuer, testissuer.Start(t)}
	for _, c := range append(refusedRequests(), refusedSignatures()...) {
		t.Run(c.name, func(t *testing.T) {
			for by, judge := range c.make(n, t, false) {
				if v := judge(t); !v.accepted {
					t.Errorf("control: %s refuses though nothing is wrong: %s", by, v.words)
				}
			}
			wrong := c.make(n, t, true)
			for by := range c.refused {
				if wrong[by] == nil {
					t.Errorf("%s is said to refuse what is never put before it", by)
				}
			}
			for by, judge := range wrong {
				c.judge(t, by, judge(t))
			}
		})
	}
}

// judge holds a verdict on the wrong case against the table.
func (c negative) judge(t *testing.T, by who, v verdict) {
	t.Helper()
	reasons, refuses := c.refused[by]
	if v.accepted == refuses {
		t.Errorf("%s: accepted %v, want %v: %.500s", by, v.accepted, !refuses, v.words)
		return
	}
	for _, reason := range reasons {
		if !strings.Contains(v.words, reason) {
			t.Errorf("%s does not give the reason %q but: %s", by, reason, v.words)
		}
	}
}

// refusedRequests are requests for a certificate. What the CA says of a token,
// its clients pass on; those in front of it refuse some by themselves.
func refusedRequests() []negative {
	const badToken = "error processing the identity token: "
	// claims is a case of one claim that is wrong.
	claims := func(name, reason, cosign string, change func(testissuer.Claims)) negative {
		if cosign == "" {
			cosign = reason
		}
		return negative{
			name:    name,
			refused: reasons{byCA: {badToken + reason}, bySigstack: {badToken + reason}, byCosign: {cosign}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				c := n.issuer.Claims(alice)
				if wrong {
					change(c)
				}
				return n.request(n.issuer.Mint(t, c))
			},
		}
	}
	const noKey = badToken + "no key of the issuer verifies the signature"
	const noIssuer = badToken + "the issuer is not trusted here"
	return []negative{
		claims("expired token", "the token has expired", "", func(c testissuer.Claims) { c["exp"] = time.Now().Unix() - 1 }),
		claims("token of tomorrow", "the token is not valid yet", "", func(c testissuer.Claims) { c["nbf"] = time.Now().Add(24 * time.Hour).Unix() }),
		claims("wrong audience", "the token is for another audience", "", func(c testissuer.Claims) { c["aud"] = "other" }),
		claims("unverified e-mail", "the email is not verified", "not verified by identity provider", func(c testissuer.Claims) { c["email_verified"] = false }),
		{
			name:    "token signed by another key",
			refused: reasons{byCA: {noKey}, bySigstack: {noKey}, byCosign: {noKey}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				mint := n.issuer.Mint
				if wrong {
					mint = n.issuer.MintUnpublished
				}
				return n.request(mint(t, n.issuer.Claims(alice)))
			},
		},
		{
			name:    "untrusted issuer",
			refused: reasons{byCA: {noIssuer}, bySigstack: {noIssuer}, byCosign: {noIssuer}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				issuer := n.issuer
				if wrong {
					issuer = n.stranger
				}
				return n.request(issuer.Mint(t, issuer.Claims(alice)))
			},
		},
		{
			// Clients make their own proof, and so cannot get it wrong.
			name:    "proof of possession by another key",
			refused: reasons{byCA: {"signature supplied in the request could not be verified"}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				key := newP256(t)
				prover := key
				if wrong {
					prover = newP256(t)
				}
				token := n.issuer.Mint(t, n.issuer.Claims(alice))
				return attempt{byCA: func(t *testing.T) verdict { return n.certificate(t, token, key.Public(), prover) }}
			},
		},
	}
}

// request puts a token before the CA, and before clients that sign with it.
func (n *negatives) request(token string) attempt {
	return attempt{
		byCA: func(t *testing.T) verdict {
			key := newP256(t)
			return n.certificate(t, token, key.Public(), key)
		},
		bySigstack: func(t *testing.T) verdict {
			blob := e2etest.WriteFile(t, t.TempDir(), "blob", "hello\n")
			return verdictOf(t, e2etest.Run(t, []string{signing.TokenVariable + "=" + token}, e2etest.Sigstack(t), "sign", "--client", n.stack.Kit(""), blob))
		},
		byCosign: func(t *testing.T) verdict {
			dir := t.TempDir()
			return verdictOf(t, e2etest.Run(t, []string{signing.TokenVariable + "=" + token}, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes",
				"--signing-config", n.stack.Kit("signing_config.v0.2.json"), "--trusted-root", n.stack.Kit("trusted_root.json"),
				"--bundle", filepath.Join(dir, "bundle"), e2etest.WriteFile(t, dir, "blob", "hello\n")))
		},
	}
}

// certificate asks the CA for a certificate for pub, with alice's challenge
// signed by prover. A refusal must be a 400: anything else fails the test.
func (n *negatives) certificate(t *testing.T, token string, pub crypto.PublicKey, prover crypto.Signer) verdict {
	t.Helper()
	digest := sha256.Sum256([]byte(alice))
	proof, err := prover.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	body := text(object{
		"credentials":      object{"oidcIdentityToken": token},
		"publicKeyRequest": object{"publicKey": object{"algorithm": "ECDSA", "content": e2etest.PublicPEM(t, pub)}, "proofOfPossession": proof},
	})
	status, answer, err := e2etest.Post(t.Context(), http.DefaultClient, n.stack.URL+"/api/v2/signingCert", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK && status != http.StatusBadRequest {
		t.Errorf("CA answers %d, want 200 or 400: %s", status, answer)
	}
	return verdict{status == http.StatusOK, string(answer)}
}

// verdictOf reads a client's exit. sigstack's refusals are exit 1, not a failure
// of another kind.
func verdictOf(t *testing.T, r e2etest.Result) verdict {
	t.Helper()
	if r.Code > 1 || r.Code < 0 {
		t.Errorf("exit %d, want 0 or 1: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	return verdict{r.Code == 0, r.Stdout + r.Stderr}
}

// refusedSignatures are signed files that are right but for one fact.
func refusedSignatures() []negative {
	return []negative{
		{
			name: "flipped byte",
			refused: reasons{
				bySigstack: {refusedAt(signing.CheckArtifact)},
				byCosign:   {"could not verify message: invalid signature"},
			},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.sign(t, n.alices(), artifact)
				if wrong {
					artifact[0] ^= 1
				}
				return n.verify(t, artifact, e)
			},
		},
		{
			// It names this artifact's digest, as whoever passes it off would write.
			name:    "bundle of another artifact",
			refused: byBoth(signing.CheckEntry, "does not match artifact"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.sign(t, n.alices(), pick(wrong, []byte(rand.Text()), artifact))
				e.digest = sha256.Sum256(artifact)
				return n.verify(t, artifact, e)
			},
		},
		certified("other identity", byBoth(signing.CheckIdentity, "expected SAN value"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.email = "mallory@example.com" }),
		certified("other issuer", byBoth(signing.CheckIdentity, "expected issuer value"),
			func(_ *testing.T, n *negatives, c *certificate) { c.issuer = n.stranger.URL }),
		certified("certificate of another CA", byBoth(signing.CheckCertificate, "leaf certificate verification failed"),
			func(t *testing.T, n *negatives, c *certificate) { c.by = n.strangerCA(t) }),
		certified("certificate that ended before the entry", byBoth(signing.CheckEntry, "integrated time outside certificate validity"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.notBefore = time.Now().Add(-11 * time.Minute) }),
		certified("tampered SCT", byBoth(signing.CheckSCT, "only able to verify 0 SCT entries"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.spoilSCT = flipLast }),
		tampered("tampered SET", reasons{
			bySigstack: {refusedAt(signing.CheckPromise)},
			byCosign:   {"not enough verified log entries"},
		}, func(_ *testing.T, e *evidence) { flipLast(e.entry.Verification.SET) }),
		tampered("tampered inclusion proof", byBoth(signing.CheckInclusion, "calculated root"),
			func(t *testing.T, e *evidence) {
				hashes := e.entry.Verification.Proof.Hashes
				flipped := unhex(t, hashes[0])
				flipLast(flipped)
				hashes[0] = hex.EncodeToString(flipped)
			}),
		tampered("tampered checkpoint", byBoth(signing.CheckInclusion, "signature on checkpoint did not verify"),
			func(t *testing.T, e *evidence) {
				proof := &e.entry.Verification.Proof
				proof.Checkpoint = flipSignature(t, proof.Checkpoint)
			}),
		{
			// cosign takes the log's word for the time and does not look at the
			// token, unless it is told to.
			name: "tampered timestamp",
			refused: reasons{
				bySigstack:    {refusedAt(signing.CheckTimestamp)},
				byCosignTimed: {"threshold not met for verified signed timestamps"},
			},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.sign(t, n.alices(), artifact)
				if wrong {
					flipLast(e.timestamp) // ends in its signature
				}
				a := n.verify(t, artifact, e)
				a[byCosignTimed] = n.cosign(t, artifact, e, "--use-signed-timestamps")
				return a
			},
		},
	}
}

// certified is a case of what stands in the certificate.
func certified(name string, refused reasons, change func(*testing.T, *negatives, *certificate)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		c := n.alices()
		if wrong {
			change(t, n, &c)
		}
		artifact := []byte(rand.Text())
		return n.verify(t, artifact, n.sign(t, c, artifact))
	}}
}

// tampered is a case of a signature that was right until its bundle was changed.
func tampered(name string, refused reasons, change func(*testing.T, *evidence)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.sign(t, n.alices(), artifact)
		if wrong {
			change(t, e)
		}
		return n.verify(t, artifact, e)
	}}
}

// refusedAt is how sigstack names the check that failed.
func refusedAt(check signing.Check) string { return "sigstack: refused: " + string(check) + ": " }

// byBoth is for what both clients refuse in the words of the library they share.
func byBoth(check signing.Check, words string) reasons {
	return reasons{bySigstack: {refusedAt(check), words}, byCosign: {words}}
}

// alices is a certificate as the CA would issue it to alice now.
func (n *negatives) alices() certificate {
	return certificate{by: n.ca, email: alice, issuer: n.issuer.URL, notBefore: time.Now()}
}

// verify puts a signed file before both clients, who want it to be alice's.
func (n *negatives) verify(t *testing.T, artifact []byte, e *evidence) attempt {
	t.Helper()
	blob, bundle := e.files(t, artifact)
	return attempt{
		bySigstack: func(t *testing.T) verdict { return verdictOf(t, n.stack.Verify(t, blob, bundle, n.wanted()...)) },
		byCosign:   n.cosign(t, artifact, e),
	}
}

func (n *negatives) cosign(t *testing.T, artifact []byte, e *evidence, flags ...string) func(*testing.T) verdict {
	t.Helper()
	blob, bundle := e.files(t, artifact)
	return func(t *testing.T) verdict {
		return verdictOf(t, n.stack.VerifyWithCosign(t, blob, bundle, append(n.wanted(), flags...)...))
	}
}

// wanted demands alice's signature.
func (n *negatives) wanted() []string {
	return []string{"--certificate-identity", alice, "--certificate-oidc-issuer", n.issuer.URL}
}

// files writes an artifact and its bundle.
func (e *evidence) files(t *testing.T, artifact []byte) (blob, bundle string) {
	t.Helper()
	dir := t.TempDir()
	return e2etest.WriteFile(t, dir, "blob", string(artifact)), e2etest.WriteFile(t, dir, "bundle", e.bundle(t))
}

// flipLast flips the lowest bit of a signature's last byte: of an ECDSA one it
// leaves the encoding as it is and changes the number s.
func flipLast(b []byte) { b[len(b)-1] ^= 1 }

// flipSignature does so inside a checkpoint's signature line.
func flipSignature(t *testing.T, note string) string {
	t.Helper()
	at := strings.LastIndexByte(note, ' ') + 1
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(note[at:], "\n"))
	if err != nil {
		t.Fatal(err)
	}
	flipLast(signature)
	return note[:at] + base64.StdEncoding.EncodeToString(signature) + "\n"
}

func pick[T any](wrong bool, bad, good T) T {
	if wrong {
		return bad
	}
	return good
}
