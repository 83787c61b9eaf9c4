package attest

import (
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// attestedTypes are the types of C that both sigstack and cosign attest.
var attestedTypes = []struct{ predicateType, predicate string }{
	{"slsaprovenance1", provenance},
	{"slsaprovenance", krel},
	{"spdx", tags("a tool")},
	{"spdxjson", spdxJSON("a tool")},
	{"cyclonedx", cyclone("a tool")},
}

// TestCosign: what sigstack attests both cosigns verify, and the other way round; on
// files, and on images in both styles of storage.
func TestCosign(t *testing.T) {
	w := newWorld(t)
	referrers, plain := e2etest.ReferrersRegistry(t), e2etest.PlainRegistry(t)
	trust := clients.TrustOf(w.Stack, clients.Kit)
	for _, p := range attestedTypes {
		t.Run(p.predicateType, func(t *testing.T) {
			t.Parallel()
			base := clients.Request{
				Trust: trust, PredicateType: p.predicateType, Predicate: w.file(t, "predicate", p.predicate),
				Token: w.token(t, builder), Identity: builder, Issuer: w.issuer.URL, Timestamp: true,
			}
			for _, signer := range []clients.Client{clients.Sigstack(), clients.CosignV3(), clients.CosignV2()} {
				for _, kind := range []clients.Kind{clients.Attestation, clients.ImageReferrerAttestation, clients.ImageTagAttestation} {
					if kind == clients.ImageTagAttestation && signer.Name() == "cosign-v3" || kind == clients.ImageReferrerAttestation && signer.Name() == "cosign-v2" {
						continue // each cosign in the style that is its own
					}
					r := base
					r.Kind, r.Signer = kind, signer.Name()
					name := slug(p.predicateType + "-" + signer.Name() + "-" + string(kind))
					r.File = w.file(t, "artifact", name)
					r.Bundle = r.File + ".att.sigstore.json"
					registry := referrers
					if kind == clients.ImageTagAttestation {
						registry = plain
					}
					r.Image = e2etest.PushImage(t, registry, name)
					if limit := textLimit(signer, r); limit != "" {
						wantRefused(t, signer.Sign(t, r), limit)
						continue
					}
					e2etest.WantAccepted(t, name, signer.Sign(t, r))
					verifiers := []clients.Client{clients.Sigstack()}
					if signer.Name() == "sigstack" {
						verifiers = []clients.Client{clients.CosignV3(), clients.CosignV2()}
					}
					for _, v := range verifiers {
						verifyAs(t, v, r, name)
					}
				}
			}
		})
	}
}

// textLimit is what cosign says of SPDX as tags and values, which it makes a string of
// and then wants to be an object wherever it reads it: 2 only in bundles. It is empty
// where it can.
func textLimit(c clients.Client, r clients.Request) string {
	switch {
	case r.PredicateType != "spdx" || c.Name() == "sigstack":
		return ""
	case r.Kind != clients.ImageTagAttestation:
		return "invalid attestation: decoding json"
	case c.Name() == "cosign-v3":
		return "none of the attestations matched the predicate type: spdx"
	}
	return ""
}

// verifyAs has v accept r, and refuse it as somebody else's.
func verifyAs(t *testing.T, v clients.Client, r clients.Request, name string) {
	t.Helper()
	if limit := v.VerifyLimit(r); limit != nil {
		r.Trust.Source = clients.Env // what older formats need
	}
	if limit := textLimit(v, r); limit != "" {
		wantRefused(t, v.Verify(t, r), limit)
		return
	}
	e2etest.WantAccepted(t, v.Name()+" on "+name, v.Verify(t, r))
	if v.Name() != "sigstack" {
		return
	}
	r.Identity = mallory
	if got := v.Verify(t, r); got.Code != 1 {
		t.Errorf("%s: as somebody else's: exit %d, want 1\n%s", name, got.Code, got.Stderr)
	}
}
