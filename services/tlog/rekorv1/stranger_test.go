package rekorv1_test

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-openapi/runtime"
	"github.com/sigstore/rekor/pkg/client"
	genclient "github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/client/pubkey"
	logapi "github.com/sigstore/rekor/pkg/generated/client/tlog"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/tle"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/rekor/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"sigstack/services/tlog/tlogtest"
)

// TestUpstreamClient drives the API with the reference client and lets the
// verifiers of rekor and sigstore-go judge what it gets.
func TestUpstreamClient(t *testing.T) {
	r := start(t)
	c, err := client.GetRekorClient(r.url)
	if err != nil {
		t.Fatal(err)
	}
	verifier := upstreamVerifier(t, c)
	s := tlogtest.NewSigner(t)
	for _, proposal := range []tlogtest.Object{blob(t, s, "one"), attestation(t, s, "two"), blob(t, s, "three")} {
		pe, err := models.UnmarshalProposedEntry(strings.NewReader(string(tlogtest.JSON(t, proposal))), runtime.JSONConsumer())
		if err != nil {
			t.Fatal(err)
		}
		created, err := c.Entries.CreateLogEntry(entries.NewCreateLogEntryParams().WithProposedEntry(pe))
		if err != nil {
			t.Fatal(err)
		}
		judge(t, r, created.Payload[created.ETag], verifier)
		got, err := c.Entries.GetLogEntryByUUID(entries.NewGetLogEntryByUUIDParams().WithEntryUUID(created.ETag))
		if err != nil {
			t.Fatal(err)
		}
		judge(t, r, got.Payload[created.ETag], verifier)
		query := &models.SearchLogQuery{}
		query.SetEntries([]models.ProposedEntry{pe})
		found, err := c.Entries.SearchLogQuery(entries.NewSearchLogQueryParams().WithEntry(query))
		if err != nil || len(found.Payload) != 1 {
			t.Fatalf("%d hits, %v", len(found.Payload), err)
		}
		judge(t, r, found.Payload[0][created.ETag], verifier)
	}
	wantConsistent(t, c, verifier)
}

func upstreamVerifier(t *testing.T, c *genclient.Rekor) signature.Verifier {
	t.Helper()
	key, err := c.Pubkey.GetPublicKey(pubkey.NewGetPublicKeyParams())
	if err != nil {
		t.Fatal(err)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(key.Payload))
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// judge verifies an entry as rekor-cli does, and, in its bundle form, as
// sigstore-go does.
func judge(t *testing.T, r *rig, e models.LogEntryAnon, v signature.Verifier) {
	t.Helper()
	if err := verify.VerifyLogEntry(t.Context(), &e, v); err != nil {
		t.Errorf("rekor: %v", err)
	}
	pb, err := tle.GenerateTransparencyLogEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := tlog.ParseTransparencyLogEntry(pb)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.VerifyInclusion(entry, v); err != nil {
		t.Errorf("sigstore-go, inclusion: %v", err)
	}
	trust := r.svc.Trust()[0]
	pub, err := x509.ParsePKIXPublicKey(trust.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	logs := map[string]*root.TransparencyLog{hex.EncodeToString([]byte(entry.LogKeyID())): {
		BaseURL: trust.BaseURL, PublicKey: pub, ValidityPeriodStart: trust.Window.Start,
		HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
	}}
	if err := tlog.VerifySET(entry, logs); err != nil {
		t.Errorf("sigstore-go, signed entry timestamp: %v", err)
	}
}

// wantConsistent follows the log as a monitor does.
func wantConsistent(t *testing.T, c *genclient.Rekor, v signature.Verifier) {
	t.Helper()
	info, err := c.Tlog.GetLogInfo(logapi.NewGetLogInfoParams())
	if err != nil {
		t.Fatal(err)
	}
	var head util.SignedCheckpoint
	if err := head.UnmarshalText([]byte(*info.Payload.SignedTreeHead)); err != nil || !head.Verify(v) {
		t.Fatalf("checkpoint %q: %v", *info.Payload.SignedTreeHead, err)
	}
	if _, err := verify.VerifyCurrentCheckpoint(t.Context(), c, v, &head); err != nil {
		t.Errorf("current checkpoint: %v", err)
	}
	if err := verify.ProveConsistency(t.Context(), c, &head, &head, *info.Payload.TreeID); err != nil {
		t.Errorf("consistency: %v", err)
	}
}

// TestCheckerRefuses: the independent check, on which every test here relies,
// notices any one byte of an answer that is changed.
func TestCheckerRefuses(t *testing.T) {
	r := start(t)
	s := tlogtest.NewSigner(t)
	for i := range 5 {
		r.add(t, blob(t, s, fmt.Sprint(i)))
	}
	good := r.post(t, "/api/v1/log/entries", attestation(t, s, "statement")).body
	if _, err := r.log.CheckEntry(good); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		bad := append([]byte{}, good...)
		at := random.IntN(len(bad))
		bad[at] ^= 1 << random.IntN(7)
		if _, err := r.log.CheckEntry(bad); err == nil {
			t.Fatalf("accepted with byte %d changed from %q to %q:\n%s", at, good[at], bad[at], bad)
		}
	}
	for name, log := range map[string]tlogtest.Log{
		"host": {Host: "log.exampl", TreeID: r.log.TreeID, Key: r.log.Key},
		"tree": {Host: r.log.Host, TreeID: r.log.TreeID + 1, Key: r.log.Key},
		"key":  {Host: r.log.Host, TreeID: r.log.TreeID, Key: start(t).log.Key},
		"base": {Host: r.log.Host, TreeID: r.log.TreeID, Key: r.log.Key, First: 1},
	} {
		if _, err := log.CheckEntry(good); err == nil {
			t.Errorf("accepted as of another %s", name)
		}
	}
}
