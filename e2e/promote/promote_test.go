package promote

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
)

const recordType = "https://k8s.io/promo-tools/promotion/v1"

const spdx = `{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"kubectl",` +
	`"documentNamespace":"https://example.com/kubectl","creationInfo":{"created":"2026-11-22T10:00:00Z","creators":["Tool: test"]},"packages":[]}`

// TestPromote: an image that staging alone has signed is no production image to any
// client; promoted it is, under its new name, with staging's signature beside and a
// record of where it came from. A second run finds nothing to do.
func TestPromote(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	registries(t, func(t *testing.T, registry string) {
		index, children := pushIndex(t, registry+"/staging/kubectl:v1.0.0")
		app := e2etest.PushImage(t, registry, "staging/kubectl-amd64") // its tag is v1
		images := map[string]string{registry + "/staging/kubectl:v1.0.0": index, registry + "/staging/kubectl-amd64:v1": digestOf(app)}
		s.sign(t, staging, registry+"/staging/kubectl:v1.0.0", app)
		for ref, digest := range images {
			s.wantAll(t, true, staging, untag(ref)+"@"+digest)
			s.wantAll(t, false, production, untag(ref)+"@"+digest)
		}
		sbom := e2etest.WriteFile(t, t.TempDir(), "sbom.spdx.json", spdx)
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), "attach", "sbom", sbom, "oci://"+app)

		list := s.list(t, images)
		report := s.mustPromote(t, list, registry+"/prod")
		if len(report.Images) != 2 || report.Identity != production || report.Images[0].Done() {
			t.Errorf("got %+v, want 2 images promoted by %s", report, production)
		}
		for ref, digest := range images {
			to := strings.Replace(ref, "/staging/", "/prod/", 1)
			image := untag(to) + "@" + digest
			s.wantAll(t, true, production, image)
			s.wantAll(t, true, staging, to) // by its tag
			s.wantSigned(t, image, "sigstack-dev")
			s.wantRecord(t, image, ref, to)
		}
		attached := "/kubectl-amd64:" + strings.Replace(digestOf(app), ":", "-", 1) + ".sbom"
		crane := e2etest.Client(t, "crane")
		if was, is := e2etest.MustRun(t, nil, crane, "digest", registry+"/staging"+attached), e2etest.MustRun(t, nil, crane, "digest", registry+"/prod"+attached); was != is {
			t.Errorf("the attached SBOM is %s, and was %s", is, was)
		}
		// The children came along, with staging's signatures.
		s.wantAll(t, true, staging, registry+"/prod/kubectl@"+children[0])
		s.wantAll(t, false, production, registry+"/prod/kubectl@"+children[1])

		written, err := release.ReadImages(promoted(list))
		if err != nil || len(written) != 2 || !slices.Contains(written, release.Image{Ref: registry + "/prod/kubectl:v1.0.0", Digest: index}) {
			t.Errorf("got %v, %v, want the images of the new place", written, err)
		}
		again := s.mustPromote(t, list, registry+"/prod")
		for _, image := range again.Images {
			if !image.Done() {
				t.Errorf("again: got %+v, want nothing to do", image)
			}
		}
		// And now all that the index lists is signed, too.
		s.mustPromote(t, list, registry+"/prod", "--recursive")
		if r := s.verify(t, production, registry+"/prod/kubectl:v1.0.0", "--recursive"); r.Code != 0 {
			t.Errorf("recursive: exit %d\n%s", r.Code, r.Stderr)
		}
		s.wantAll(t, true, production, registry+"/prod/kubectl@"+children[1])
	})
}

// TestPromoteElsewhere: from a registry without the referrers API to one with it, and
// back, nothing is lost.
func TestPromoteElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	api, plain := e2etest.ReferrersRegistry(t), e2etest.PlainRegistry(t)
	for from, to := range map[string]string{api: plain, plain: api} {
		index, _ := pushIndex(t, from+"/staging/app:v1.0.0")
		s.sign(t, staging, from+"/staging/app:v1.0.0")
		s.mustPromote(t, s.list(t, map[string]string{from + "/staging/app:v1.0.0": index}), to+"/prod/images")
		s.wantAll(t, true, production, to+"/prod/images/app:v1.0.0")
		if r := s.verify(t, staging, to+"/prod/images/app@"+index, "--recursive"); r.Code != 0 {
			t.Errorf("staging's signatures of the children: exit %d\n%s", r.Code, r.Stderr)
		}
		// Promoted once more, it is signed for its next name, too.
		s.mustPromote(t, s.list(t, map[string]string{to + "/prod/images/app:v1.0.0": index}), from+"/next")
		r := s.verify(t, production, from+"/next/app@"+index, "--output", "json")
		for _, place := range []string{to + "/prod/images/app", from + "/next/app"} {
			if want := `"docker_reference": "` + place + `"`; strings.Count(r.Stdout, want) != 1 {
				t.Errorf("promoted twice: got %s%s, want %s once", r.Stdout, r.Stderr, want)
			}
		}
	}
}

// TestPromoteRefuses: nothing is written anywhere unless staging has signed everything,
// and no tag is moved.
func TestPromoteRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	registries(t, func(t *testing.T, registry string) {
		signed, unsigned := e2etest.PushImage(t, registry, "staging/signed"), e2etest.PushImage(t, registry, "staging/unsigned")
		index, children := pushIndex(t, registry+"/staging/index:v1")
		other := e2etest.PushImage(t, registry, "prod/taken")
		taken := e2etest.PushImage(t, registry, "staging/taken")
		s.sign(t, staging, signed, taken)
		e2etest.MustRun(t, []string{s.tokenEnv(t, staging)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "oci://"+registry+"/staging/index:v1")
		byOther := e2etest.PushImage(t, registry, "staging/other")
		s.sign(t, "mallory@example.com", byOther)
		good := map[string]string{registry + "/staging/signed:v1": digestOf(signed)}
		for name, test := range map[string]struct {
			add  map[string]string
			args []string
			says string
			code int
		}{
			"unsigned":        {map[string]string{registry + "/staging/unsigned:v1": digestOf(unsigned)}, nil, "staging/unsigned:v1 is not signed by " + staging, 1},
			"another signer":  {map[string]string{registry + "/staging/other:v1": digestOf(byOther)}, nil, "identity", 1},
			"a moved tag":     {map[string]string{registry + "/staging/taken:v1": digestOf(taken)}, nil, "names " + digestOf(other), 1},
			"unsigned child":  {map[string]string{registry + "/staging/index:v1": index}, []string{"--recursive"}, children[0], 1},
			"two become one":  {map[string]string{registry + "/staging/more/signed:v1": digestOf(signed)}, nil, "would both become", 1},
			"another digest":  {map[string]string{registry + "/staging/other:v2": "sha256:" + strings.Repeat("0", 64)}, nil, "has no", 1},
			"an unknown list": {nil, []string{"--images", "nothing.images"}, "nothing.images", 2},
			"no place":        {nil, []string{"--to", "https://registry.example"}, "want HOST/PREFIX", 2},
		} {
			images := map[string]string{}
			for _, some := range []map[string]string{good, test.add} {
				for ref, digest := range some {
					images[ref] = digest
				}
			}
			r := s.promote(t, s.list(t, images), registry+"/prod", test.args...)
			if r.Code != test.code || !strings.Contains(r.Stderr, test.says) {
				t.Errorf("%s: exit %d and %s, want %d and %q", name, r.Code, r.Stderr, test.code, test.says)
			}
			if tagged(t, registry+"/prod/signed:v1") || tagged(t, registry+"/prod/signed@"+digestOf(signed)) {
				t.Fatalf("%s: another image of the list was promoted", name)
			}
		}
		// Recursion off, the index whose children nobody signed passes, and verify tells.
		list := s.list(t, map[string]string{registry + "/staging/index:v1": index})
		s.mustPromote(t, list, registry+"/prod")
		if r := s.verify(t, production, registry+"/prod/index:v1"); !strings.Contains(r.Stdout, "not looked at") {
			t.Errorf("got %q, want it said that the children were not looked at", r.Stdout)
		}
		if r := s.verify(t, production, registry+"/prod/index:v1", "--recursive"); r.Code != 1 || !strings.Contains(r.Stderr, children[1]) {
			t.Errorf("recursive: exit %d and %s, want the child named", r.Code, r.Stderr)
		}
	})
}

// mustPromote promotes and returns the report.
func (s *site) mustPromote(t *testing.T, list, to string, more ...string) (report release.PromoteReport) {
	t.Helper()
	r := s.promote(t, list, to, append(more, "--output", "json")...)
	if r.Code != 0 {
		t.Fatalf("promote: exit %d\n%s", r.Code, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// wantSigned: the promoter signed under the production name, with its annotation, in both
// styles.
func (s *site) wantSigned(t *testing.T, image, version string) {
	t.Helper()
	repository, _, _ := strings.Cut(image, "@")
	r := s.verify(t, production, image, "--output", "json", "-a", release.PromotionAnnotation+"="+version)
	for _, want := range []string{`"docker_reference": "` + repository + `"`, `"storage": "tag"`, `"storage": "referrer"`} {
		if r.Code != 0 || strings.Count(r.Stdout, want) != 1 {
			t.Errorf("%s: sigstack says %s%s, want %s in it once", image, r.Stdout, r.Stderr, want)
		}
	}
}

// wantRecord: both sigstack and cosign 3 find the record, and it tells the truth.
func (s *site) wantRecord(t *testing.T, image, from, to string) {
	t.Helper()
	args := append([]string{"verify-attestation", "--client", s.Kit(""), "--type", recordType, "--output", "json"}, s.by(production)...)
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(args, "oci://"+image)...)
	var got struct {
		Signatures []struct {
			Storage   string            `json:"storage"`
			Predicate map[string]string `json:"predicate"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Signatures) != 1 {
		t.Fatalf("%s: got %v, %s, want one record", image, err, out)
	}
	record := got.Signatures[0].Predicate
	if record["srcRef"] != from || record["dstRef"] != to || record["digest"] != digestOf(image) || record["timestamp"] == "" || record["builderId"] == "" {
		t.Errorf("%s: got record %v", image, record)
	}
	r := clients.CosignV3().Verify(t, clients.Request{
		Kind: clients.ImageReferrerAttestation, Trust: clients.TrustOf(s.Stack, clients.Kit), Image: image,
		Identity: production, Issuer: s.issuer.URL, PredicateType: recordType,
	})
	e2etest.WantAccepted(t, "cosign 3, the record", r)
}

// untag drops the tag of a reference.
func untag(ref string) string { return ref[:strings.LastIndexByte(ref, ':')] }
