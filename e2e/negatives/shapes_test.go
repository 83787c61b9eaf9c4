package negatives

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"sigstack/internal/signing"
)

// refusedShapes are bundles in which nothing is forged: they are made as no client
// makes them, or say more than one thing.
func refusedShapes() []negative {
	return []negative{
		tampered("certificate chain in a bundle v0.3", by(signing.CheckBundle, "verification material cannot be X.509 certificate chain", "invalid bundle").but(byCosign3, notABundle), func(_ *testing.T, b object) {
			m := materialOf(b)
			m["x509CertificateChain"] = object{"certificates": []any{m["certificate"]}}
			delete(m, "certificate")
		}),
		tampered("bundle of an unknown version", by(signing.CheckBundle, "unsupported media type", "").but(byCosign3, notABundle).not(byJS), func(_ *testing.T, b object) {
			b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.9+json"
		}),
		tampered("unknown member in the bundle", by(signing.CheckBundle, "unknown field", "").but(byCosign3, notABundle).not(byJS), func(_ *testing.T, b object) { b["trustMe"] = true }),
		tampered("digest left out", by(signing.CheckBundle, "missing verification material", "invalid bundle"), func(_ *testing.T, b object) { delete(b["messageSignature"].(object), "messageDigest") }),
		tampered("wrong digest in the bundle", by(signing.CheckArtifact, "does not match artifact", "digest mismatch").not(byCosign2), func(_ *testing.T, b object) {
			flipLast(b["messageSignature"].(object)["messageDigest"].(object)["digest"].([]byte))
		}),
		tampered("digest of another algorithm", by(signing.CheckBundle, "digest algorithm mismatch", "signature verification failed").not(byCosign2), func(_ *testing.T, b object) {
			b["messageSignature"].(object)["messageDigest"].(object)["algorithm"] = "SHA2_384"
		}),
		tampered("empty signature", by(signing.CheckBundle, "transparency log signature does not match", "invalid bundle"), func(_ *testing.T, b object) { b["messageSignature"].(object)["signature"] = "" }),
		repeated("second entry of an unknown log", by(signing.CheckLog, "", badPromise).not(byCosign3, byCosign2), func(t *testing.T, n *negatives, e *evidence, b object) {
			materialOf(b)["tlogEntries"] = []object{entryOf(b), n.other.logEntry(t, e).bundled(t, e.kind())}
		}),
		repeated("second entry of another artifact", by(signing.CheckEntry, "transparency log signature does not match", "duplicate timestamp"), func(t *testing.T, n *negatives, e *evidence, b object) {
			second := n.sign(t, e.signer, []byte(rand.Text()))
			second.entry.IntegratedTime = e.entry.IntegratedTime // or sigstore-js has another reason, a second later
			second.entry = n.lie(t, second.entry, second.entry.Body)
			materialOf(b)["tlogEntries"] = []object{entryOf(b), second.entry.bundled(t, e.kind())}
		}),
		repeated("timestamp given twice", by(signing.CheckTimestamp, "", "duplicate timestamp").not(byCosign3, byCosign2), func(t *testing.T, n *negatives, e *evidence, b object) {
			restamp(b, e.timestamp, e.timestamp)
		}),
		repeated("second timestamp tampered", by(signing.CheckTimestamp, "", badTimestamp).not(byCosign3, byCosign2), func(t *testing.T, n *negatives, e *evidence, b object) {
			second := n.stamp(t, e.signature)
			flipLast(second)
			restamp(b, e.timestamp, second)
		}),
		repeated("second timestamp of an unknown authority", by(signing.CheckTimestamp, "", badTimestamp).not(byCosign3, byCosign2), func(t *testing.T, n *negatives, e *evidence, b object) {
			restamp(b, e.timestamp, n.other.stamp(t, e.signature))
		}),
		{
			// The log's word is of a time when the certificate was valid.
			name:    "timestamp after the certificate's end",
			refused: by(signing.CheckCertificate, "", "certificate is not valid or expired").not(byCosign3, byCosign2),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				c := n.alices()
				c.notBefore = time.Now().Add(pick(wrong, -11*time.Minute, -6*time.Minute))
				artifact := []byte(rand.Text())
				e := n.sign(t, newSigner(t, c), artifact)
				e.entry.IntegratedTime -= 5 * 60
				e.entry = n.lie(t, e.entry, e.entry.Body)
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), trusted: n.longTrusted(t)})
			},
		},
		certified("certificate not for code signing", by(signing.CheckCertificate, "leaf certificate verification failed", "").not(byJS), func(_ *testing.T, _ *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) { tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		}),
		certified("certificate with an unknown critical extension", by(signing.CheckCertificate, "leaf certificate verification failed", "").not(byJS), func(_ *testing.T, _ *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) {
				tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{
					Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0},
				})
			}
		}),
		certified("certificate with another name after alice's", by(signing.CheckCertificate, "", "").not(byCosign3, byCosign2, byJS), func(t *testing.T, _ *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) {
				tmpl.ExtraExtensions[0].Value = subjectNames(t, alice, "mallory@example.com")
			}
		}),
		certified("certificate with another name before alice's", by(signing.CheckIdentity, "expected SAN value", "certificate identity error"), func(t *testing.T, _ *negatives, c *certificate) {
			c.change = func(tmpl *x509.Certificate) {
				tmpl.ExtraExtensions[0].Value = subjectNames(t, "mallory@example.com", alice)
			}
		}),
	}
}

// repeated is a case of evidence that is given more than once.
func repeated(name string, refused reasons, change func(*testing.T, *negatives, *evidence, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.sign(t, newSigner(t, n.alices()), artifact)
		b := e.bundle(t)
		if wrong {
			change(t, n, e, b)
		}
		return n.show(t, shown{artifact: artifact, bundle: b})
	}}
}

// restamp gives a bundle other timestamps.
func restamp(b object, timestamps ...[]byte) {
	var list []object
	for _, timestamp := range timestamps {
		list = append(list, object{"signedTimestamp": timestamp})
	}
	materialOf(b)["timestampVerificationData"] = object{"rfc3161Timestamps": list}
}
