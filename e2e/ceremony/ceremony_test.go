package ceremony

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sgtuf "github.com/sigstore/sigstore-go/pkg/tuf"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/stack"
)

// verifiers are those that find their trust by TUF, each with a cache of its own.
func verifiers() []clients.Client {
	return []clients.Client{clients.CosignV3(), clients.CosignV2(), clients.SigstoreJS()}
}

// TestClientsFollowTheCeremony: two of three signers, each with a directory of their
// own and no network, make a root. Every client starts from it. Then a lost key is
// replaced, then the threshold changes; and whoever has seen the first root only
// follows to the third.
func TestClientsFollowTheCeremony(t *testing.T) {
	r := newRoom(t, "alice", "bob", "carol", "dave")
	r.start("first", "--root-key", r.pub("alice"), "--root-key", r.pub("bob"), "--root-key", r.pub("carol"), "--root-threshold", "2")
	if got := r.finish("first"); got.Code != 1 || !strings.Contains(got.Stderr, "0 of the 2 signatures") {
		t.Fatalf("finish without signatures: exit %d\n%s", got.Code, got.Stderr)
	}
	r.mustSign("first", "alice")
	if got := r.sign("first", "dave"); got.Code != 1 || !strings.Contains(got.Stderr, "not asked for") {
		t.Errorf("a stranger signs: exit %d\n%s", got.Code, got.Stderr)
	}
	if got := r.finish("first"); got.Code != 1 || !strings.Contains(got.Stderr, "1 of the 2 signatures") {
		t.Errorf("finish with one signature: exit %d\n%s", got.Code, got.Stderr)
	}
	r.mustSign("first", "carol")
	r.mustFinish("first")
	r.serve()
	first := e2etest.ReadFile(t, filepath.Join(r.dir, "client", "root.json"))

	early := newOnlooker(t, r)
	early.wantTrust("of the first root", 1)

	r.start("second", "--remove-root-key", r.id("root", "alice"), "--add-root-key", r.pub("dave"),
		"--remove-targets-key", r.id("targets", "alice"), "--add-targets-key", r.pub("dave"))
	r.mustSign("second", "bob", "carol", "dave")
	r.mustFinish("second")
	r.start("third", "--root-threshold", "3", "--targets-threshold", "1")
	r.mustSign("third", "dave", "bob", "carol")
	r.mustFinish("third")
	if got := r.status(); got[0].Version != 3 || got[0].Threshold != 3 || got[1].Threshold != 1 {
		t.Errorf("status %+v, want root version 3 of threshold 3, and targets of threshold 1", got)
	}
	if now := e2etest.ReadFile(t, filepath.Join(r.dir, "client", "root.json")); now != first {
		t.Error("the kit's root.json is another by now: clients that were handed it start over")
	}

	early.wantTrust("that saw version 1 only", 3)
	newOnlooker(t, r).wantTrust("that starts now, from version 1", 3)
}

// onlooker is a machine with every client on it.
type onlooker struct {
	*room
	t      *testing.T
	caches string
}

func newOnlooker(t *testing.T, r *room) *onlooker { return &onlooker{r, t, t.TempDir()} }

// wantTrust demands that every client verifies what the stack signs now, by TUF alone,
// and has followed the roots to a version.
func (o *onlooker) wantTrust(who string, version int64) {
	o.t.Helper()
	dir := o.t.TempDir()
	blob, bundle := e2etest.WriteFile(o.t, dir, "blob", "signed for clients "+who), filepath.Join(dir, "bundle")
	request := clients.Request{
		Kind: clients.Blob, Trust: o.trust(filepath.Join(o.caches, "signer")), File: blob, Bundle: bundle,
		Token: o.issuer.Mint(o.t, o.issuer.Claims(signerName)), Identity: signerName, Issuer: o.issuer.URL,
	}
	request.Trust.Source = clients.Kit
	if got := clients.CosignV3().Sign(o.t, request); got.Code != 0 {
		o.t.Fatalf("cosign signs: exit %d\n%s", got.Code, got.Stderr)
	}
	for _, c := range verifiers() {
		cache := filepath.Join(o.caches, c.Name())
		if err := os.MkdirAll(cache, 0o700); err != nil {
			o.t.Fatal(err)
		}
		request.Trust = o.trust(cache)
		e2etest.WantAccepted(o.t, c.Name()+" "+who, c.Verify(o.t, request))
		// Some ask again only when the timestamp that they hold has expired, after seconds here.
		for end := time.Now().Add(time.Minute); cachedRoot(o.t, cache) != version && time.Now().Before(end); time.Sleep(time.Second) {
			e2etest.WantAccepted(o.t, c.Name()+" "+who, c.Verify(o.t, request))
		}
		if got := cachedRoot(o.t, cache); got != version {
			o.t.Errorf("%s %s holds root version %d, want %d", c.Name(), who, got, version)
		}
	}
	o.wantSigstoreGo(who, version)
}

// wantSigstoreGo demands the same of sigstore-go's own client of TUF.
func (o *onlooker) wantSigstoreGo(who string, version int64) {
	o.t.Helper()
	if e2etest.OverTLS() {
		return // it runs in this process, which does not trust the stack's authority for TLS
	}
	cache := filepath.Join(o.caches, "sigstore-go")
	root := e2etest.ReadFile(o.t, filepath.Join(o.dir, "client", "root.json"))
	opts := sgtuf.DefaultOptions().WithRepositoryBaseURL(o.url + "/tuf").WithRoot([]byte(root)).WithCachePath(cache)
	c, err := sgtuf.New(opts)
	if err != nil {
		o.t.Errorf("sigstore-go %s: %v", who, err)
		return
	}
	got, err := c.GetTarget("trusted_root.json")
	if err != nil {
		o.t.Errorf("sigstore-go %s: %v", who, err)
	}
	if want := e2etest.ReadFile(o.t, filepath.Join(o.dir, "client", "trusted_root.json")); string(got) != want {
		o.t.Errorf("sigstore-go %s got another trusted_root.json than the kit's", who)
	}
	if v := cachedRoot(o.t, cache); v != version {
		o.t.Errorf("sigstore-go %s holds root version %d, want %d", who, v, version)
	}
}

// cachedRoot is the version of the root that a client keeps somewhere below a
// directory.
func cachedRoot(t *testing.T, dir string) (newest int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "root.json") || strings.HasSuffix(path, "trusted_root.json") {
			return err
		}
		var root struct {
			Signed struct {
				Version int64 `json:"version"`
			} `json:"signed"`
		}
		data, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(data, &root) == nil {
			newest = max(newest, root.Signed.Version)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

// status are the roles that the stack tells of.
func (r *room) status() []stack.TUFRole {
	r.t.Helper()
	var st stack.TUFStatus
	if err := json.Unmarshal([]byte(r.must("tuf", "status", "--dir", r.dir, "--passphrase-file", r.secret, "--output", "json")), &st); err != nil {
		r.t.Fatal(err)
	}
	return st.Roles
}

// id is the ID of a signer's key in a role.
func (r *room) id(role, who string) string {
	r.t.Helper()
	public := e2etest.ReadFile(r.t, r.pub(who))
	for _, x := range r.status() {
		for _, k := range x.Keys {
			if x.Role == role && k.PublicKey == public {
				return k.ID
			}
		}
	}
	r.t.Fatalf("%s has no key of %s", role, who)
	return ""
}
