package signing_test

import (
	"bytes"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/proto"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

func TestVerifyAccepts(t *testing.T) {
	s := signingtest.New(t, now)
	signed := sign(t, s, artifact)
	kit := newKit(t, s)
	ids := map[string]*signing.Identity{
		"exact":          demo(t, s),
		"regexp":         identity(t, "", `.*@fake\.example`, "", `http://127\.0\.0\.1:\d+/dex`),
		"alternatives":   identity(t, "", `other|demo@fake\.example`, s.Issuer(), ""),
		"already closed": identity(t, "", `^demo@fake\.example$`, s.Issuer(), ""),
	}
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			res, err := verify(t, artifact, signed.JSON, kit, id)
			if err != nil {
				t.Fatal(err)
			}
			if res.Identity != signingtest.Email || res.Issuer != s.Issuer() {
				t.Errorf("got %s via %s, want %s via %s", res.Identity, res.Issuer, signingtest.Email, s.Issuer())
			}
			if res.LogIndex != 1 || time.Since(res.IntegratedTime) > time.Minute || time.Since(res.Timestamp) > time.Minute {
				t.Errorf("got index %d at %s and %s, want 1 and now", res.LogIndex, res.IntegratedTime, res.Timestamp)
			}
			if want := kit.Trusted.String(); res.TrustRoot != want {
				t.Errorf("got trust root %q, want %q", res.TrustRoot, want)
			}
		})
	}
}

// TestVerifyRefusesIdentity has signatures that are right in all but whom they
// are by.
func TestVerifyRefusesIdentity(t *testing.T) {
	s := signingtest.New(t, now)
	signed := sign(t, s, artifact)
	kit := newKit(t, s)
	tests := []struct{ name, subject, subjectRegexp, issuer, issuerRegexp string }{
		{"other subject", "other@fake.example", "", s.Issuer(), ""},
		{"other issuer", signingtest.Email, "", "https://accounts.google.com", ""},
		{"issuer with slash", signingtest.Email, "", s.Issuer() + "/", ""},
		{"subject in other case", "Demo@fake.example", "", s.Issuer(), ""},
		{"regexp of a prefix", "", `demo@fake`, s.Issuer(), ""},
		{"regexp of a suffix", "", `fake\.example`, s.Issuer(), ""},
		{"regexp of the middle", "", `@`, s.Issuer(), ""},
		{"alternative of a part", "", `demo|example`, s.Issuer(), ""},
		{"issuer regexp of a part", signingtest.Email, "", "", `http://127`},
		{"multi-line flag", "", `(?m)demo`, s.Issuer(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, signed.JSON, kit, identity(t, tt.subject, tt.subjectRegexp, tt.issuer, tt.issuerRegexp))
			wantRefused(t, err, signing.CheckIdentity)
		})
	}
}

// TestVerifyRefusesLongerIdentity is the case that anchors exist for: the
// signer's address extends the expected one.
func TestVerifyRefusesLongerIdentity(t *testing.T) {
	s := signingtest.New(t, now)
	signed, err := newSession(t, s, "demo@fake.example.evil").Sign(t.Context(), bytes.NewReader([]byte(artifact)))
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{`demo@fake\.example`, `^demo@fake\.example`, `(?:demo@fake\.example)`} {
		_, err := verify(t, artifact, signed.JSON, newKit(t, s), identity(t, "", expr, s.Issuer(), ""))
		wantRefused(t, err, signing.CheckIdentity)
	}
}

func TestNewIdentityRefuses(t *testing.T) {
	tests := []struct{ name, subject, subjectRegexp, issuer, issuerRegexp string }{
		{"no subject", "", "", "i", ""},
		{"no issuer", "s", "", "", ""},
		{"subject twice", "s", "s", "i", ""},
		{"issuer twice", "s", "", "i", "i"},
		{"broken expression", "", "(", "i", ""},
		{"expression that escapes the anchors", "", `a)|(?:b`, "i", ""},
		{"expression that swallows the anchor", "", `a\Q`, "i", ""},
	}
	for _, tt := range tests {
		if id, err := signing.NewIdentity(tt.subject, tt.subjectRegexp, tt.issuer, tt.issuerRegexp); err == nil {
			t.Errorf("%s: got %s, want an error", tt.name, id)
		}
	}
}

// TestVerifyRefusesTampering changes one fact of a good bundle at a time.
func TestVerifyRefusesTampering(t *testing.T) {
	s := signingtest.New(t, now)
	signed := sign(t, s, artifact)
	again := sign(t, s, artifact)    // same artifact and identity, another key
	other := sign(t, s, "otherwise") // another artifact
	kit, id := newKit(t, s), demo(t, s)
	var second, third protobundle.Bundle
	edit(t, again.JSON, func(b *protobundle.Bundle) { proto.Merge(&second, b) })
	edit(t, other.JSON, func(b *protobundle.Bundle) { proto.Merge(&third, b) })

	tests := []struct {
		name   string
		change func(*protobundle.Bundle)
		want   signing.Check
	}{
		{"promise of another entry", func(b *protobundle.Bundle) {
			entry(b).InclusionPromise = entry(&second).InclusionPromise
		}, signing.CheckPromise},
		{"promise missing", func(b *protobundle.Bundle) { entry(b).InclusionPromise = nil }, signing.CheckPromise},
		{"integrated time moved", func(b *protobundle.Bundle) { entry(b).IntegratedTime++ }, signing.CheckPromise},
		{"log index moved", func(b *protobundle.Bundle) { entry(b).LogIndex++ }, signing.CheckPromise},
		{"inclusion hash", func(b *protobundle.Bundle) { flip(entry(b).InclusionProof.Hashes[0]) }, signing.CheckInclusion},
		{"root hash", func(b *protobundle.Bundle) { flip(entry(b).InclusionProof.RootHash) }, signing.CheckInclusion},
		{"checkpoint of another tree size", func(b *protobundle.Bundle) {
			entry(b).InclusionProof.Checkpoint = entry(&second).InclusionProof.Checkpoint
		}, signing.CheckInclusion},
		{"checkpoint signature", func(b *protobundle.Bundle) {
			c := []byte(entry(b).InclusionProof.Checkpoint.Envelope)
			c[len(c)-20] ^= 1
			entry(b).InclusionProof.Checkpoint.Envelope = string(c)
		}, signing.CheckInclusion},
		{"proof missing", func(b *protobundle.Bundle) { entry(b).InclusionProof = nil }, signing.CheckInclusion},
		{"entry missing", func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }, signing.CheckLog},
		{"entry of another signature", func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries = third.VerificationMaterial.TlogEntries
		}, signing.CheckEntry},
		{"kind changed", func(b *protobundle.Bundle) { entry(b).KindVersion.Kind = "dsse" }, signing.CheckEntry},
		{"unknown log", func(b *protobundle.Bundle) { flip(entry(b).LogId.KeyId) }, signing.CheckLog},
		{"timestamp of another signature", func(b *protobundle.Bundle) {
			b.VerificationMaterial.TimestampVerificationData = second.VerificationMaterial.TimestampVerificationData
		}, signing.CheckTimestamp},
		{"timestamp broken", func(b *protobundle.Bundle) {
			flip(b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp)
		}, signing.CheckTimestamp},
		{"certificate of another signature", func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = second.VerificationMaterial.Content
		}, signing.CheckEntry},
		{"signature of another artifact", func(b *protobundle.Bundle) {
			b.GetMessageSignature().Signature = third.GetMessageSignature().Signature
		}, signing.CheckEntry},
		{"everything of another signature but the signature's own entry", func(b *protobundle.Bundle) {
			b.GetMessageSignature().Signature = second.GetMessageSignature().Signature
			b.VerificationMaterial.Content = second.VerificationMaterial.Content
		}, signing.CheckEntry},
		{"digest changed", func(b *protobundle.Bundle) { flip(b.GetMessageSignature().MessageDigest.Digest) }, signing.CheckArtifact},
		{"certificate missing", func(b *protobundle.Bundle) { b.VerificationMaterial.Content = nil }, signing.CheckBundle},
		{"later version", func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.9+json" }, signing.CheckBundle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, edit(t, signed.JSON, tt.change), kit, id)
			wantRefused(t, err, tt.want)
		})
	}
	t.Run("flipped byte of the artifact", func(t *testing.T) {
		text := []byte(artifact)
		flip(text)
		_, err := verify(t, string(text), signed.JSON, kit, id)
		wantRefused(t, err, signing.CheckArtifact)
	})
	t.Run("bundle of another artifact", func(t *testing.T) {
		_, err := verify(t, artifact, other.JSON, kit, id)
		wantRefused(t, err, signing.CheckArtifact)
	})
}

// TestVerifyRefusesSignature has a log entry and a timestamp for a signature
// that the key never made over these bytes: a log that checks nothing took it.
func TestVerifyRefusesSignature(t *testing.T) {
	s := signingtest.New(t, now)
	text := signedOver(t, s, "something else", digest(artifact))
	_, err := verify(t, artifact, text, newKit(t, s), demo(t, s))
	// Upstream's parser verifies the signature inside a hashedrekord entry.
	wantRefused(t, err, signing.CheckEntry)
	if _, err := verify(t, artifact, signedOver(t, s, artifact, digest(artifact)), newKit(t, s), demo(t, s)); err != nil {
		t.Errorf("got %v, want the same bundle over the right bytes accepted", err)
	}
}

// TestVerifyRefusesOtherStack signs at stacks that share all keys but one with
// the stack whose trust root is asked.
func TestVerifyRefusesOtherStack(t *testing.T) {
	keys := signingtest.NewKeys(t, now().Add(-time.Hour))
	mine := signingtest.NewWith(t, now, keys)
	kit := newKit(t, mine)
	tests := []struct {
		name   string
		change func(own *signingtest.Keys, fresh signingtest.Keys)
		want   signing.Check
	}{
		{"certificate authority", func(k *signingtest.Keys, fresh signingtest.Keys) { k.CA = fresh.CA }, signing.CheckCertificate},
		{"CT log", func(k *signingtest.Keys, fresh signingtest.Keys) { k.CT = fresh.CT }, signing.CheckSCT},
		{"transparency log", func(k *signingtest.Keys, fresh signingtest.Keys) { k.Log = fresh.Log }, signing.CheckLog},
		{"timestamp authority", func(k *signingtest.Keys, fresh signingtest.Keys) { k.TSA = fresh.TSA }, signing.CheckTimestamp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			theirs := keys
			tt.change(&theirs, signingtest.NewKeys(t, now().Add(-time.Hour)))
			other := signingtest.NewWith(t, now, theirs)
			signed := sign(t, other, artifact)
			id := demo(t, other)
			if _, err := verify(t, artifact, signed.JSON, newKit(t, other), id); err != nil {
				t.Fatalf("the bundle must be good to its own stack: %v", err)
			}
			_, err := verify(t, artifact, signed.JSON, kit, id)
			wantRefused(t, err, tt.want)
		})
	}
	t.Run("none", func(t *testing.T) {
		twin := signingtest.NewWith(t, now, keys)
		if _, err := verify(t, artifact, sign(t, twin, artifact).JSON, kit, demo(t, twin)); err != nil {
			t.Errorf("got %v, want a stack with the same keys accepted", err)
		}
	})
}

// TestVerifyRefusesOtherTime signs outside the certificate's ten minutes, or
// outside a window of the trust root.
func TestVerifyRefusesOtherTime(t *testing.T) {
	s := signingtest.New(t, now)
	signed := sign(t, s, artifact)
	m := s.Material(t)
	closed := now().Add(-30 * time.Minute)
	t.Run("CA retired before", func(t *testing.T) {
		m := m
		m.CAs = append(m.CAs[:0:0], m.CAs...)
		m.CAs[0].Window.End = closed
		_, err := verify(t, artifact, signed.JSON, kitOf(t, m), demo(t, s))
		wantRefused(t, err, signing.CheckCertificate)
	})
	t.Run("log key retired before", func(t *testing.T) {
		m := m
		m.TLogs = append(m.TLogs[:0:0], m.TLogs...)
		m.TLogs[0].Window.End = closed
		_, err := verify(t, artifact, signed.JSON, kitOf(t, m), demo(t, s))
		wantRefused(t, err, signing.CheckPromise)
	})
	t.Run("CT key retired before", func(t *testing.T) {
		m := m
		m.CTLogs = append(m.CTLogs[:0:0], m.CTLogs...)
		m.CTLogs[0].Window.End = closed
		_, err := verify(t, artifact, signed.JSON, kitOf(t, m), demo(t, s))
		wantRefused(t, err, signing.CheckSCT)
	})
	t.Run("TSA retired before", func(t *testing.T) {
		m := m
		m.TSAs = append(m.TSAs[:0:0], m.TSAs...)
		m.TSAs[0].Window.End = closed
		_, err := verify(t, artifact, signed.JSON, kitOf(t, m), demo(t, s))
		wantRefused(t, err, signing.CheckTimestamp)
	})
	t.Run("no TSA in the root", func(t *testing.T) {
		m := m
		m.TSAs = nil
		_, err := verify(t, artifact, signed.JSON, kitOf(t, m), demo(t, s))
		wantRefused(t, err, signing.CheckTimestamp)
	})
	t.Run("logged after the certificate ended", func(t *testing.T) {
		late := signedLater(t, s, 11*time.Minute)
		_, err := verify(t, artifact, late, newKit(t, s), demo(t, s))
		wantRefused(t, err, signing.CheckEntry)
	})
}

func entry(b *protobundle.Bundle) *tlogEntry { return b.VerificationMaterial.TlogEntries[0] }

// TestVerifyDemandsATimestamp strips the timestamp of a signature whose time the
// log has, too.
func TestVerifyDemandsATimestamp(t *testing.T) {
	s := signingtest.New(t, now)
	full := sign(t, s, artifact).JSON
	stripped := edit(t, full, func(b *protobundle.Bundle) { b.VerificationMaterial.TimestampVerificationData = nil })
	kit := newKit(t, s)
	if _, err := verify(t, artifact, stripped, kit, demo(t, s)); err != nil {
		t.Errorf("none demanded, none there: got %v, want it accepted", err)
	}
	kit.Trusted.DemandTimestamp = true
	if _, err := verify(t, artifact, full, kit, demo(t, s)); err != nil {
		t.Errorf("one demanded, one there: got %v, want it accepted", err)
	}
	_, err := verify(t, artifact, stripped, kit, demo(t, s))
	wantRefused(t, err, signing.CheckTimestamp)
}
