package negatives

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"sigstack/internal/signing"
)

// refusedSignatures are signed files that are right but for one fact.
func refusedSignatures() []negative {
	return []negative{
		{
			name:    "flipped byte",
			refused: by(signing.CheckArtifact, "could not verify message: invalid signature", "signature verification failed"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.sign(t, newSigner(t, n.alices()), artifact)
				if wrong {
					artifact[0] ^= 1
				}
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
			},
		},
		{
			// It names this artifact's digest, as whoever passes it off would write.
			name:    "bundle of another artifact",
			refused: by(signing.CheckEntry, "does not match artifact", "digest mismatch").but(byCosign2, "could not verify message: invalid signature"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.sign(t, newSigner(t, n.alices()), pick(wrong, []byte(rand.Text()), artifact))
				e.digest = sha256.Sum256(artifact)
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
			},
		},
		certified("signed by somebody else", by(signing.CheckIdentity, "expected SAN value", "certificate identity error"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.email = "mallory@example.com" }),
		certified("signed by somebody whose name begins alike", by(signing.CheckIdentity, "expected SAN value", "").not(byJS),
			func(_ *testing.T, _ *negatives, c *certificate) { c.email = alice + ".evil" }),
		certified("vouched for by another issuer", by(signing.CheckIdentity, "expected issuer value", "invalid certificate extension"),
			func(_ *testing.T, n *negatives, c *certificate) { c.issuer = n.stranger.URL }),
		certified("certificate of another CA", by(signing.CheckCertificate, "leaf certificate verification failed", "no valid certificate path found"),
			func(t *testing.T, n *negatives, c *certificate) { c.by = n.strangerCA(t) }),
		certified("certificate that ended before the entry", by(signing.CheckEntry, "integrated time outside certificate validity", "certificate is not valid or expired"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.notBefore = time.Now().Add(-11 * time.Minute) }),
		certified("certificate that begins after the entry", by(signing.CheckEntry, "integrated time outside certificate validity", "certificate is not valid or expired"),
			func(_ *testing.T, _ *negatives, c *certificate) { c.notBefore = time.Now().Add(time.Minute) }),
		certified("stripped SCT", by(signing.CheckSCT, noSCT, "expected 1 SCTs, got 0"), func(_ *testing.T, _ *negatives, c *certificate) { c.ctlog = nil }),
		certified("tampered SCT", by(signing.CheckSCT, noSCT, "SCT verification failed"), func(_ *testing.T, _ *negatives, c *certificate) { c.spoilSCT = flipLast }),
		certified("SCT of an unknown log", by(signing.CheckSCT, noSCT, "SCT verification failed"), func(t *testing.T, _ *negatives, c *certificate) { c.ctlog = newP256(t) }),
		{
			// Mallory signed and logged it, and presents a certificate of alice's.
			name:    "certificate swapped in",
			refused: by(signing.CheckEntry, "transparency log certificate does not match", "signature verification failed"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				alices := newSigner(t, n.alices())
				mallorys := n.alices()
				mallorys.email = "mallory@example.com"
				e := n.sign(t, pick(wrong, newSigner(t, mallorys), alices), artifact)
				e.signer = alices
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
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
		return n.show(t, shown{artifact: artifact, bundle: n.sign(t, newSigner(t, c), artifact).bundle(t)})
	}}
}

// alices is a certificate as the CA would issue it to alice now.
func (n *negatives) alices() certificate {
	return certificate{by: n.ca, email: alice, issuer: n.issuer.URL, notBefore: time.Now(), ctlog: n.ctlog}
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
