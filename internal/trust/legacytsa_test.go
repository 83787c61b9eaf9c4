package trust_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// TestOneAuthorityForOlderClients: they know one timestamp authority: the oldest whose
// window is open, whatever is published beside it.
func TestOneAuthorityForOlderClients(t *testing.T) {
	m := newMaterial(t)
	first := m.TSAs[0]
	second := trust.Authority{URI: first.URI, Chain: tsaChain(t), Window: trust.Window{Start: first.Window.Start.Add(time.Hour)}}
	closed := first
	closed.Window.End = first.Window.Start.Add(2 * time.Hour)
	ended := second
	ended.Window.End = first.Window.Start.Add(3 * time.Hour)
	for name, tt := range map[string]struct {
		tsas []trust.Authority
		want trust.Authority
	}{
		"one":                  {[]trust.Authority{first}, first},
		"second published":     {[]trust.Authority{second, first}, first},
		"first closed":         {[]trust.Authority{closed, second}, second},
		"both closed":          {[]trust.Authority{closed, ended}, ended},
		"second compromised":   {[]trust.Authority{first, ended}, first},
		"in any order, closed": {[]trust.Authority{second, closed}, second},
	} {
		m.TSAs = tt.tsas
		targets, err := m.Targets(first.Window.Start)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(targets, func(x trust.Target) bool { return x.Name == "tsa_leaf.crt.pem" })
		if i < 0 || !bytes.Equal(targets[i].Data, pki.CertificatesPEM(tt.want.Chain[:1])) {
			t.Errorf("%s: tsa_leaf.crt.pem is not the leaf that was wanted", name)
		}
		files, err := trust.Kit{Material: m, RootJSON: []byte("{}"), URL: "https://sig.corp.example"}.Files("/kit")
		if err != nil {
			t.Fatal(err)
		}
		f := slices.IndexFunc(files, func(x trust.File) bool { return x.Name == trust.TSAPEMName })
		if f < 0 || !bytes.Equal(files[f].Data, pki.CertificatesPEM(tt.want.Chain)) {
			t.Errorf("%s: %s is not the chain that was wanted", name, trust.TSAPEMName)
		}
	}
}
