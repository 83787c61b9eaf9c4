package stack_test

import (
	"crypto/x509"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// closeUnused closes what never issued.
func closeUnused(t *testing.T, of stack.Authority, dir string, now time.Time) (ends []stack.ChainEnd) {
	t.Helper()
	var draft stack.ChainDraft
	if err := admin.Dial(dir).Post(t.Context(), of.Paths().CloseUnused(), nil, &draft); err != nil {
		t.Fatal(err)
	}
	signed, err := draft.SignEndsOf(of, stack.Layout{Dir: dir}, targetsKey(t, dir), now, func(all []stack.ChainEnd) error { ends = all; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), of.Paths().Publish, signed, nil); err != nil {
		t.Fatal(err)
	}
	return ends
}

// TestPreparedChainIsDropped: a chain that was published by mistake ends, stands in
// nobody's way, and cannot be used any more.
func TestPreparedChainIsDropped(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	opts := options(dir, config.ProfileUp)
	served(t, opts, func() {
		unused := stack.CA.Paths().CloseUnused()
		conflict(t, "nothing is prepared", admin.Dial(dir).Post(t.Context(), unused, nil, nil), "nothing to close")
		prepareChain(t, dir, time.Now())
		conflict(t, "what is retired", admin.Dial(dir).Post(t.Context(), stack.AdminChainClose, nil, nil), "no chain is retired")
		if err := admin.Dial(dir).Get(t.Context(), unused, nil); err != nil {
			t.Errorf("show what would be closed: %v", err)
		}
		if got, want := chainStates(t, dir), "ca active, ca-2 prepared"; got != want {
			t.Errorf("shown only: chains %s, want %s", got, want)
		}
		ends := closeUnused(t, stack.CA, dir, time.Now())
		if list := chainList(t, dir); len(ends) != 1 || ends[0].SHA256 != list[1].SHA256 || !ends[0].End.Equal(list[1].End) {
			t.Errorf("to be approved: %+v, want the end of %+v", ends, list[1])
		}
		prepareChain(t, dir, time.Now())
		if got, want := chainStates(t, dir), "ca active, ca-2 dropped, ca-3 prepared"; got != want {
			t.Errorf("chains %s, want %s", got, want)
		}
		if got := publishedCAs(t, dir); len(got) != 3 {
			t.Errorf("%d chains are published, want all three: nothing goes that was", len(got))
		}
	})
	useChain(t, dir, "ca-2")
	if _, err := stack.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "was closed") {
		t.Errorf("start with a dropped chain: %v, want it refused", err)
	}
}

// anotherTSAChain publishes one more while one is prepared.
func anotherTSAChain(t *testing.T, dir string, now time.Time) *x509.Certificate {
	t.Helper()
	var key stack.ChainKey
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainKey, stack.ChainKeyOrder{Another: true}, &key); err != nil {
		t.Fatal(err)
	}
	chain, err := stack.IssueTSAChain(key, filepath.Join(dir, "offline"), nil, keys.Devices{}, now)
	if err != nil {
		t.Fatal(err)
	}
	var draft stack.ChainDraft
	order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: key.Name, Another: true}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainPrepare, order, &draft); err != nil {
		t.Fatal(err)
	}
	publishTSAChains(t, dir, draft, chain, now)
	return chain[0]
}

// TestUnusedTSAChainIsNotTheOneOfOlderClients: who knows one timestamp authority is
// never told of one that signs nothing.
func TestUnusedTSAChainIsNotTheOneOfOlderClients(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	var third *x509.Certificate
	served(t, opts, func() {
		first := kitTSA(t, dir)
		prepareTSAChain(t, dir, c.now())
		c.add(time.Minute)
		third = anotherTSAChain(t, dir, c.now())
		if got := kitTSA(t, dir); !got.Equal(first) {
			t.Errorf("clients of files are told of %s, want the one in use", got.Subject)
		}
	})
	c.add(time.Minute)
	useTSAChain(t, dir, "tsa-3")
	served(t, opts, func() {
		if got, want := tsaChainStates(t, dir), "tsa retired, tsa-2 prepared, tsa-3 active"; got != want {
			t.Fatalf("chains %s, want %s", got, want)
		}
		conflict(t, "close", admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainClose, nil, nil), "sigstack tsa chain close --unused")
		closeUnused(t, stack.TSA, dir, c.now())
		closeTSAChains(t, dir, c.now())
		if got := kitTSA(t, dir); !got.Equal(third) {
			t.Errorf("clients of files are told of %s, want the one in use", got.Subject)
		}
	})
}
