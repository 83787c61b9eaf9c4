package negatives

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pki"
	"sigstack/internal/signing"
)

// refusedLies are signatures about which the log lies, or the CA.
func refusedLies() []negative {
	return []negative{
		loggedAs("logged with another digest", by(signing.CheckEntry, notAnEntry, "digest mismatch").but(byCosign3, notABundle), func(_ *testing.T, _ *negatives, spec object) {
			spec["data"].(object)["hash"].(object)["value"] = hex.EncodeToString(make([]byte, sha256.Size))
		}),
		loggedAs("logged with another signature", by(signing.CheckEntry, notAnEntry, "signature mismatch").but(byCosign3, notABundle), func(t *testing.T, _ *negatives, spec object) {
			spec["signature"].(object)["content"] = signer{key: newP256(t)}.sign(t, make([]byte, sha256.Size))
		}),
		loggedAs("logged with another certificate", by(signing.CheckEntry, notAnEntry, "").but(byCosign3, notABundle).not(byJS), func(t *testing.T, n *negatives, spec object) {
			spec["signature"].(object)["publicKey"].(object)["content"] = newSigner(t, n.alices()).pem(t)
		}),
		loggedAs("logged with the bare key", by(signing.CheckEntry, "transparency log certificate does not match", "").not(byJS), func(t *testing.T, n *negatives, spec object) {
			content := spec["signature"].(object)["publicKey"].(object)
			content["content"] = bareKey(t, content["content"].(string))
		}),
		sealedAs("checkpoint under another name", by(signing.CheckInclusion, "", "invalid checkpoint signature").not(byCosign3, byCosign2), func(t *testing.T, n *negatives, note string) string {
			return n.sealed(t, "log.example", note)
		}),
		// Nobody asks for more than the log's name under the note, and its key.
		sealedAs("checkpoint of another origin", nil, func(t *testing.T, n *negatives, note string) string {
			return n.sealed(t, n.host(t), strings.Replace(note, n.host(t), "log.example", 1))
		}),
		sealedAs("checkpoint with more to say", nil, func(t *testing.T, n *negatives, note string) string {
			return n.sealed(t, n.host(t), note+"more\n")
		}),
		sealedAs("checkpoint with a second signature", by(signing.CheckInclusion, "signature on checkpoint did not verify", "").not(byJS), func(t *testing.T, n *negatives, note string) string {
			_, second, _ := strings.Cut(n.other.sealed(t, "log.example", note), "\n\n")
			return n.sealed(t, n.host(t), note) + second
		}),
		sealedAs("checkpoint of a larger tree", by(signing.CheckInclusion, "", "TLOG_INCLUSION_PROOF_ERROR").not(byCosign3, byCosign2), func(t *testing.T, n *negatives, note string) string {
			return n.sealed(t, n.host(t), strings.Replace(note, "\n1\n", "\n2\n", 1))
		}),
		tampered("tree size of the proof changed", by(signing.CheckInclusion, "failed to verify log inclusion", "").not(byJS), func(_ *testing.T, b object) {
			var size int64
			if _, err := fmt.Sscan(proofOf(b)["treeSize"].(string), &size); err != nil {
				panic(err)
			}
			proofOf(b)["treeSize"] = number(size + 1)
		}),
		certified("second SCT of an unknown log", by(signing.CheckSCT, "", "SCT verification failed").not(byCosign3, byCosign2), func(t *testing.T, _ *negatives, c *certificate) {
			c.second = func(c *certificate) { c.ctlog = newP256(t) }
		}),
		certified("second SCT tampered", by(signing.CheckSCT, "", "SCT verification failed").not(byCosign3, byCosign2), func(_ *testing.T, _ *negatives, c *certificate) {
			c.second = func(c *certificate) { c.spoilSCT = flipLast }
		}),
		certified("another issuer in the old extension", by(signing.CheckCertificate, "", "").not(byCosign3, byCosign2, byJS), func(_ *testing.T, n *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) { tmpl.ExtraExtensions[1].Value = []byte(n.stranger.URL) }
		}),
		certified("another issuer in the new extension", by(signing.CheckIdentity, "expected issuer value", "invalid certificate extension"), func(t *testing.T, n *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) { tmpl.ExtraExtensions[2].Value = utf8String(t, n.stranger.URL) }
		}),
	}
}

// loggedAs is a case of what the log holds of a good signature.
func loggedAs(name string, refused reasons, change func(*testing.T, *negatives, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.sign(t, newSigner(t, n.alices()), artifact)
		var body object
		if err := json.Unmarshal(e.entry.Body, &body); err != nil {
			t.Fatal(err)
		}
		if wrong {
			change(t, n, body["spec"].(object))
		}
		e.entry = n.lie(t, e.entry, []byte(text(body)))
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
	}}
}

// sealedAs is a case of how the log signs the tree with a good entry.
func sealedAs(name string, refused reasons, seal func(t *testing.T, n *negatives, note string) string) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.sign(t, newSigner(t, n.alices()), artifact)
		e.entry = n.lie(t, e.entry, e.entry.Body)
		if wrong {
			proof := &e.entry.Verification.Proof
			note, _, _ := strings.Cut(proof.Checkpoint, "\n\n")
			proof.Checkpoint = seal(t, n, note+"\n")
		}
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
	}}
}

// bareKey is the PEM of a certificate's key. The log has PEM in base64.
func bareKey(t *testing.T, content string) []byte {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificatesPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(e2etest.PublicPEM(t, certs[0].PublicKey))
}
