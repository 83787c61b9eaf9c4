package negatives

import (
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/signing"
)

// refusedEvidence are bundles that were right until something in them was changed.
func refusedEvidence() []negative {
	return []negative{
		tampered("tampered signature", by(signing.CheckEntry, "transparency log signature does not match", "timestamp could not be verified"), func(_ *testing.T, b object) {
			flipLast(b["messageSignature"].(object)["signature"].([]byte))
		}),
		tampered("stripped log entry", by(signing.CheckLog, noEntry, "expected 1 tlog entries, got 0"), func(_ *testing.T, b object) { delete(materialOf(b), "tlogEntries") }),
		tampered("log entry given twice", by(signing.CheckEntry, "duplicate tlog entries found", "duplicate timestamp"), func(_ *testing.T, b object) {
			materialOf(b)["tlogEntries"] = []object{entryOf(b), entryOf(b)}
		}),
		tampered("stripped SET", by(signing.CheckPromise, "threshold not met for verified log entry integrated timestamps", "").not(byJS), func(_ *testing.T, b object) { delete(entryOf(b), "inclusionPromise") }),
		tampered("tampered SET", by(signing.CheckPromise, noEntry, badPromise), func(_ *testing.T, b object) { flipLast(setOf(b)) }),
		tampered("stripped inclusion proof", by(signing.CheckInclusion, "inclusion proof missing in bundle", "invalid bundle").but(byCosign3, notABundle), func(_ *testing.T, b object) { delete(entryOf(b), "inclusionProof") }),
		tampered("tampered inclusion proof", by(signing.CheckInclusion, "does not match expected root", "calculated root hash does not match inclusion proof"), func(_ *testing.T, b object) { flipLast(proofOf(b)["hashes"].([][]byte)[0]) }),
		tampered("tampered root hash", by(signing.CheckInclusion, "does not match expected root", "").not(byJS), func(_ *testing.T, b object) { flipLast(proofOf(b)["rootHash"].([]byte)) }),
		tampered("stripped checkpoint", by(signing.CheckInclusion, "inclusion proof missing required checkpoint", "invalid bundle").but(byCosign3, notABundle), func(_ *testing.T, b object) { delete(proofOf(b), "checkpoint") }),
		tampered("tampered checkpoint", by(signing.CheckInclusion, "signature on checkpoint did not verify", "invalid checkpoint signature"), func(t *testing.T, b object) {
			checkpoint := proofOf(b)["checkpoint"].(object)
			checkpoint["envelope"] = flipSignature(t, checkpoint["envelope"].(string))
		}),
		tampered("index of the entry changed", by(signing.CheckPromise, noEntry, badPromise), func(_ *testing.T, b object) { entryOf(b)["logIndex"] = "0" }),
		tampered("index of the proof changed", by(signing.CheckInclusion, "failed to verify log inclusion", "TLOG_INCLUSION_PROOF_ERROR"), func(_ *testing.T, b object) { proofOf(b)["logIndex"] = "0" }),
		tampered("integrated time changed", by(signing.CheckPromise, noEntry, badPromise), func(_ *testing.T, b object) {
			entryOf(b)["integratedTime"] = number(time.Now().Add(time.Minute).Unix())
		}),
		tampered("log ID changed", by(signing.CheckLog, noEntry, badPromise), func(_ *testing.T, b object) { flipLast(entryOf(b)["logId"].(object)["keyId"].([]byte)) }),
		tampered("body of the entry changed", by(signing.CheckPromise, noEntry, badPromise), func(t *testing.T, b object) {
			var body object
			if err := json.Unmarshal(entryOf(b)["canonicalizedBody"].([]byte), &body); err != nil {
				t.Fatal(err)
			}
			entryOf(b)["canonicalizedBody"] = []byte(text(body) + "\n")
		}),
		tampered("kind of the entry changed", by(signing.CheckEntry, "", "kind/version mismatch").not(byCosign3, byCosign2), func(_ *testing.T, b object) {
			entryOf(b)["kindVersion"] = object{"kind": "dsse", "version": "0.0.1"}
		}),
		swapped("entry of another artifact", by(signing.CheckEntry, "transparency log signature does not match", "signature mismatch"), func(t *testing.T, n *negatives, e *evidence) {
			e.entry = n.sign(t, e.signer, []byte(rand.Text())).entry
		}),
		swapped("checkpoint of another entry", by(signing.CheckInclusion, "proof root hash does not match signed tree head", "TLOG_INCLUSION_PROOF_ERROR"), func(t *testing.T, n *negatives, e *evidence) {
			e.entry.Verification.Proof.Checkpoint = n.sign(t, e.signer, []byte(rand.Text())).entry.Verification.Proof.Checkpoint
		}),
		swapped("checkpoint of another log", by(signing.CheckInclusion, "signature on checkpoint did not verify", "invalid checkpoint signature"), func(t *testing.T, n *negatives, e *evidence) {
			e.entry.Verification.Proof.Checkpoint = n.other.sign(t, e.signer, []byte(rand.Text())).entry.Verification.Proof.Checkpoint
		}),
		swapped("entry of another log", by(signing.CheckLog, noEntry, badPromise), func(t *testing.T, n *negatives, e *evidence) {
			e.entry = n.other.logEntry(t, e)
		}),
		downgraded("old bundle: tampered SET", by(signing.CheckPromise, noEntry, badPromise), func(b object) { flipLast(setOf(b)) }),
		downgraded("old bundle: stripped SET", by(signing.CheckPromise, "inclusion promises missing in bundle", "invalid v0.1 bundle").but(byCosign3, notABundle), func(b object) { delete(entryOf(b), "inclusionPromise") }),
		downgraded("old bundle: integrated time changed", by(signing.CheckPromise, noEntry, badPromise), func(b object) {
			entryOf(b)["integratedTime"] = number(time.Now().Add(time.Minute).Unix())
		}),
	}
}

// refusedTimestamps are bundles that are right but for their timestamp. cosign
// takes the log's word for the time and does not look at timestamps, unless it is
// told to, so each is put twice.
func refusedTimestamps() []negative {
	bad := by(signing.CheckTimestamp, noTimestamp, badTimestamp)
	var cases []negative
	for _, c := range []struct {
		name   string
		change func(*testing.T, *negatives, *evidence)
	}{
		{"tampered timestamp", func(_ *testing.T, _ *negatives, e *evidence) { flipLast(e.timestamp) }}, // ends in its signature
		{"timestamp of another signature", func(t *testing.T, n *negatives, e *evidence) {
			e.timestamp = n.stamp(t, []byte(rand.Text()))
		}},
		{"timestamp of an unknown authority", func(t *testing.T, n *negatives, e *evidence) {
			e.timestamp = n.other.stamp(t, e.signature)
		}},
	} {
		cases = append(cases, stamped(c.name, bad.not(byCosign3, byCosign2), false, c.change),
			stamped(c.name+", demanded", bad, true, c.change))
	}
	strip := func(_ *testing.T, _ *negatives, e *evidence) { e.timestamp = nil }
	return append(cases,
		// The log's word is enough unless more is asked for.
		stamped("stripped timestamp", nil, false, strip),
		stamped("stripped timestamp, demanded", by(signing.CheckTimestamp, noTimestamp, "expected 2 timestamps, got 1"), true, strip))
}

// tampered is a case of a bundle that was right until it was changed.
func tampered(name string, refused reasons, change func(*testing.T, object)) negative {
	return reshaped(name, refused, func(object) {}, change)
}

// reshaped is tampered for a bundle of another shape.
func reshaped(name string, refused reasons, shape func(object), change func(*testing.T, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		b := n.sign(t, newSigner(t, n.alices()), artifact).bundle(t)
		shape(b)
		if wrong {
			change(t, b)
		}
		return n.show(t, shown{artifact: artifact, bundle: b})
	}}
}

// swapped is a case of evidence that is right, and of something else.
func swapped(name string, refused reasons, change func(*testing.T, *negatives, *evidence)) negative {
	return stamped(name, refused, false, change)
}

func stamped(name string, refused reasons, timed bool, change func(*testing.T, *negatives, *evidence)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		artifact := []byte(rand.Text())
		e := n.sign(t, newSigner(t, n.alices()), artifact)
		if wrong {
			change(t, n, e)
		}
		return n.show(t, shown{artifact: artifact, bundle: e.bundle(t), timed: timed})
	}}
}

// downgraded is a case of a bundle as cosign wrote them in 2023 (v0.1), with
// nothing but the log's promise.
func downgraded(name string, refused reasons, change func(object)) negative {
	return reshaped(name, refused, func(b object) {
		b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
		m := materialOf(b)
		m["x509CertificateChain"] = object{"certificates": []any{m["certificate"]}}
		delete(m, "certificate")
		delete(entryOf(b), "inclusionProof")
	}, func(_ *testing.T, b object) { change(b) })
}

// refusedRoots are signatures that a trusted root does not cover.
func refusedRoots() []negative {
	anHourAgo := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	ended := func(member string) func(*testing.T, object) {
		return func(_ *testing.T, root object) {
			windowOf(root, member)["validFor"] = object{"start": "2020-01-01T00:00:00Z", "end": anHourAgo}
		}
	}
	future := func(member string) func(*testing.T, object) {
		return func(_ *testing.T, root object) {
			windowOf(root, member)["validFor"] = object{"start": "2099-01-01T00:00:00Z"}
		}
	}
	missing := func(member string) func(*testing.T, object) {
		return func(_ *testing.T, root object) { root[member] = []any{} }
	}
	return []negative{
		untrusted("log missing from the trusted root", by(signing.CheckLog, noEntry, badPromise), false, missing("tlogs")),
		untrusted("CA missing from the trusted root", by(signing.CheckCertificate, "leaf certificate verification failed", "Failed to verify certificate chain"), false, missing("certificateAuthorities")),
		untrusted("CT log missing from the trusted root", by(signing.CheckSCT, noSCT, "SCT verification failed"), false, missing("ctlogs")),
		untrusted("TSA missing from the trusted root", by(signing.CheckTimestamp, "", badTimestamp).not(byCosign3, byCosign2), false, missing("timestampAuthorities")),
		untrusted("TSA missing from the trusted root, demanded", by(signing.CheckTimestamp, noTimestamp, badTimestamp), true, missing("timestampAuthorities")),
		untrusted("log ended in the trusted root", by(signing.CheckPromise, noEntry, badPromise), false, ended("tlogs")),
		untrusted("CA ended in the trusted root", by(signing.CheckCertificate, "leaf certificate verification failed", "Failed to verify certificate chain"), false, ended("certificateAuthorities")),
		untrusted("CT log ended in the trusted root", by(signing.CheckSCT, noSCT, "SCT verification failed"), false, ended("ctlogs")),
		untrusted("TSA ended in the trusted root", by(signing.CheckTimestamp, "", badTimestamp).not(byCosign3, byCosign2), false, ended("timestampAuthorities")),
		untrusted("TSA ended in the trusted root, demanded", by(signing.CheckTimestamp, noTimestamp, badTimestamp), true, ended("timestampAuthorities")),
		untrusted("log of tomorrow in the trusted root", by(signing.CheckPromise, noEntry, badPromise), false, future("tlogs")),
		untrusted("CA of tomorrow in the trusted root", by(signing.CheckCertificate, "leaf certificate verification failed", "Failed to verify certificate chain"), false, future("certificateAuthorities")),
		untrusted("CT log of tomorrow in the trusted root", by(signing.CheckSCT, noSCT, "SCT verification failed"), false, future("ctlogs")),
		untrusted("TSA of tomorrow in the trusted root", by(signing.CheckTimestamp, "", badTimestamp).not(byCosign3, byCosign2), false, future("timestampAuthorities")),
		untrusted("TSA of tomorrow in the trusted root, demanded", by(signing.CheckTimestamp, noTimestamp, badTimestamp), true, future("timestampAuthorities")),
	}
}

// untrusted is a case of a good signature and of what the trusted root says.
func untrusted(name string, refused reasons, timed bool, change func(*testing.T, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		root := n.trustedRoot(t)
		if wrong {
			change(t, root)
		}
		artifact := []byte(rand.Text())
		b := n.sign(t, newSigner(t, n.alices()), artifact).bundle(t)
		return n.show(t, shown{artifact: artifact, bundle: b, trusted: root, timed: timed})
	}}
}

// trustedRoot is the kit's, for a test to change.
func (n *negatives) trustedRoot(t *testing.T) object {
	t.Helper()
	var root object
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, n.stack.Kit("trusted_root.json"))), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// longTrusted is the kit's trusted root as it would be if the stack had started
// in 2020.
func (n *negatives) longTrusted(t *testing.T) object {
	t.Helper()
	root := n.trustedRoot(t)
	for _, member := range []string{"tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"} {
		windowOf(root, member)["validFor"] = object{"start": "2020-01-01T00:00:00Z"}
	}
	return root
}

// windowOf is what has the validity of the first element of a trusted root's list.
func windowOf(root object, member string) object {
	element := root[member].([]any)[0].(object)
	if key, ok := element["publicKey"].(object); ok {
		return key
	}
	return element
}
