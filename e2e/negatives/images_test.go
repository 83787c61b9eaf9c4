package negatives

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"sigstack/e2e/e2etest"
	"sigstack/internal/oci"
	"sigstack/internal/pki"
	"sigstack/internal/signing"
)

// imageSignature is the predicate type of a signature that is stored as a
// referrer (contract: release-artifacts §B2).
const imageSignature = "https://sigstore.dev/cosign/sign/v1"

// refusedImages are images with one signature, or one attestation, beside them.
// sigstore-js verifies none.
func refusedImages() []negative {
	another := func(t *testing.T, n *negatives) string { return n.newImage(t).DigestStr() }
	return []negative{
		payloadSays("signature by tag: of another digest", byImageVerifiers(oci.CheckPayload, "invalid or missing digest in claim"), func(t *testing.T, n *negatives, p object) {
			p["critical"].(object)["image"].(object)["docker-manifest-digest"] = another(t, n)
		}),
		payloadSays("signature by tag: of another type", byImageVerifiers(oci.CheckPayload, "").not(byCosign3, byCosign2), func(_ *testing.T, _ *negatives, p object) {
			p["critical"].(object)["type"] = "atomic container signature"
		}),
		payloadSays("signature by tag: other annotations", byImageVerifiers(oci.CheckAnnotations, badAnnotation), func(_ *testing.T, _ *negatives, p object) {
			p["optional"].(object)["env"] = "test"
		}),
		payloadSays("signature by tag: no annotations", byImageVerifiers(oci.CheckAnnotations, badAnnotation), func(_ *testing.T, _ *negatives, p object) { p["optional"] = nil }),
		taggedWith("signature by tag: payload changed", byImageVerifiers(signing.CheckEntry, "matching bundle to payload"), false, func(_ *testing.T, _ *negatives, _ *evidence, s *stored) {
			s.content = append(s.content, ' ')
		}),
		taggedWith("signature by tag: tampered signature", byImageVerifiers(signing.CheckEntry, "signature in bundle does not match"), false, func(_ *testing.T, _ *negatives, e *evidence, s *stored) {
			flipLast(e.signature)
			s.annotations[signatureKey] = base64.StdEncoding.EncodeToString(e.signature)
		}),
		taggedWith("signature by tag: tampered SET", byImageVerifiers(signing.CheckPromise, "unable to verify SET").but(byCosign3, "verifying bundle with trusted root"), false, func(_ *testing.T, _ *negatives, e *evidence, s *stored) {
			flipLast(e.entry.Verification.SET)
			s.annotations[promiseKey] = text(e.promise())
		}),
		taggedWith("signature by tag: stripped SET", byImageVerifiers(signing.CheckLog, "offline verification failed"), false, func(_ *testing.T, _ *negatives, _ *evidence, s *stored) { delete(s.annotations, promiseKey) }),
		taggedWith("signature by tag: SET of another entry", byImageVerifiers(signing.CheckEntry, "signature in bundle does not match"), false, func(t *testing.T, n *negatives, e *evidence, s *stored) {
			s.annotations[promiseKey] = text(n.sign(t, e.signer, []byte(rand.Text())).promise())
		}),
		taggedWith("signature by tag: entry of another log", byImageVerifiers(signing.CheckLog, "verifying bundle"), false, func(t *testing.T, n *negatives, e *evidence, s *stored) {
			e.entry = n.other.logEntry(t, e)
			s.annotations[promiseKey] = text(e.promise())
		}),
		taggedWith("signature by tag: integrated time changed", byImageVerifiers(signing.CheckPromise, "unable to verify SET").but(byCosign3, "verifying bundle with trusted root"), false, func(_ *testing.T, _ *negatives, e *evidence, s *stored) {
			e.entry.IntegratedTime++
			s.annotations[promiseKey] = text(e.promise())
		}),
		taggedWith("signature by tag: certificate swapped in", byImageVerifiers(signing.CheckEntry, "comparing public key PEMs"), false, func(t *testing.T, n *negatives, _ *evidence, s *stored) {
			s.annotations[certificateKey] = string(newSigner(t, n.alices()).pem(t))
		}),
		taggedWith("signature by tag: stripped certificate", byImageVerifiers(signing.CheckBundle, "empty key"), false, func(_ *testing.T, _ *negatives, _ *evidence, s *stored) {
			delete(s.annotations, certificateKey)
		}),
		taggedWith("signature by tag: tampered timestamp", byImageVerifiers(signing.CheckTimestamp, "").not(byCosign3, byCosign2), false, tamperedStamp),
		taggedWith("signature by tag: tampered timestamp, demanded", byImageVerifiers(signing.CheckTimestamp, "unable to verify RFC3161 timestamp bundle"), true, tamperedStamp),
		// cosign demands of a timestamp by tag that it be right, not that it be there.
		taggedWith("signature by tag: stripped timestamp, demanded", byImageVerifiers(signing.CheckTimestamp, "").not(byCosign3, byCosign2), true, func(_ *testing.T, _ *negatives, _ *evidence, s *stored) {
			delete(s.annotations, timestampKey)
		}),
		taggedBy("signature by tag: by somebody else", byImageVerifiers(signing.CheckIdentity, "none of the expected identities matched"), func(_ *testing.T, _ *negatives, c *certificate) { c.email = "mallory@example.com" }),
		taggedBy("signature by tag: certificate of another CA", byImageVerifiers(signing.CheckCertificate, "certificate"), func(t *testing.T, n *negatives, c *certificate) { c.by = n.strangerCA(t) }),
		{
			name:    "signature by tag: certificate of another CA that it brings along",
			refused: byImageVerifiers(signing.CheckCertificate, "certificate"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				stranger := n.strangerCA(t)
				return taggedSignature{
					by: func(_ *testing.T, _ *negatives, c *certificate) { c.by = stranger },
					after: func(_ *testing.T, _ *negatives, _ *evidence, s *stored) {
						s.annotations[chainKey] = string(pki.CertificatesPEM(stranger.chain))
					},
				}.make(n, t, wrong)
			},
		},
		taggedBy("signature by tag: stripped SCT", byImageVerifiers(signing.CheckSCT, "does not include required embedded SCT"), func(_ *testing.T, _ *negatives, c *certificate) { c.ctlog = nil }),
		{
			name:    "signature by tag: by another key",
			refused: byImageVerifiers(signing.CheckIdentity, "comparing public key PEMs"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				image, key := n.newImage(t), newP256(t)
				payload := []byte(text(newPayload(image)))
				storeByTag(t, image, "sig", n.byTag(n.sign(t, signer{key: pick(wrong, newP256(t), key)}, payload), payload))
				return n.showImage(t, shownImage{image: image, key: key.Public()})
			},
		},
		{
			name:    "signature by tag: of the index only",
			refused: reasons{bySigstack: {"no signature"}, byCosign3: {"no signatures found"}, byCosign2: {"no signatures found"}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				index, child := n.newIndex(t)
				payload := []byte(text(newPayload(child)))
				if wrong {
					payload = []byte(text(newPayload(index)))
				}
				storeByTag(t, pick(wrong, index, child), "sig", n.byTag(n.sign(t, newSigner(t, n.alices()), payload), payload))
				return n.showImage(t, shownImage{image: child})
			},
		},
	}
}

func tamperedStamp(_ *testing.T, _ *negatives, e *evidence, s *stored) {
	flipLast(e.timestamp)
	s.annotations[timestampKey] = text(object{"SignedRFC3161Timestamp": e.timestamp})
}

// newPayload is what a signature by tag is over, with an annotation.
func newPayload(image name.Digest) object {
	return object{
		"critical": object{
			"identity": object{"docker-reference": image.Context().Name()},
			"image":    object{"docker-manifest-digest": image.DigestStr()},
			"type":     "cosign container image signature",
		},
		"optional": object{"env": "prod"},
	}
}

// taggedSignature is a signature by tag at the points where a test changes it.
type taggedSignature struct {
	says  func(*testing.T, *negatives, object)
	by    func(*testing.T, *negatives, *certificate)
	after func(*testing.T, *negatives, *evidence, *stored)
	timed bool
}

func (g taggedSignature) make(n *negatives, t *testing.T, wrong bool) attempt {
	image, c := n.newImage(t), n.alices()
	payload := newPayload(image)
	if wrong && g.says != nil {
		g.says(t, n, payload)
	}
	if wrong && g.by != nil {
		g.by(t, n, &c)
	}
	content := []byte(text(payload))
	e := n.sign(t, newSigner(t, c), content)
	s := n.byTag(e, content)
	if wrong && g.after != nil {
		g.after(t, n, e, &s)
	}
	storeByTag(t, image, "sig", s)
	return n.showImage(t, shownImage{image: image, annotation: "env=prod", timed: g.timed})
}

// payloadSays is a case of what is signed.
func payloadSays(name string, refused reasons, says func(*testing.T, *negatives, object)) negative {
	return negative{name, refused, taggedSignature{says: says}.make}
}

// taggedBy is a case of who signs.
func taggedBy(name string, refused reasons, by func(*testing.T, *negatives, *certificate)) negative {
	return negative{name, refused, taggedSignature{by: by}.make}
}

// taggedWith is a case of a layer that was right until it was changed.
func taggedWith(name string, refused reasons, timed bool, after func(*testing.T, *negatives, *evidence, *stored)) negative {
	return negative{name, refused, taggedSignature{after: after, timed: timed}.make}
}

// refusedReferrers are images with one bundle beside them that refers to them.
func refusedReferrers() []negative {
	return []negative{
		referring("signature by referrer: of another digest", byImageVerifiers(signing.CheckStatement, "provided artifact digest does not match"), func(t *testing.T, n *negatives, s object) {
			s["subject"] = subjectOf(n.newImage(t))
		}),
		referring("signature by referrer: of another type", reasons{bySigstack: {"has no signature", "it has " + tested}}, func(_ *testing.T, _ *negatives, s object) { s["predicateType"] = tested }),
		referring("signature by referrer: other annotations", byImageVerifiers(oci.CheckAnnotations, badAnnotation).not(byCosign2), func(_ *testing.T, _ *negatives, s object) {
			s["subject"].([]object)[0]["annotations"] = object{"env": "test"}
		}),
		referring("signature by referrer: no annotations", byImageVerifiers(oci.CheckAnnotations, badAnnotation).not(byCosign2), func(_ *testing.T, _ *negatives, s object) {
			delete(s["subject"].([]object)[0], "annotations")
		}),
		bundled("signature by referrer: payload changed", byImageVerifiers(signing.CheckEntry, "entry payload hash").but(byCosign2, "accepted signatures do not match"), func(b object) {
			v := b["dsseEnvelope"].(object)
			v["payload"] = append(v["payload"].([]byte), ' ')
		}),
		bundled("signature by referrer: tampered SET", byImageVerifiers(signing.CheckPromise, noEntry), func(b object) { flipLast(setOf(b)) }),
		bundled("signature by referrer: stripped SET", byImageVerifiers(signing.CheckPromise, "threshold not met for verified log entry integrated timestamps"), func(b object) { delete(entryOf(b), "inclusionPromise") }),
		bundled("signature by referrer: stripped inclusion proof", byImageVerifiers(signing.CheckInclusion, "no signatures found").but(byCosign2, "no valid bundles exist"), func(b object) { delete(entryOf(b), "inclusionProof") }),
		bundled("signature by referrer: stripped log entry", byImageVerifiers(signing.CheckLog, noEntry), func(b object) { delete(materialOf(b), "tlogEntries") }),
		{
			name:    "signature by referrer: of the index only",
			refused: reasons{bySigstack: {"no signature"}, byCosign3: {"no signatures found"}, byCosign2: {"no valid bundles exist"}},
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				index, child := n.newIndex(t)
				signed := pick(wrong, index, child)
				v := envelope{inToto, []byte(text(newImageStatement(signed, imageSignature)))}
				storeReferrer(t, signed, n.attest(t, newSigner(t, n.alices()), v).bundle(t), imageSignature)
				return n.showImage(t, shownImage{image: child, referrer: true})
			},
		},
	}
}

// refusedImageAttestations are images with one attestation beside them.
func refusedImageAttestations() []negative {
	ofAnother := func(t *testing.T, n *negatives, s object) { s["subject"] = subjectOf(n.newImage(t)) }
	otherType := byImageVerifiers("", "none of the attestations matched the predicate type").but(bySigstack, "has no attestation of type "+tested)
	ofAnotherType := func(_ *testing.T, _ *negatives, s object) { s["predicateType"] = "https://example.com/other/v1" }
	return []negative{
		attestedImage("attestation by tag: of another image", byImageVerifiers(signing.CheckStatement, "no matching subject digest found"), false, ofAnother),
		attestedImage("attestation by tag: of another type", otherType, false, ofAnotherType),
		attestedImage("attestation by referrer: of another image", byImageVerifiers(signing.CheckStatement, "provided artifact digest does not match"), true, ofAnother),
		attestedImage("attestation by referrer: of another type", otherType, true, ofAnotherType),
		{
			name:    "attestation by tag: payload changed",
			refused: byImageVerifiers(signing.CheckEntry, "matching bundle to payload"),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				image := n.newImage(t)
				e := n.attest(t, newSigner(t, n.alices()), envelope{inToto, []byte(text(newImageStatement(image, tested)))})
				if wrong {
					e.envelope.payload = append(e.envelope.payload, ' ')
				}
				storeByTag(t, image, "att", n.attestationByTag(t, e))
				return n.showImage(t, shownImage{image: image, predicate: tested})
			},
		},
		attestedAt("attestation by tag: tampered timestamp, demanded", "unable to verify RFC3161 timestamp bundle", func(e *evidence, _ []byte) []byte {
			flipLast(e.timestamp)
			return e.timestamp
		}),
		// cosign 3 makes such timestamps, and refuses them.
		attestedAt("attestation by tag: timestamp of the signature inside, demanded", "hashed messages don't match", func(_ *evidence, inner []byte) []byte { return inner }),
	}
}

// attestationByTag is an attestation with a timestamp of the whole envelope, as it
// has to be by tag.
func (n *negatives) attestationByTag(t *testing.T, e *evidence) stored {
	t.Helper()
	e.timestamp = n.stamp(t, []byte(text(e.dsse())))
	return n.byTag(e, nil)
}

// attestedAt is a case of an attestation by tag with another timestamp; inner is
// one of the signature inside.
func attestedAt(name, says string, other func(e *evidence, inner []byte) []byte) negative {
	return negative{name, byImageVerifiers(signing.CheckTimestamp, says), func(n *negatives, t *testing.T, wrong bool) attempt {
		image := n.newImage(t)
		e := n.attest(t, newSigner(t, n.alices()), envelope{inToto, []byte(text(newImageStatement(image, tested)))})
		inner := e.timestamp
		s := n.attestationByTag(t, e)
		if wrong {
			s.annotations[timestampKey] = text(object{"SignedRFC3161Timestamp": other(e, inner)})
		}
		storeByTag(t, image, "att", s)
		return n.showImage(t, shownImage{image: image, predicate: tested, timed: true})
	}}
}

func newImageStatement(image name.Digest, predicateType string) object {
	s := object{"_type": statement, "subject": subjectOf(image), "predicateType": predicateType, "predicate": object{}}
	s["subject"].([]object)[0]["annotations"] = object{"env": "prod"}
	return s
}

func subjectOf(image name.Digest) []object {
	return []object{{"digest": object{"sha256": strings.TrimPrefix(image.DigestStr(), "sha256:")}}}
}

// referring is a case of what a signature's statement says.
func referring(name string, refused reasons, says func(*testing.T, *negatives, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		image := n.newImage(t)
		s := newImageStatement(image, imageSignature)
		if wrong {
			says(t, n, s)
		}
		e := n.attest(t, newSigner(t, n.alices()), envelope{inToto, []byte(text(s))})
		storeReferrer(t, image, e.bundle(t), s["predicateType"].(string))
		return n.showImage(t, shownImage{image: image, referrer: true, annotation: "env=prod"})
	}}
}

// bundled is a case of a bundle that was right until it was changed.
func bundled(name string, refused reasons, change func(object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		image := n.newImage(t)
		v := envelope{inToto, []byte(text(newImageStatement(image, imageSignature)))}
		b := n.attest(t, newSigner(t, n.alices()), v).bundle(t)
		if wrong {
			change(b)
		}
		storeReferrer(t, image, b, imageSignature)
		return n.showImage(t, shownImage{image: image, referrer: true})
	}}
}

// attestedImage is a case of what an attestation's statement says.
func attestedImage(name string, refused reasons, referrer bool, says func(*testing.T, *negatives, object)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		image := n.newImage(t)
		s := newImageStatement(image, tested)
		if wrong {
			says(t, n, s)
		}
		e := n.attest(t, newSigner(t, n.alices()), envelope{inToto, []byte(text(s))})
		if referrer {
			storeReferrer(t, image, e.bundle(t), s["predicateType"].(string))
		} else {
			storeByTag(t, image, "att", n.attestationByTag(t, e))
		}
		return n.showImage(t, shownImage{image: image, referrer: referrer, predicate: tested})
	}}
}

// shownImage is an image as it is put before the clients.
type shownImage struct {
	image      name.Digest
	referrer   bool             // where cosign 2 is told to look; the others find out
	key        crypto.PublicKey // wanted signer; alice when nil
	annotation string           // key=value that a signature must have, if any
	predicate  string           // wanted type of an attestation; empty for a signature
	timed      bool             // timestamps are demanded, besides the log's word
}

func (n *negatives) showImage(t *testing.T, s shownImage) attempt {
	t.Helper()
	command := []string{"verify"}
	if s.predicate != "" {
		command = []string{"verify-attestation", "--type", s.predicate}
	}
	var f shownFiles
	if s.key != nil {
		f.key = e2etest.WriteFile(t, t.TempDir(), "key", e2etest.PublicPEM(t, s.key))
	}
	command = append(command, n.wanted(f)...)
	if s.annotation != "" {
		command = append(command, "-a", s.annotation)
	}
	ours := append([]string{}, command...)
	if s.timed {
		ours = append(ours, "--require-timestamp")
		command = append(command, "--use-signed-timestamps")
	}
	trusted := []string{"--trusted-root", n.stack.Kit("trusted_root.json"), s.image.Name()}
	if !s.referrer {
		// Otherwise they ask the log for what the signature lacks.
		command = append(command, "--offline")
	}
	return attempt{
		bySigstack: func(t *testing.T) verdict {
			args := append(ours, "--client", n.stack.Kit(""), "oci://"+s.image.Name())
			return verdictOf(t, e2etest.Run(t, nil, e2etest.Sigstack(t), args...))
		},
		byCosign3: func(t *testing.T) verdict {
			return verdictOf(t, e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append(command, trusted...)...))
		},
		byCosign2: func(t *testing.T) verdict {
			if s.referrer {
				return verdictOf(t, e2etest.Run(t, nil, e2etest.Client(t, "cosign-v2"), append(append(command, "--new-bundle-format"), trusted...)...))
			}
			return verdictOf(t, e2etest.Run(t, n.cosign2Trust(), e2etest.Client(t, "cosign-v2"), append(command, s.image.Name())...))
		},
	}
}

// cosign2Trust is how cosign 2 is told whom to trust for what is stored by tag.
func (n *negatives) cosign2Trust() []string {
	return []string{
		"SIGSTORE_ROOT_FILE=" + n.stack.Kit("fulcio.crt.pem"),
		"SIGSTORE_REKOR_PUBLIC_KEY=" + n.stack.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + n.stack.Kit("ctfe.pub"),
		"SIGSTORE_TSA_CERTIFICATE_FILE=" + n.stack.Kit("tsa.crt.pem"),
	}
}
