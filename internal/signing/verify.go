package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Result is a passed verification.
type Result struct {
	Identity       string    `json:"identity"`        // certificate subject, or "key sha256:<hex>" of a bare key
	Issuer         string    `json:"issuer"`          // OIDC issuer that vouched for it; empty for a bare key
	Digest         string    `json:"digest"`          // "sha256:<hex>" of the artifact
	LogIndex       int64     `json:"log_index"`       // global index in the log
	IntegratedTime time.Time `json:"integrated_time"` // zero for logs that promise none (Rekor v2)
	Timestamp      time.Time `json:"timestamp"`       // of the first RFC 3161 token; zero without one
	TrustRoot      string    `json:"trust_root"`      // path and short hash

	// Authority is the certificate authority that was named in place of the trust
	// root's, empty without one.
	Authority string `json:"authority,omitempty"`

	// IssuerBacking tells where the issuer's name may say more than the root knows.
	IssuerBacking IssuerBacking `json:"issuer_backing,omitempty"`
}

// VerifyFile verifies the file at path against a bundle, streaming it once.
// Errors are those of Verify, and of reading the file.
func VerifyFile(ctx context.Context, path string, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, fmt.Errorf("read artifact: %w", err)
	}
	res, err := Verify(ctx, f, b, trusted, id)
	return res, errors.Join(err, f.Close())
}

// Verify checks that b is a signature over artifact by id: certificate chain and
// SCT unless id is a bare key, log entry with inclusion proof and (for Rekor v1)
// signed entry timestamp, every RFC 3161 timestamp the bundle carries, signature
// and identity, all by the one trust root. An attestation is not a signature. A
// failed check is a *RefusedError.
func Verify(ctx context.Context, artifact io.Reader, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	_, algorithm := b.Digest()
	h := newHash(algorithm)
	if err := copyContext(ctx, h, artifact); err != nil {
		return Result{}, fmt.Errorf("read artifact: %w", err)
	}
	return VerifyDigest(h.Sum(nil), b, trusted, id)
}

// VerifyDigest is Verify for an artifact whose digest, by the algorithm that
// b.Digest names, the caller has computed.
func VerifyDigest(digest []byte, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	if b.HoldsStatement() {
		return Result{}, naming(trusted, refuse(CheckBundle, errors.New("it holds an attestation, not a signature of the artifact")))
	}
	claimed, algorithm := b.Digest()
	if !bytes.Equal(claimed, digest) {
		err := fmt.Errorf("the bundle is for %s:%x, the artifact has %x", algorithm, claimed, digest)
		return Result{}, naming(trusted, refuse(CheckArtifact, err))
	}
	res, err := verifyBundle(digest, algorithm, b, trusted, id)
	return res, naming(trusted, err)
}

// VerifyStatement checks that b is an attestation by id, as Verify does, and that
// a subject of its statement has the digest, by an algorithm such as "sha256". An
// empty predicateType accepts any. A signature of a file is not an attestation.
func VerifyStatement(digest []byte, algorithm string, b *Bundle, trusted *TrustRoot, id *Identity, predicateType string) (Result, Statement, error) {
	s, err := readStatement(b, digest, algorithm, predicateType)
	if err != nil {
		return Result{}, Statement{}, naming(trusted, err)
	}
	res, err := verifyBundle(digest, algorithm, b, trusted, id)
	if err != nil {
		return Result{}, Statement{}, naming(trusted, err)
	}
	return res, s, nil
}

// naming adds the trust root to a refusal.
func naming(trusted *TrustRoot, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		refused.TrustRoot = trusted.String()
	}
	return err
}

// verifyBundle makes all the checks that do not depend on what was signed.
func verifyBundle(digest []byte, algorithm string, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	if err := checkSigner(b, id); err != nil {
		return Result{}, err
	}
	entries, err := logEntries(b)
	if err != nil {
		return Result{}, err
	}
	material := id.material(b, trusted)
	known := b.leafOnly && b.cert != nil && trusted.memo.hasSCTs(b.cert)
	v, err := newVerifier(b, id, material, trusted.DemandTimestamp, !known && id.authority == nil)
	if err != nil {
		return Result{}, err
	}
	j := verdict{verifier: v, material: material, bundle: b, entries: entries, authority: id.authority, artifact: verify.WithArtifactDigest(algorithm, digest)}
	got, err := v.Verify(b.entity, verify.NewPolicy(j.artifact, id.policy()))
	if err != nil {
		return Result{}, j.explain(err)
	}
	if err := j.strict(id, got); err != nil {
		return Result{}, err
	}
	if b.leafOnly && b.cert != nil && id.authority == nil {
		trusted.memo.keepSCTs(b.cert)
	}
	res := newResult(got, entries[0], id)
	res.Digest, res.TrustRoot = algorithm+":"+hex.EncodeToString(digest), trusted.String()
	res.IssuerBacking = trusted.Backing(res.Issuer)
	return res, nil
}

// checkSigner checks that the bundle is signed in the way the identity is given,
// and for a bare key that the log holds that key.
func checkSigner(b *Bundle, id *Identity) error {
	switch {
	case id.key == nil && b.cert == nil:
		return refuse(CheckBundle, errors.New("it is signed with a bare key; an identity needs a certificate"))
	case id.key != nil && b.cert != nil:
		return refuse(CheckBundle, errors.New("it is signed with a certificate; a bare key cannot vouch for that"))
	case id.key == nil:
		return nil
	}
	for _, e := range b.entity.entries {
		if !id.key.is(e.PublicKey()) {
			return refuse(CheckIdentity, errors.New("the log entry is of another key"))
		}
	}
	return nil
}

func (id *Identity) policy() verify.PolicyOption {
	if id.key != nil {
		return verify.WithKey()
	}
	return verify.WithCertificateIdentity(id.matcher)
}

// newVerifier demands all the evidence there is: upstream's observer timestamps
// would let a forged RFC 3161 token pass beside a valid SET. SCTs are an option of the
// caller's: they need not be proven again for each signature with the same certificate.
func newVerifier(b *Bundle, id *Identity, material root.TrustedMaterial, timestamped, demandSCTs bool) (*verify.Verifier, error) {
	entries := b.entity.entries
	// The predicate is read by ParseStatement; upstream would refuse one that is text.
	options := []verify.VerifierOption{verify.WithTransparencyLog(len(entries)), verify.WithoutStatementPredicate()}
	if id.key == nil && demandSCTs {
		scts, _ := countSCTs(b.cert) // strict refuses an error
		options = append(options, verify.WithSignedCertificateTimestamps(max(1, scts)))
	}
	promises := 0
	for _, e := range entries {
		if !e.IsRekorV2() {
			promises++
		}
	}
	if promises > 0 {
		options = append(options, verify.WithIntegratedTimestamps(promises))
	}
	tokens, err := b.entity.Timestamps()
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read timestamps: %w", err))
	}
	switch {
	case len(tokens) == 0 && timestamped:
		return nil, refuse(CheckTimestamp, errors.New("the bundle has none, and one is demanded"))
	case len(tokens) > 0 && len(material.TimestampingAuthorities()) == 0:
		return nil, refuse(CheckTimestamp, errors.New("the trust root names no authority to judge its timestamps by"))
	case len(tokens) > 0: // each has to be of another authority that the root knows
		options = append(options, verify.WithSignedTimestamps(len(tokens)))
	case promises == 0 && id.key == nil:
		return nil, refuse(CheckTimestamp, errors.New("neither the log nor a timestamp authority says when it was signed"))
	case promises == 0: // a bare key has no end, so that no time is needed
		options = append(options, verify.WithNoObserverTimestamps())
	}
	v, err := verify.NewVerifier(material, options...)
	if err != nil {
		return nil, fmt.Errorf("set up verifier: %w", err)
	}
	return v, nil
}

func newResult(got *verify.VerificationResult, entry *tlog.Entry, id *Identity) Result {
	res := Result{Identity: id.String(), LogIndex: entry.LogIndex()}
	if cert := got.Signature.Certificate; cert != nil {
		res.Identity, res.Issuer = cert.SubjectAlternativeName, cert.Issuer
	}
	if id.authority != nil { // which may write what it likes where an issuer would stand
		res.Issuer, res.Authority = "", id.authority.String()
	}
	if !entry.IsRekorV2() { // which may state a time, but signs none
		res.IntegratedTime = entry.IntegratedTime().UTC()
	}
	for _, ts := range got.VerifiedTimestamps {
		if ts.Type == "TimestampAuthority" && res.Timestamp.IsZero() {
			res.Timestamp = ts.Timestamp.UTC()
		}
	}
	return res
}

// hashNames are the names of the digest algorithms that signatures may be over.
var hashNames = map[protocommon.HashAlgorithm]string{
	protocommon.HashAlgorithm_SHA2_256: "sha256",
	protocommon.HashAlgorithm_SHA2_384: "sha384",
	protocommon.HashAlgorithm_SHA2_512: "sha512",
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	default:
		return sha256.New()
	}
}

// copyContext copies src to dst, stopping when ctx ends.
func copyContext(ctx context.Context, dst io.Writer, src io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := src.Read(buf)
		if _, werr := dst.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
