package negatives

import (
	"crypto/rand"
	"testing"

	"sigstack/internal/signing"
)

// refusedKeys are cases of key pairs, without certificates.
func refusedKeys() []negative {
	return []negative{
		{
			name:    "signed by another key",
			refused: by(signing.CheckIdentity, "transparency log certificate does not match", "signature verification failed"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				key := newP256(t)
				e := n.sign(t, signer{key: pick(wrong, newP256(t), key)}, artifact)
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), key: key.Public()})
			},
		},
		{
			// It is alice's, and the certified key is the wanted one.
			name:    "certified signature in place of the key's",
			refused: by(signing.CheckBundle, "expected key signature, not certificate", "").not(byJS),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				certified := newSigner(t, n.alices())
				e := n.sign(t, pick(wrong, certified, signer{key: certified.key}), artifact)
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), key: certified.key.Public()})
			},
		},
		{
			name:    "key's signature in place of the certified",
			refused: by(signing.CheckBundle, "transparency log certificate does not match", "key not found"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				certified := newSigner(t, n.alices())
				e := n.sign(t, pick(wrong, signer{key: certified.key}, certified), artifact)
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t)})
			},
		},
		{
			name:    "attested by another key",
			refused: by(signing.CheckIdentity, "transparency log certificate does not match", "signature verification failed"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				key := newP256(t)
				e := n.attest(t, signer{key: pick(wrong, newP256(t), key)}, newEnvelope(artifact, nil))
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), key: key.Public(), predicate: tested})
			},
		},
		keyed("flipped byte, with a key", by(signing.CheckArtifact, "could not verify message: invalid signature", "signature verification failed"), func(artifact []byte, _ object) { artifact[0] ^= 1 }),
		keyed("stripped log entry, with a key", by(signing.CheckLog, noEntry, "expected 1 tlog entries, got 0"), func(_ []byte, b object) { delete(materialOf(b), "tlogEntries") }),
		keyed("stripped inclusion proof, with a key", by(signing.CheckInclusion, "inclusion proof missing in bundle", "invalid bundle").but(byCosign3, notABundle), func(_ []byte, b object) { delete(entryOf(b), "inclusionProof") }),
		keyed("stripped SET, with a key", by(signing.CheckPromise, "", "").not(byCosign3, byCosign2, byJS), func(_ []byte, b object) { delete(entryOf(b), "inclusionPromise") }),
		keyed("tampered SET, with a key", by(signing.CheckPromise, noEntry, badPromise), func(_ []byte, b object) { flipLast(setOf(b)) }),
		keyed("index of the entry changed, with a key", by(signing.CheckPromise, noEntry, badPromise), func(_ []byte, b object) { entryOf(b)["logIndex"] = "0" }),
		{
			name:    "entry by another key",
			refused: by(signing.CheckIdentity, "transparency log signature does not match", "signature mismatch"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				artifact := []byte(rand.Text())
				by := signer{key: newP256(t)}
				e := n.sign(t, by, artifact)
				if wrong {
					e.entry = n.sign(t, signer{key: newP256(t)}, artifact).entry
				}
				return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), key: by.key.Public()})
			},
		},
	}
}

// keyed is a case of a key pair's bundle that was right until something changed.
func keyed(name string, refused reasons, change func(artifact []byte, b object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		by := signer{key: newP256(t)}
		b := n.sign(t, by, artifact).bundle(t)
		if wrong {
			change(artifact, b)
		}
		return n.show(t, shown{artifact: artifact, bundle: b, key: by.key.Public()})
	}}
}
