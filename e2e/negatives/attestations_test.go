package negatives

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"sigstack/internal/signing"
)

// The types of DSSE payload and of predicate that the cases have when right.
const (
	inToto    = "application/vnd.in-toto+json"
	tested    = "https://example.com/tested/v1"
	statement = "https://in-toto.io/Statement/v1"
)

// refusedAttestations are attestations of a file that are right but for one fact.
// sigstore-js verifies envelopes, and leaves what they say to its callers.
func refusedAttestations() []negative {
	return []negative{
		stated("attestation of another subject", by(signing.CheckStatement, "failed to verify signature: provided artifact digest", "").not(byJS), func(s object) { s["subject"] = subject([]byte("another")) }),
		stated("attestation of no subject", by(signing.CheckStatement, "no subjects found in statement", "").but(byCosign2, "provided artifact digests does not match").not(byJS), func(s object) { s["subject"] = []object{} }),
		stated("attestation of another type", by(signing.CheckStatement, "invalid predicate type", "").not(byJS), func(s object) { s["predicateType"] = "https://example.com/other/v1" }),
		stated("attestation of no type", by(signing.CheckStatement, "invalid predicate type", "").not(byJS), func(s object) { delete(s, "predicateType") }),
		stated("not an in-toto statement", by(signing.CheckStatement, "", "").not(byCosign3, byCosign2, byJS), func(s object) { s["_type"] = "https://example.com/Statement/v1" }),
		enclosed("payload of another type", by(signing.CheckStatement, "unable to extract statement from", "").not(byJS), func(v *envelope) { v.payloadType = "application/json" }),
		enclosed("payload that is not JSON", by(signing.CheckStatement, "unable to extract statement from", "").not(byJS), func(v *envelope) { v.payload = []byte("hello") }),
		opened("payload changed", by(signing.CheckEntry, "entry payload hash", "payload hash mismatch").but(byCosign2, "accepted signatures do not match"), func(_ *testing.T, _ *negatives, _ *evidence, v object) {
			v["payload"] = append(v["payload"].([]byte), ' ')
		}),
		opened("payload type changed", by(signing.CheckStatement, "accepted signatures do not match", "signature verification failed"), func(_ *testing.T, _ *negatives, _ *evidence, v object) {
			v["payloadType"] = "application/vnd.in-toto+JSON"
		}),
		opened("tampered envelope signature", by(signing.CheckEntry, "transparency log signature does not match", badTimestamp), func(_ *testing.T, _ *negatives, e *evidence, _ object) { flipLast(e.signature) }),
		opened("signature of another envelope", by(signing.CheckEntry, "transparency log signature does not match", badTimestamp), func(t *testing.T, n *negatives, e *evidence, v object) {
			v["signatures"] = n.attest(t, e.signer, newEnvelope([]byte("another"), nil)).dsse()["signatures"]
		}),
		opened("envelope without a signature", by(signing.CheckStatement, "transparency log signature does not match", "invalid bundle"), func(_ *testing.T, _ *negatives, _ *evidence, v object) { v["signatures"] = []object{} }),
		opened("second signature by somebody else", by(signing.CheckStatement, "exactly one signature is required", "invalid bundle"), func(t *testing.T, n *negatives, e *evidence, v object) {
			other := n.attest(t, newSigner(t, n.alices()), *e.envelope).dsse()["signatures"].([]object)
			v["signatures"] = append(v["signatures"].([]object), other...)
		}),
		{
			name:    "entry of another envelope",
			refused: by(signing.CheckEntry, "transparency log signature does not match", "tlog entry signature mismatch"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				e := n.attest(t, newSigner(t, n.alices()), newEnvelope(artifact, nil))
				if wrong {
					e.entry = n.attest(t, e.signer, newEnvelope([]byte("another"), nil)).entry
				}
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), predicate: tested})
			},
		},
		relogged("entry of another payload hash", by(signing.CheckEntry, "entry payload hash", "payload hash mismatch").not(byCosign2), func(spec object) {
			spec["payloadHash"].(object)["value"] = hex.EncodeToString(make([]byte, sha256.Size))
		}),
		relogged("entry of another envelope hash", nil, func(spec object) {
			spec["envelopeHash"].(object)["value"] = hex.EncodeToString(make([]byte, sha256.Size))
		}),
		{
			name:    "signature presented as an attestation",
			refused: by(signing.CheckStatement, "bundle does not contain a DSSE envelope", "").not(byJS),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				by := newSigner(t, n.alices())
				e := n.attest(t, by, newEnvelope(artifact, nil))
				if wrong {
					e = n.sign(t, by, artifact)
				}
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), predicate: tested})
			},
		},
		{
			name:    "attestation presented as a signature",
			refused: by(signing.CheckBundle, "", "").not(byCosign3, byCosign2, byJS),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				by := newSigner(t, n.alices())
				e := n.sign(t, by, artifact)
				if wrong {
					e = n.attest(t, by, newEnvelope(artifact, nil))
				}
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
			},
		},
		attestedBy("attested by somebody else", by(signing.CheckIdentity, "expected SAN value", "certificate identity error"), func(_ *testing.T, _ *negatives, c *certificate) { c.email = "mallory@example.com" }),
		attestedBy("attested under a certificate of another CA", by(signing.CheckCertificate, "leaf certificate verification failed", "no valid certificate path found"), func(t *testing.T, n *negatives, c *certificate) { c.by = n.strangerCA(t) }),
	}
}

// newEnvelope holds a statement on an artifact, after a change to it.
func newEnvelope(artifact []byte, change func(object)) envelope {
	s := object{"_type": statement, "subject": subject(artifact), "predicateType": tested, "predicate": object{"passed": true}}
	if change != nil {
		change(s)
	}
	return envelope{inToto, []byte(text(s))}
}

func subject(artifact []byte) []object {
	digest := sha256.Sum256(artifact)
	return []object{{"name": "artifact", "digest": object{"sha256": hex.EncodeToString(digest[:])}}}
}

// stated is a case of what stands in the statement.
func stated(name string, refused reasons, change func(object)) negative {
	return attested(name, refused, func(artifact []byte, wrong bool) envelope {
		return newEnvelope(artifact, pick(wrong, change, nil))
	})
}

// enclosed is a case of what is in the envelope besides a good statement.
func enclosed(name string, refused reasons, change func(*envelope)) negative {
	return attested(name, refused, func(artifact []byte, wrong bool) envelope {
		v := newEnvelope(artifact, nil)
		if wrong {
			change(&v)
		}
		return v
	})
}

// attested is a case of an envelope that is rightly signed and logged.
func attested(name string, refused reasons, enclose func(artifact []byte, wrong bool) envelope) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.attest(t, newSigner(t, n.alices()), enclose(artifact, wrong))
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), predicate: tested})
	}}
}

// attestedBy is a case of who attests.
func attestedBy(name string, refused reasons, change func(*testing.T, *negatives, *certificate)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		c := n.alices()
		if wrong {
			change(t, n, &c)
		}
		artifact := []byte(rand.Text())
		e := n.attest(t, newSigner(t, c), newEnvelope(artifact, nil))
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), predicate: tested})
	}}
}

// opened is a case of an envelope that was right until it was changed.
func opened(name string, refused reasons, change func(*testing.T, *negatives, *evidence, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.attest(t, newSigner(t, n.alices()), newEnvelope(artifact, nil))
		b := e.bundle(t)
		if wrong {
			change(t, n, e, b["dsseEnvelope"].(object))
		}
		return n.show(t, shown{artifact: artifact, bundle: b, predicate: tested})
	}}
}

// relogged is a case of what a log that lies says of an envelope.
func relogged(name string, refused reasons, change func(spec object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.attest(t, newSigner(t, n.alices()), newEnvelope(artifact, nil))
		var body object
		if err := json.Unmarshal(e.entry.Body, &body); err != nil {
			t.Fatal(err)
		}
		if wrong {
			change(body["spec"].(object))
		}
		e.entry = n.lie(t, e.entry, []byte(text(body)))
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), predicate: tested})
	}}
}
