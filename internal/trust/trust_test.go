package trust_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"sigstack/internal/trust"
)

func TestTrustedRootIsAcceptedByClients(t *testing.T) {
	m := newMaterial(t)
	data, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		t.Fatalf("sigstore-go refuses the trusted root: %v\n%s", err, data)
	}
	if got := len(tr.RekorLogs()); got != len(m.TLogs) {
		t.Errorf("got %d transparency logs, want %d", got, len(m.TLogs))
	}
	for _, l := range m.TLogs {
		id, err := l.ID()
		if err != nil {
			t.Fatal(err)
		}
		got := tr.RekorLogs()[fmt.Sprintf("%x", id)]
		if got == nil || got.BaseURL != l.BaseURL || !got.ValidityPeriodStart.Equal(l.Window.Start) {
			t.Errorf("log %x: got %+v, want %s from %s", id, got, l.BaseURL, l.Window.Start)
		}
	}
	if got := len(tr.FulcioCertificateAuthorities()); got != len(m.CAs) {
		t.Errorf("got %d CAs, want %d", got, len(m.CAs))
	}
	if got := len(tr.TimestampingAuthorities()); got != len(m.TSAs) {
		t.Errorf("got %d TSAs, want %d", got, len(m.TSAs))
	}
	if got := len(tr.CTLogs()); got != len(m.CTLogs) {
		t.Errorf("got %d CT logs, want %d", got, len(m.CTLogs))
	}
}

func TestSigningConfigIsAcceptedByClients(t *testing.T) {
	data, err := newMaterial(t).SigningConfig()
	if err != nil {
		t.Fatal(err)
	}
	sc, err := root.NewSigningConfigFromJSON(data)
	if err != nil {
		t.Fatalf("sigstore-go refuses the signing config: %v\n%s", err, data)
	}
	ca, err := root.SelectService(sc.FulcioCertificateAuthorityURLs(), []uint32{1}, epoch)
	if err != nil || ca.URL != "https://sig.corp.example" {
		t.Errorf("selected CA %q, %v; want https://sig.corp.example", ca.URL, err)
	}
	logs, err := root.SelectServices(sc.RekorLogURLs(), sc.RekorLogURLsConfig(), []uint32{1, 2}, epoch)
	if err != nil || len(logs) != 1 || logs[0].MajorAPIVersion != 2 {
		t.Errorf("selected logs %+v, %v; want the version 2 log", logs, err)
	}
	if got := sc.RekorLogURLs()[0].MajorAPIVersion; got != 2 {
		t.Errorf("first log has version %d, want the newest, 2", got)
	}
}

// members lists the contract's members by the path of their object; nothing else
// may appear, since strict clients refuse what they do not know.
var members = map[string]string{
	"":                                "mediaType tlogs certificateAuthorities ctlogs timestampAuthorities",
	".tlogs":                          "baseUrl hashAlgorithm publicKey logId",
	".ctlogs":                         "baseUrl hashAlgorithm publicKey logId",
	".tlogs.publicKey":                "rawBytes keyDetails validFor",
	".ctlogs.publicKey":               "rawBytes keyDetails validFor",
	".tlogs.publicKey.validFor":       "start end",
	".ctlogs.publicKey.validFor":      "start end",
	".tlogs.logId":                    "keyId",
	".ctlogs.logId":                   "keyId",
	".certificateAuthorities":         "subject uri certChain validFor",
	".timestampAuthorities":           "subject uri certChain validFor",
	".certificateAuthorities.subject": "organization commonName",
}

func TestTrustedRootHoldsOnlyTheMembersOfTheContract(t *testing.T) {
	data, err := newMaterial(t).TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	checkMembers(t, "", doc)
	want := `"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"`
	if !bytes.Contains(data, []byte(want)) {
		t.Errorf("no %s in\n%s", want, data)
	}
}

func checkMembers(t *testing.T, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			checkMembers(t, path, e)
		}
	case map[string]any:
		allowed, listed := members[path]
		for name, e := range v {
			if listed && !slices.Contains(strings.Fields(allowed), name) {
				t.Errorf("object %q has member %q, want only %s", path, name, allowed)
			}
			checkMembers(t, path+"."+name, e)
		}
	}
}

func TestEmptyListsArePresent(t *testing.T) {
	m := trust.Material{Operator: "corp.example"}
	data, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"} {
		if want := fmt.Sprintf("%q: []", name); !bytes.Contains(data, []byte(want)) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

func TestOrderOfTheTrustedRoot(t *testing.T) {
	m := newMaterial(t)
	data, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	// Both v1 logs by start, then the v2 log although it is not the newest.
	for i, want := range []trust.Log{m.TLogs[2], m.TLogs[1], m.TLogs[0]} {
		if !bytes.Equal(r.TLogs[i].PublicKey, want.PublicKey) {
			t.Errorf("log %d: got %s from %s, want %s from %s", i,
				r.TLogs[i].BaseURL, r.TLogs[i].Window.Start, want.BaseURL, want.Window.Start)
		}
	}
	if !r.CAs[0].Window.Start.Before(r.CAs[1].Window.Start) {
		t.Errorf("CAs start at %s, %s; want ascending", r.CAs[0].Window.Start, r.CAs[1].Window.Start)
	}
}

// TestRenderingIsDeterministic shuffles the input, because the encoder below
// also randomises its white space per process and message.
func TestRenderingIsDeterministic(t *testing.T) {
	m := newMaterial(t)
	for name, render := range map[string]func(trust.Material) ([]byte, error){
		"trusted root":        trust.Material.TrustedRoot,
		"signing config":      trust.Material.SigningConfig,
		"client trust config": trust.Material.ClientTrustConfig,
	} {
		want, err := render(m)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			rand.Shuffle(len(m.TLogs), func(i, j int) { m.TLogs[i], m.TLogs[j] = m.TLogs[j], m.TLogs[i] })
			rand.Shuffle(len(m.CAs), func(i, j int) { m.CAs[i], m.CAs[j] = m.CAs[j], m.CAs[i] })
			got, err := render(m)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: got\n%s\nwant\n%s", name, got, want)
			}
		}
	}
}

func TestClientTrustConfigHoldsBothFiles(t *testing.T) {
	m := newMaterial(t)
	both, err := m.ClientTrustConfig()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		MediaType                  string
		TrustedRoot, SigningConfig json.RawMessage
	}
	if err := json.Unmarshal(both, &got); err != nil {
		t.Fatal(err)
	}
	if want := "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"; got.MediaType != want {
		t.Errorf("got media type %q, want %q", got.MediaType, want)
	}
	for name, pair := range map[string]struct {
		part   json.RawMessage
		render func() ([]byte, error)
	}{
		"trusted root":   {got.TrustedRoot, m.TrustedRoot},
		"signing config": {got.SigningConfig, m.SigningConfig},
	} {
		want, err := pair.render()
		if err != nil {
			t.Fatal(err)
		}
		if g, w := compact(t, pair.part), compact(t, want); g != w {
			t.Errorf("%s: got %s, want %s", name, g, w)
		}
	}
}

func compact(tb testing.TB, data []byte) string {
	tb.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestWindowsAreWidenedToSeconds(t *testing.T) {
	m := newMaterial(t)
	m.CTLogs[0].Window = trust.Window{Start: epoch.Add(900 * time.Millisecond), End: epoch.Add(time.Hour + 1)}
	data, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	want := trust.Window{Start: epoch, End: epoch.Add(time.Hour + time.Second)}
	if got := r.CTLogs[0].Window; !got.Start.Equal(want.Start) || !got.End.Equal(want.End) {
		t.Errorf("got window %v, want %v", got, want)
	}
}

// TestLogIDOfPublishedKey uses the vector of contract rekor-v2 §5.
func TestLogIDOfPublishedKey(t *testing.T) {
	spki, err := base64.StdEncoding.DecodeString("MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=")
	if err != nil {
		t.Fatal(err)
	}
	l := trust.Log{BaseURL: "https://log2025-1.rekor.sigstore.dev:443/x", PublicKey: spki, APIVersion: 2}
	id, err := l.ID()
	if got, want := base64.StdEncoding.EncodeToString(id[:]), "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A="; err != nil || got != want {
		t.Errorf("got log ID %s, %v; want %s", got, err, want)
	}
	ec := newSPKI(t)
	for _, version := range []uint32{1, 2} {
		id, err := trust.Log{BaseURL: "https://a.example", PublicKey: ec, APIVersion: version}.ID()
		if want := sha256.Sum256(ec); err != nil || id != want {
			t.Errorf("ECDSA log version %d: got ID %x, %v; want %x", version, id, err, want)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	type M = trust.Material
	noBasic := newChain(t, link{name: "lax", lax: true, ekus: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}, link{name: "root", ca: true})
	twoUses := newChain(t, link{name: "two", lax: true, ekus: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageCodeSigning}}, link{name: "root", ca: true})
	wrongUse := newChain(t, link{name: "tsa"}, link{name: "im", ca: true, ekus: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, link{name: "root", ca: true})
	past := newChain(t, link{name: "im", ca: true, expired: true}, link{name: "root", ca: true})
	for _, c := range []struct {
		name   string
		change func(m *M)
		want   string
	}{
		{"no operator", func(m *M) { m.Operator = "" }, "operator"},
		{"operator with scheme", func(m *M) { m.Operator = "https://corp.example" }, "operator"},
		{"v1 log of Ed25519", func(m *M) { m.TLogs[1].PublicKey = newEd25519(t) }, "not ECDSA P-256"},
		{"CT log of Ed25519", func(m *M) { m.CTLogs[0].PublicKey = newEd25519(t) }, "not ECDSA P-256"},
		{"key that is none", func(m *M) { m.TLogs[0].PublicKey = []byte{1} }, "parse public key"},
		{"short Ed25519 key", func(m *M) { m.TLogs[0].PublicKey = ed25519.PublicKey{1} }, "parse public key"},
		{"log of version 3", func(m *M) { m.TLogs[0].APIVersion = 3 }, "version 3"},
		{"CT log of version 2", func(m *M) { m.CTLogs[0].APIVersion = 2 }, "version 2"},
		{"log without scheme", func(m *M) { m.TLogs[1].BaseURL = "sig.corp.example" }, "scheme"},
		{"log without host", func(m *M) { m.TLogs[1].BaseURL = "https:///x" }, "no host"},
		{"one log twice", func(m *M) { m.TLogs[1].PublicKey = m.TLogs[2].PublicKey }, "listed twice"},
		{"v2 logs of one host", func(m *M) {
			m.TLogs = append(m.TLogs, trust.Log{BaseURL: "http://log2.corp.example", PublicKey: newSPKI(t), APIVersion: 2, Window: m.TLogs[0].Window})
		}, "another version 2 log"},
		{"log without start", func(m *M) { m.TLogs[1].Window.Start = time.Time{} }, "no start"},
		{"window backwards", func(m *M) { m.CTLogs[0].Window.End = epoch.Add(-time.Second) }, "ends before"},
		{"v2 log without TSA", func(m *M) { m.TSAs = nil }, "needs a timestamp authority"},
		{"v2 service without TSA service", func(m *M) { m.TSAServices = nil }, "needs a timestamp authority"},
		{"empty chain", func(m *M) { m.CAs[0].Chain = nil }, "no certificates"},
		{"chain upside down", func(m *M) { slices.Reverse(m.CAs[0].Chain) }, "not issued by"},
		{"chain without anchor", func(m *M) { m.CAs[0].Chain = m.CAs[0].Chain[:1] }, "not issued by"},
		{"leaf among CAs", func(m *M) { m.CAs[0].Chain = m.TSAs[0].Chain }, "is not a CA"},
		{"namesake issuer", func(m *M) { m.CAs[0].Chain = []*x509.Certificate{m.CAs[0].Chain[0], caChain(t)[1]} }, "is not issued by the next"},
		{"expired CA", func(m *M) { m.CAs[0].Chain = past }, "no time in common"},
		{"CA for other uses", func(m *M) { m.CAs[0].Chain = m.TSAs[0].Chain[1:] }, "chain does not verify"},
		{"TSA chain of one", func(m *M) { m.TSAs[0].Chain = m.TSAs[0].Chain[:1] }, "at least a leaf and a root"},
		{"TSA without leaf", func(m *M) { m.TSAs[0].Chain = m.TSAs[0].Chain[1:] }, "is a CA"},
		{"TSA usage not critical", func(m *M) { m.TSAs[0].Chain = noBasic }, "does not mark"},
		{"TSA with two usages", func(m *M) { m.TSAs[0].Chain = twoUses }, "timeStamping alone"},
		{"TSA under a code signing CA", func(m *M) { m.TSAs[0].Chain = wrongUse }, "chain does not verify"},
		{"TSA without scheme", func(m *M) { m.TSAs[0].URI = "tsa.example" }, "scheme"},
		{"slash at the end", func(m *M) { m.CAServices[0].URL += "/" }, "trailing slash"},
		{"query", func(m *M) { m.OIDCServices[0].URL += "?a=b" }, "query"},
		{"service of version 0", func(m *M) { m.OIDCServices[0].APIVersion = 0 }, "version 0"},
		{"CA service of version 2", func(m *M) { m.CAServices[0].APIVersion = 2 }, "version 2"},
		{"service without start", func(m *M) { m.TSAServices[0].Window = trust.Window{} }, "no start"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaterial(t)
			c.change(&m)
			err := m.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if _, err := m.TrustedRoot(); err == nil {
				t.Error("the material was rendered all the same")
			}
		})
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	m := newMaterial(t)
	m.Operator = ""
	m.CAServices[0].APIVersion = 9
	err := m.Validate()
	if err == nil || !strings.Contains(err.Error(), "operator") || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestSelfSignedCAIsAChain(t *testing.T) {
	m := newMaterial(t)
	m.CAs[0].Chain = m.CAs[0].Chain[1:]
	if err := m.Validate(); err != nil {
		t.Errorf("got %v, want a chain of one accepted", err)
	}
}
