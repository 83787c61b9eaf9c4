package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/signing"
	"sigstack/internal/trust"
)

// AuditCheck says which audit record to verify, and by what.
type AuditCheck struct {
	// Dir is a data directory, served or not. Files, instead, are some files of a
	// record, in their order.
	Dir   string
	Files []string
	// KitDir is the client kit whose trusted root vouches for anchors, and whose
	// audit.pub holds the keys of heads.
	KitDir string
	// KeyFile, if set, holds the keys instead of the kit.
	KeyFile string
	// Offline asks no log: then a record that was put back as a whole is not found.
	Offline bool
	Now     func() time.Time
}

// AuditVerdict is a record that is whole.
type AuditVerdict struct {
	audit.Report
	Key       string `json:"key"`        // whose heads these are, "none" without
	TrustRoot string `json:"trust_root"` // that vouches for the anchors
	Asked     string `json:"asked"`      // what the log was asked: AuditAsked...
	// Replicas are the records that the database knows of, the newest first; none if
	// the directory is not one of replicas, or the database was not asked.
	Replicas []ReplicaRecord `json:"replicas,omitempty"`
}

// What a verdict rests on beyond the record itself.
const (
	AuditAskedNothing = "nothing"
	AuditAskedAll     = "all anchors" // of the key that are in the log
	AuditAskedNewest  = "the newest anchors"
)

// VerifyAudit verifies a whole audit record: each line, the chain, the signed head
// and each anchor, by the kit's trusted root. Unless told not to it asks the log,
// which knows of anchors that a record has lost. The error names the first line
// that is wrong, or is an *OtherKeyError.
func VerifyAudit(ctx context.Context, c AuditCheck) (AuditVerdict, error) {
	kit, err := signing.LoadKit(c.KitDir)
	if err != nil {
		return AuditVerdict{}, err
	}
	v := auditVerifier{AuditCheck: c, kit: kit, leaves: map[[32]byte]bool{}}
	if c.Dir != "" {
		v.conf.Dir = Layout{c.Dir}.Audit()
		if err := v.readConfig(); err != nil {
			return AuditVerdict{}, err
		}
	}
	v.conf.Files = c.Files
	keys, err := c.keys()
	if err != nil {
		return AuditVerdict{}, err
	}
	if err := v.readSeen(ctx); err != nil {
		return AuditVerdict{}, err
	}
	var verdict AuditVerdict
	if len(keys) == 0 {
		verdict, err = v.unsigned(ctx)
	} else {
		verdict, err = v.byEach(ctx, keys)
	}
	if err != nil {
		return AuditVerdict{}, err
	}
	verdict.Replicas, err = v.seenBy(verdict.Report, keys)
	return verdict, err
}

type auditVerifier struct {
	AuditCheck
	kit  *signing.Kit
	conf audit.VerifyConfig
	// What the directory's configuration says: of an audit key; of a test stack, whose
	// record need not be signed; and which process it is of, with which URL.
	signed, test bool
	process, url string

	leaves map[[32]byte]bool // of the anchors' entries
	seen   seenRecords
	newest []byte // the newest anchor's bundle
	digest []byte // that it is over
}

// readConfig learns which record the directory must hold.
func (v *auditVerifier) readConfig() error {
	f, err := config.ReadFile(Layout{v.Dir}.Config())
	if err != nil {
		return err
	}
	if f.Config == nil {
		return nil
	}
	v.test, v.url = f.Config.Profile == config.ProfileUp, f.Config.URL
	if f.Config.Audit != nil {
		v.conf.Chain, v.signed = f.Config.Audit.Chain, true
	}
	if f.Config.Peers != nil {
		v.process = f.Config.Peers.Name
	}
	r, err := config.LoadReplica(v.Dir)
	if err == nil && r != nil && r.AuditChain != "" && v.signed {
		v.conf.Chain = r.AuditChain
	}
	return err
}

// keys are those that the record's heads may be signed with.
func (c AuditCheck) keys() ([]*ecdsa.PublicKey, error) {
	path := c.KeyFile
	if path == "" {
		path = filepath.Join(c.KitDir, trust.AuditPEMName)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && c.KeyFile == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read audit key: %w", err)
	}
	var keys []*ecdsa.PublicKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		pub, err := signing.LoadPublicKey(pem.EncodeToMemory(block))
		if err != nil {
			return nil, fmt.Errorf("read audit key %s: %w", path, err)
		}
		key, ok := pub.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("read audit key %s: it is a %T, want ECDSA P-256", path, pub)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read audit key %s: it holds no public key in PEM", path)
	}
	return keys, nil
}

// unsigned verifies a record without a key: its lines and their chain.
func (v *auditVerifier) unsigned(ctx context.Context) (AuditVerdict, error) {
	if v.signed {
		return AuditVerdict{}, fmt.Errorf("the kit %s has no %s, and the record is signed: name another kit with --client, or the key with --key", v.KitDir, trust.AuditPEMName)
	}
	rep, err := audit.Verify(ctx, v.conf)
	if err == nil && v.Dir != "" && !v.test {
		// A record that was never signed and one whose key was taken away look alike.
		err = fmt.Errorf("the record is not signed: neither %s nor the kit %s has an audit key, so that nobody can tell whether its end was cut off, or it was written anew; if it was signed once, name the key with --key; if not, see docs/audit.md, Configuration",
			Layout{v.Dir}.Config(), v.KitDir)
	}
	return AuditVerdict{Report: rep, Key: "none", TrustRoot: v.kit.Trusted.String(), Asked: AuditAskedNothing}, err
}

// byEach verifies by the key that fits: a kit has those of all processes of a
// stack. The first failure is told if none does.
func (v *auditVerifier) byEach(ctx context.Context, keys []*ecdsa.PublicKey) (verdict AuditVerdict, err error) {
	for i, key := range keys {
		got, failure := v.by(ctx, key)
		// Some files have no head, so that only their anchors tell whose they are.
		if failure == nil || !errors.Is(failure, audit.ErrOtherKey) && len(v.Files) == 0 {
			return got, failure
		}
		if i == 0 {
			err = failure
		}
	}
	if errors.Is(err, audit.ErrOtherKey) {
		return AuditVerdict{}, v.noKeyFits()
	}
	return AuditVerdict{}, err
}

// noKeyFits says where the key may be that is missing: a kit that is older than the
// key looks like a record that somebody else has signed.
func (v *auditVerifier) noKeyFits() error {
	if v.KeyFile != "" {
		return &OtherKeyError{fmt.Sprintf("%s is not the key of this record, or the record's head was replaced", v.KeyFile)}
	}
	whose, kit := "this record", "the kit that the stack has now"
	if v.process != "" {
		whose, kit = "the record of process "+v.process+", which kits have since the split alone", "the kit that the front has now"
	}
	return &OtherKeyError{fmt.Sprintf("%s has no key of %s: verify with %s, as it is served at %s/client/; if that has none either, the record's head was replaced",
		filepath.Join(v.KitDir, trust.AuditPEMName), whose, kit, v.url)}
}

// OtherKeyError says that a record is signed with none of the keys given: more
// often they are another record's than somebody has signed this one.
type OtherKeyError struct{ reason string }

func (e *OtherKeyError) Error() string { return e.reason }

func (v *auditVerifier) by(ctx context.Context, key *ecdsa.PublicKey) (AuditVerdict, error) {
	id, err := signing.NewKeyIdentity(key)
	if err != nil {
		return AuditVerdict{}, err
	}
	clear(v.leaves)
	v.conf.Key, v.conf.CheckAnchor = key, v.checkAnchor(id)
	rep, err := audit.Verify(ctx, v.conf)
	if err != nil {
		return AuditVerdict{}, err
	}
	verdict := AuditVerdict{Report: rep, Key: id.String(), TrustRoot: v.kit.Trusted.String(), Asked: AuditAskedNothing}
	if v.Offline {
		return verdict, nil
	}
	verdict.Asked, err = v.ask(ctx, key, id)
	return verdict, err
}

// checkAnchor verifies an anchor's bundle, and keeps what the log is asked about.
func (v *auditVerifier) checkAnchor(id *signing.Identity) func(statement, bundle []byte) (audit.Proof, error) {
	return func(statement, bundle []byte) (audit.Proof, error) {
		b, err := signing.ParseBundle(bundle)
		if err != nil {
			return audit.Proof{}, err
		}
		digest := sha256.Sum256(statement)
		res, err := signing.VerifyDigest(digest[:], b, v.kit.Trusted, id)
		if err != nil {
			return audit.Proof{}, err
		}
		v.leaves[b.LeafHash()] = true
		v.newest, v.digest = bytes.Clone(bundle), digest[:]
		return audit.Proof{LogIndex: res.LogIndex, Time: res.IntegratedTime}, nil
	}
}

// ask asks the log whether it still holds the newest anchor, and for anchors that
// the record does not know: each must be over a head of it.
func (v *auditVerifier) ask(ctx context.Context, key *ecdsa.PublicKey, id *signing.Identity) (string, error) {
	log, err := v.kit.NewLogChecker(v.Now())
	if err != nil {
		return "", err
	}
	if v.newest != nil {
		b, err := signing.ParseBundle(v.newest)
		if err != nil {
			return "", err
		}
		if err := log.Holds(ctx, b, v.digest, id); err != nil {
			return "", fmt.Errorf("the newest anchor: %w", err)
		}
	}
	if len(v.Files) > 0 {
		return AuditAskedNothing, nil // what the log knows beyond some files says nothing
	}
	logged, all, err := log.SignedBy(ctx, key, func(leaf [32]byte) bool { return v.leaves[leaf] })
	if err != nil {
		return "", err
	}
	// The records of other replicas have the same key.
	logged = slices.DeleteFunc(logged, func(digest [32]byte) bool { return v.seen.others[digest] })
	if len(logged) > 0 {
		v.conf.Logged = logged
		if _, err := audit.Verify(ctx, v.conf); err != nil {
			return "", err
		}
	}
	if !all {
		return AuditAskedNewest, nil
	}
	return AuditAskedAll, nil
}
