package trust_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// doc is a decoded JSON file.
type doc = map[string]any

// files are targets whose JSON can be edited.
type files struct {
	tb           testing.TB
	root, config doc
	targets      []trust.Target
}

func newFiles(tb testing.TB, m trust.Material, now time.Time) *files {
	tb.Helper()
	targets, err := m.Targets(now)
	if err != nil {
		tb.Fatal(err)
	}
	f := &files{tb: tb, targets: targets}
	for _, t := range targets {
		into := map[string]*doc{trust.TrustedRootName: &f.root, trust.SigningConfigName: &f.config}[t.Name]
		if into == nil {
			continue
		}
		if err := json.Unmarshal(t.Data, into); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

// all returns the targets with the edits.
func (f *files) all() []trust.Target {
	f.tb.Helper()
	out := slices.Clone(f.targets)
	for i, t := range out {
		if d := map[string]doc{trust.TrustedRootName: f.root, trust.SigningConfigName: f.config}[t.Name]; d != nil {
			data, err := json.Marshal(d)
			if err != nil {
				f.tb.Fatal(err)
			}
			out[i].Data = data
		}
	}
	return out
}

// at follows names and indices into a file.
func at(d any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			d = d.(doc)[p]
		case int:
			d = d.([]any)[p]
		}
	}
	return d
}

func element(d doc, list string, i int) doc { return at(d, list, i).(doc) }

func drop(d doc, list string, i int) {
	all := d[list].([]any)
	d[list] = slices.Delete(slices.Clone(all), i, i+1)
}

func (f *files) target(name string) *trust.Target {
	f.tb.Helper()
	i := slices.IndexFunc(f.targets, func(t trust.Target) bool { return t.Name == name })
	if i < 0 {
		f.tb.Fatalf("no target %s", name)
	}
	return &f.targets[i]
}

func certificates(a doc) []any { return at(a, "certChain", "certificates").([]any) }

func setCertificates(a doc, certs ...any) { a["certChain"].(doc)["certificates"] = certs }

// published is when the files of these tests are.
var published = epoch.Add(time.Hour)

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

func TestCheckFilesAccepts(t *testing.T) {
	m := newMaterial(t)
	f := newFiles(t, m, published)
	if got := trust.CheckFiles(f.all(), f.all(), published); len(got) > 0 {
		t.Errorf("got %v, want nothing", got)
	}
	if err := trust.Refusal(nil); err != nil {
		t.Errorf("refusal without flaws: %v", err)
	}
	keyOnly := trust.Material{Operator: m.Operator, TLogs: m.TLogs[1:], TLogServices: []trust.Service{{URL: m.TLogs[1].BaseURL, APIVersion: 1, Window: m.TLogs[1].Window}}}
	if got := trust.CheckFiles(nil, newFiles(t, keyOnly, published).all(), published); len(got) > 0 {
		t.Errorf("keys alone: got %v, want nothing", got)
	}
}

// TestCheckFilesRefuses breaks one point of contract trust-material §6 at a time.
func TestCheckFilesRefuses(t *testing.T) {
	m := newMaterial(t)
	day := 24 * time.Hour
	for _, tt := range []struct {
		point  string
		mutate func(f *files)
		want   string
	}{
		{"1 media type of the root, as the schema has it", func(f *files) { f.root["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.2+json" }, "media type"},
		{"1 media type of the config", func(f *files) { f.config["mediaType"] = "application/vnd.dev.sigstore.signingconfig.v0.1+json" }, "media type"},
		{"1 unknown member of the root", func(f *files) { f.root["vendor"] = "x" }, "unknown field"},
		{"1 unknown member of the config", func(f *files) { element(f.config, "tsaUrls", 0)["vendor"] = "x" }, "unknown field"},
		{"1 member that breaks clients", func(f *files) { element(f.root, "tlogs", 0)["operator"] = "corp.example" }, "outside the format"},
		{"1 checkpointKeyId", func(f *files) {
			element(f.root, "tlogs", 0)["checkpointKeyId"] = doc{"keyId": "AAAA"}
		}, "outside the format"},
		{"1 hash algorithm", func(f *files) { element(f.root, "tlogs", 0)["hashAlgorithm"] = "SHA2_512" }, "outside the format"},
		{"1 no root", func(f *files) { f.target(trust.TrustedRootName).Name = "other.json" }, "trusted_root.json is missing"},
		{"1 no start", func(f *files) { delete(at(f.root, "tlogs", 0, "publicKey", "validFor").(doc), "start") }, "window start"},
		{"2 log ID", func(f *files) {
			element(f.root, "tlogs", 0)["logId"] = element(f.root, "ctlogs", 0)["logId"]
		}, "log ID does not fit the key"},
		{"2 base URL without scheme", func(f *files) { element(f.root, "tlogs", 0)["baseUrl"] = "sig.corp.example" }, "scheme is not http"},
		{"2 key of version 1", func(f *files) {
			other := newEd25519(f.tb)
			id := pki.LogID(other)
			log := element(f.root, "tlogs", 0)
			log["publicKey"].(doc)["rawBytes"], log["publicKey"].(doc)["keyDetails"] = b64(other), "PKIX_ED25519"
			log["logId"] = doc{"keyId": b64(id[:])}
		}, "version 1 log is not ECDSA P-256"},
		{"2 version 2 before version 1", func(f *files) {
			logs := f.root["tlogs"].([]any)
			slices.Reverse(logs)
		}, "follows one of version 2"},
		{"3 log twice", func(f *files) {
			f.root["ctlogs"] = []any{element(f.root, "ctlogs", 0), element(f.root, "ctlogs", 0)}
		}, "listed twice"},
		{"3 one host for two logs of version 2", func(f *files) {
			again := trust.Material{Operator: m.Operator, TSAs: m.TSAs, TLogs: []trust.Log{{BaseURL: "https://log2.corp.example:9443", PublicKey: newEd25519(f.tb), APIVersion: 2, Window: m.TLogs[0].Window}}}
			other := newFiles(f.tb, again, published)
			f.root["tlogs"] = append(f.root["tlogs"].([]any), element(other.root, "tlogs", 0))
		}, "another version 2 log has this host"},
		{"4 chain in the wrong order", func(f *files) {
			ca := element(f.root, "certificateAuthorities", 0)
			slices.Reverse(certificates(ca))
			ca["subject"].(doc)["commonName"] = "intermediate"
		}, "is not issued by the next"},
		{"4 chain without its root", func(f *files) {
			ca := element(f.root, "certificateAuthorities", 0)
			setCertificates(ca, certificates(ca)[0])
			ca["subject"].(doc)["commonName"] = "intermediate"
		}, "is not issued by the next"},
		{"4 chain of two", func(f *files) {
			a, b := element(f.root, "certificateAuthorities", 0), element(f.root, "certificateAuthorities", 1)
			setCertificates(a, certificates(a)[0], certificates(b)[1])
			a["subject"] = b["subject"]
		}, "is not issued by the next"},
		{"4 window after the certificates", func(f *files) {
			element(f.root, "certificateAuthorities", 0)["validFor"] = doc{"start": stamp(epoch.AddDate(20, 0, 0))}
		}, "no time in common"},
		{"4 timestamp leaf with a lax usage", func(f *files) {
			tsa := element(f.root, "timestampAuthorities", 0)
			chain := newChain(f.tb, laxLeaf()...)
			setCertificates(tsa, rawCerts(chain)...)
			tsa["subject"] = doc{"organization": "corp.example", "commonName": "tsa root"}
		}, "does not mark its extended key usage critical"},
		{"4 timestamp leaf with another usage", func(f *files) {
			tsa := element(f.root, "timestampAuthorities", 0)
			setCertificates(tsa, certificates(element(f.root, "certificateAuthorities", 0))...)
			tsa["subject"] = doc{"organization": "corp.example", "commonName": "root"}
		}, "is a CA, not the timestamp leaf"},
		{"5 two operators", func(f *files) { element(f.config, "tsaUrls", 0)["operator"] = "other.example" }, "2 operators"},
		{"5 operator with a scheme", func(f *files) {
			for _, list := range []string{"caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls"} {
				for i := range f.config[list].([]any) {
					element(f.config, list, i)["operator"] = "https://corp.example"
				}
			}
		}, "not a URI without scheme"},
		{"5 selector", func(f *files) { f.config["rekorTlogConfig"] = doc{"selector": "ALL"} }, "want ANY"},
		{"5 selector with a count", func(f *files) { f.config["tsaConfig"] = doc{"selector": "EXACT", "count": 1} }, "want ANY"},
		{"5 no selector", func(f *files) { delete(f.config, "tsaConfig") }, "want ANY"},
		{"5 oldest first", func(f *files) { slices.Reverse(f.config["rekorTlogUrls"].([]any)) }, "newest is not the first"},
		{"5 trailing slash", func(f *files) { element(f.config, "caUrls", 0)["url"] = "https://sig.corp.example/" }, "trailing slash"},
		{"5 version", func(f *files) { element(f.config, "caUrls", 0)["majorApiVersion"] = 2 }, "version 2 is not 1 to 1"},
		{"5 none is valid now", func(f *files) {
			element(f.config, "oidcUrls", 0)["validFor"] = doc{"start": stamp(epoch.Add(-day)), "end": stamp(epoch)}
		}, "issuer: none to sign with is valid at 2026-03-01T13:00:00Z"},
		{"5 none is valid until the planned start", func(f *files) {
			element(f.config, "tsaUrls", 0)["validFor"] = doc{"start": stamp(epoch.Add(day))}
		}, "timestamp authority: none to sign with is valid at 2026-03-01T13:00:00Z"},
		{"5 version 2 before its start", func(f *files) {
			element(f.config, "rekorTlogUrls", 0)["validFor"] = doc{"start": stamp(epoch.Add(day))}
		}, "listed before it starts"},
		{"5 version 2 has ended", func(f *files) {
			element(f.config, "rekorTlogUrls", 0)["validFor"] = doc{"start": stamp(epoch), "end": stamp(epoch.Add(time.Minute))}
		}, "version 2 is listed, and none"},
		{"5 start without a time", func(f *files) { delete(element(f.config, "caUrls", 0), "validFor") }, "window start"},
		{"6 no timestamp authority in the root", func(f *files) { drop(f.root, "timestampAuthorities", 0) }, "version 2 transparency log needs a timestamp authority"},
		{"6 no timestamp authority to sign with", func(f *files) {
			drop(f.config, "tsaUrls", 0)
			delete(f.config, "tsaUrls")
			delete(f.config, "tsaConfig")
		}, "version 2 transparency log needs a timestamp authority"},
		{"a service that nobody verifies", func(f *files) { element(f.config, "caUrls", 0)["url"] = "https://other.corp.example" }, "nothing in trusted_root.json verifies"},
		{"an authority that has ended", func(f *files) {
			element(f.root, "timestampAuthorities", 0)["validFor"] = doc{"start": stamp(epoch.Add(-time.Minute)), "end": stamp(epoch)}
		}, "nothing in trusted_root.json verifies"},
		{"no CT log", func(f *files) { drop(f.root, "ctlogs", 0) }, "no CT log in trusted_root.json is trusted now"},
		{"§4 a key of nobody", func(f *files) { f.target("rekor.pub").Data = pki.PublicKeyPEM(newSPKI(f.tb)) }, "its key is of no log"},
		{"§4 a certificate of nobody", func(f *files) { f.target("fulcio.crt.pem").Data = pki.CertificatesPEM(caChain(f.tb)) }, "of no authority"},
		{"§4 expired before its end", func(f *files) {
			f.target("ctfe.pub").Custom = json.RawMessage(strings.Replace(string(f.target("ctfe.pub").Custom), "Active", "Expired", 1))
		}, `it is told to be "Expired", by its window it is "Active"`},
		{"§4 usage", func(f *files) {
			f.target("ctfe.pub").Custom = json.RawMessage(strings.Replace(string(f.target("ctfe.pub").Custom), "CTFE", "CT", 1))
		}, `usage is "CT"`},
		{"§4 no custom metadata", func(f *files) { f.target("ctfe.pub").Custom = nil }, "custom metadata"},
		{"§4 no file", func(f *files) {
			f.targets = slices.DeleteFunc(f.targets, func(t trust.Target) bool { return t.Name == "ctfe.pub" })
		}, "no file of usage CTFE"},
		{"§5 a log goes", func(f *files) { drop(f.root, "tlogs", 0) }, "would be taken away"},
		{"§5 a chain goes", func(f *files) { drop(f.root, "certificateAuthorities", 0) }, "would be taken away"},
	} {
		t.Run(tt.point, func(t *testing.T) {
			before := newFiles(t, m, published).all()
			f := newFiles(t, m, published)
			f.tb = t
			tt.mutate(f)
			got := trust.CheckFiles(before, f.all(), published)
			if !slices.ContainsFunc(got, func(w trust.Flaw) bool { return strings.Contains(w.What, tt.want) }) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
			if err := trust.Refusal(got); err == nil || strings.Count(err.Error(), "\n    next: ") != len(got) {
				t.Errorf("got refusal %v, want a next step for each of %d", err, len(got))
			}
		})
	}
}

// TestCheckFilesListsAll: each failed check is told, not the first alone.
func TestCheckFilesListsAll(t *testing.T) {
	f := newFiles(t, newMaterial(t), published)
	before := f.all()
	drop(f.root, "ctlogs", 0)
	element(f.config, "tsaUrls", 0)["operator"] = "other.example"
	slices.Reverse(f.config["rekorTlogUrls"].([]any))
	err := trust.Refusal(trust.CheckFiles(before, f.all(), published))
	for _, want := range []string{"checks failed:", "no CT log", "2 operators", "newest is not the first", "would be taken away"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func laxLeaf() []link {
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	return []link{{name: "tsa", ekus: usage, lax: true}, {name: "tsa root", ca: true}}
}

func rawCerts(chain []*x509.Certificate) (out []any) {
	for _, c := range chain {
		out = append(out, doc{"rawBytes": b64(c.Raw)})
	}
	return out
}

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
